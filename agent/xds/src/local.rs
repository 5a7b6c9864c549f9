//! Resources that are made on this machine, as a source of configuration.
//!
//! Whoever asks is answered at once, and told of every edit in the same turn: nothing here waits for
//! anything but them. What is told is pieces of what is there, never a copy of it as a whole.

mod desk;
mod letter;
#[cfg(test)]
mod tests;
mod topic;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use hawser_wire::Flavour;
use tokio::sync::{mpsc, watch};
use tracing::debug;

pub(crate) use self::{desk::Desk, letter::Letter, topic::Verdict};
use crate::{
    session::Asking,
    source::{Answers, BoxFuture, Lost, Opened, Source},
};

/// What is there: per type URL, resources by their names.
///
/// A name table is one without a name; without one, nobody who asks for names hears whether there are
/// any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supply(pub BTreeMap<&'static str, BTreeMap<String, Supplied>>);

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supplied {
    /// Changes when the resource does, and only then.
    pub version: String,
    /// The message, as the value of an `Any`.
    pub body: Bytes,
}

/// Answers discovery requests out of what is there.
#[derive(Clone, Debug)]
pub struct Local {
    /// Where it comes from, for logs and status.
    who: String,
    supply: watch::Receiver<Arc<Supply>>,
}

impl Local {
    /// One that is called `who`.
    pub fn new(who: impl Into<String>, supply: watch::Receiver<Arc<Supply>>) -> Self {
        Self { who: who.into(), supply }
    }

    /// What is there, and the changes of it.
    pub(crate) fn supply(&self) -> watch::Receiver<Arc<Supply>> {
        self.supply.clone()
    }
}

impl Source for Local {
    fn open(
        &self,
        flavour: Flavour,
        requests: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'_, Result<Opened, Lost>> {
        let mut supply = self.supply();
        let desk = Desk::new(flavour, Arc::clone(&supply.borrow_and_update()), fastrand::u64(..));
        let answers = Box::new(Stream { flavour, desk, requests, supply, saying: None });
        let who = self.who.clone();
        Box::pin(async move { Ok(Opened { who, answers }) })
    }

    fn forgets(&self) -> bool {
        false
    }
}

/// A stream, which ends when nobody asks any more.
#[derive(Debug)]
struct Stream {
    flavour: Flavour,
    desk: Desk,
    requests: mpsc::Receiver<Bytes>,
    supply: watch::Receiver<Arc<Supply>>,
    /// What is being told.
    saying: Option<Letter>,
}

#[derive(Debug, thiserror::Error)]
#[error("what is asked is no discovery request")]
struct Unreadable;

impl Answers for Stream {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Lost>> {
        Box::pin(async move {
            loop {
                if let Some(chunk) = self.more() {
                    return Ok(Some(chunk));
                }
                // Cancel-safe: what was received is heard in the same turn.
                tokio::select! {
                    request = self.requests.recv() => match request {
                        Some(message) => self.hear(&message)?,
                        None => return Ok(None),
                    },
                    () = changed(&mut self.supply) => {
                        let supply = Arc::clone(&self.supply.borrow_and_update());
                        self.desk.restock(supply);
                    }
                }
            }
        })
    }

    fn more(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.saying.as_mut().and_then(Letter::chunk) {
            return Some(chunk);
        }
        self.saying = self.desk.next(&mut |_| true);
        self.saying.as_mut().and_then(Letter::chunk)
    }

    fn heard(&mut self) {}

    fn failed(&mut self) {}
}

impl Stream {
    fn hear(&mut self, message: &Bytes) -> Result<(), Lost> {
        let asking = Asking::of(self.flavour, message)
            .map_err(|_malformed| Lost { refused: true, ..Lost::new(Unreadable) })?;
        let verdict = self.desk.hear(&asking);
        debug!(flow = "local", type_url = asking.type_url, ?verdict, "asked");
        Ok(())
    }
}

/// Done when there is something else; never, when there cannot be.
pub(crate) async fn changed(supply: &mut watch::Receiver<Arc<Supply>>) {
    if supply.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
