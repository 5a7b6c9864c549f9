//! Responses whose modules are fetched, while all others pass them by.
//!
//! One at a time, in the order in which they came: what is not sent to Envoy when the stream that
//! they came on ends is asked for again on the next.

use std::collections::VecDeque;

use bytes::Bytes;
use hawser_rt::Chain;
use hawser_wasm::Modules;
use hawser_wire::{Flavour, Malformed};
use tokio::task::JoinSet;

use super::fitting::{rewrite, values};
use crate::passage::MOST_GATHERED;

/// A response that names modules.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) type_url: String,
    pub(crate) nonce: String,
    pub(crate) message: Bytes,
    /// What makes them local.
    pub(crate) modules: Modules,
}

/// The message with its modules made local; or why it has to be refused.
type Made = Result<Bytes, String>;

/// Those that are being made local. Dropped, they are given up.
#[derive(Debug)]
pub(super) struct Detour {
    flavour: Flavour,
    /// The first of them is being worked on.
    waiting: VecDeque<Remote>,
    bytes: usize,
    /// One task at most, so that it goes on while nobody looks.
    work: JoinSet<Made>,
}

impl Detour {
    pub(super) fn new(flavour: Flavour) -> Self {
        Self { flavour, waiting: VecDeque::new(), bytes: 0, work: JoinSet::new() }
    }

    /// Whether another one may come.
    pub(super) fn has_room(&self) -> bool {
        self.bytes <= MOST_GATHERED
    }

    pub(super) fn push(&mut self, remote: Remote) {
        self.bytes += remote.message.len();
        self.waiting.push_back(remote);
        self.go_on();
    }

    /// The oldest, when its modules are here. Cancel-safe.
    pub(super) async fn next(&mut self) -> (Remote, Made) {
        loop {
            let made = match self.work.join_next().await {
                Some(Ok(made)) => made,
                Some(Err(_broken)) => Err("its modules could not be looked at".to_owned()),
                None => return std::future::pending().await,
            };
            let Some(remote) = self.waiting.pop_front() else { continue };
            self.bytes -= remote.message.len();
            self.go_on();
            return (remote, made);
        }
    }

    fn go_on(&mut self) {
        if let Some(Remote { message, modules, .. }) = self.waiting.front()
            && self.work.is_empty()
        {
            self.work.spawn(localized(modules.clone(), self.flavour, message.clone()));
        }
    }
}

async fn localized(modules: Modules, flavour: Flavour, message: Bytes) -> Made {
    let unreadable = |Malformed| "a resource cannot be read".to_owned();
    let asked = values(flavour, &message).map_err(unreadable)?;
    let mut local = vec![None; asked.len()];
    // Beside each other: a slow one holds the others up no longer than itself.
    let mut fetching = JoinSet::new();
    for (place, (_, value)) in asked.into_iter().enumerate() {
        let (modules, value) = (modules.clone(), value.to_vec());
        fetching.spawn(async move { (place, modules.local(&value).await) });
    }
    while let Some(Ok((place, made))) = fetching.join_next().await {
        if let Some(local) = local.get_mut(place) {
            *local = made.map_err(|error| Chain(&error).to_string())?;
        }
    }
    let mut local = local.into_iter();
    let mut next = |_: &str, _: &[u8]| Ok(local.next().flatten());
    let changed = rewrite(flavour, &message, &mut next).map_err(unreadable)?;
    Ok(changed.map_or(message, Bytes::from))
}
