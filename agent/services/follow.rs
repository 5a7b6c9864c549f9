//! Follows the file of services: what is right is taken over at once, and what is wrong is told.

use std::{convert::Infallible, sync::Arc, time::SystemTime};

use hawser_audit::{CONFIGURATION_READ, CONFIGURATION_WRONG};
use hawser_rt::files::Watch;
use hawser_services::{
    Addresses, Problems, Services,
    file::{self, Text},
};
use hawser_state::Store;
use hawser_xds::Supply;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{Begun, MOST_TOLD, Read, Standing, Wanted, kept, told, watched};

/// Where what the file says goes.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) supply: watch::Sender<Arc<Supply>>,
    pub(crate) standing: Arc<watch::Sender<Arc<Standing>>>,
}

/// What was read anew, with the addresses of its names.
struct Taken {
    read: Read,
    addresses: Addresses,
    supply: Arc<Supply>,
}

/// Takes over what the file says whenever it changes, until `stop`.
pub(crate) async fn follow(
    begun: Begun,
    store: Arc<Store>,
    outlets: Outlets,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let Begun { wanted, standing, texts, .. } = begun;
    let mut watch = Watch::new(watched(&wanted.settings.file, &texts, &standing.services));
    let mut texts: Arc<[Text]> = texts.into();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = watch.changed() => {}
        }
        let before = outlets.standing.borrow().clone();
        let (with, kept) = (wanted.clone(), Arc::clone(&store));
        let supply = Arc::clone(&outlets.supply.borrow());
        let known = (Arc::clone(&texts), Arc::clone(&before), supply);
        let again = spawn_blocking(move || again(&with, &kept, &known)).await;
        match again {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(mut taken))) => {
                texts = std::mem::take(&mut taken.read.texts).into();
                watch.set(watched(&wanted.settings.file, &texts, &taken.read.services));
                outlets.take(taken);
            }
            Ok(Err(problems)) => {
                // What is wrong may be in a file that was not there before.
                let there = file::texts(&wanted.settings.file).unwrap_or_default();
                watch.set(watched(&wanted.settings.file, &there, &before.services));
                outlets.refuse(&problems);
            }
            // It was given up because everything ends.
            Err(_) => return Ok(()),
        }
    }
}

/// What the file says now, kept for another start; none if it says what it said before.
fn again(
    wanted: &Wanted,
    store: &Store,
    (before, standing, supply): &(Arc<[Text]>, Arc<Standing>, Arc<Supply>),
) -> Result<Option<Taken>, Problems> {
    let Standing { services, addresses, problems, .. } = &**standing;
    let texts = file::texts(&wanted.settings.file)?;
    // A file that is the same may name another that is not.
    if *texts == **before && problems.is_empty() && !names_files(services) {
        return Ok(None);
    }
    let read = wanted.understand(texts)?;
    let addresses = if read.services == **services {
        (**addresses).clone()
    } else {
        wanted.addresses(addresses, &read.services)?
    };
    let supply = wanted.supply(&read.services, &addresses, supply);
    kept::keep(store, &read.texts, &addresses);
    Ok(Some(Taken { read, addresses, supply }))
}

fn names_files(services: &Services) -> bool {
    services.services.iter().any(|service| service.transcode.is_some())
}

impl Outlets {
    fn take(&self, Taken { read, addresses, supply }: Taken) {
        let before = self.standing.borrow().clone();
        let other = *before.services != read.services;
        // A descriptor may be another in a file that is the same.
        let supplied = self.supply.send_if_modified(|now| {
            let other = *now != supply;
            if other {
                *now = supply;
            }
            other
        });
        if !other && !supplied && before.problems.is_empty() {
            return;
        }
        let id = CONFIGURATION_READ.id;
        let (services, file) = (read.services.services.len(), before.file.display());
        info!(message_id = id, %file, services, "services read again, all of it is in use");
        self.standing.send_modify(|standing| {
            let standing = Arc::make_mut(standing);
            standing.services = Arc::new(read.services);
            standing.addresses = Arc::new(addresses);
            standing.since = SystemTime::now();
            (standing.kept, standing.wrong_since) = (false, None);
            standing.problems.clear();
        });
    }

    fn refuse(&self, problems: &Problems) {
        let lines = told(problems);
        if self.standing.borrow().problems == lines {
            return;
        }
        complain(problems, "what was in use stays in use");
        self.standing.send_modify(|standing| {
            let standing = Arc::make_mut(standing);
            standing.problems = lines;
            standing.wrong_since.get_or_insert_with(SystemTime::now);
        });
    }
}

/// Tells of every problem, and of what is done.
pub(crate) fn complain(problems: &Problems, instead: &str) {
    for problem in problems.0.iter().take(MOST_TOLD) {
        error!(%problem, "services are wrong");
    }
    let count = problems.0.len();
    let id = CONFIGURATION_WRONG.id;
    error!(
        message_id = id,
        problems = count,
        "services not taken over, {instead}; `hawser services check` shows all of it"
    );
}
