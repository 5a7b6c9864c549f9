//! The files kept up to date, and the others told, for as long as the agent runs.

use std::{
    future::pending,
    panic,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_pki::{Bundle, Identity};
use hawser_rt::{Backoff, Chain};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Error, Exported, Options, poke::poke, versions};

/// Puts every new identity and every change of the trusted roots in place until `stop`, and says
/// in `state` how that goes. What fails is told once and tried again.
pub async fn run(
    options: Options,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    trusted: watch::Receiver<Option<Arc<Bundle>>>,
    state: watch::Sender<Exported>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let export = Export {
        options: Arc::new(options),
        source: Source { identity, trusted },
        state,
        switch: Chore::new(SWITCH_RETRY),
        poke: Chore::new(POKE_RETRY),
        poked: None,
        version: String::new(),
    };
    stop.run_until_cancelled(export.follow()).await;
    Ok(())
}

struct Export {
    options: Arc<Options>,
    source: Source,
    state: watch::Sender<Exported>,
    switch: Chore,
    poke: Chore,
    /// When the others were last told, or were to be.
    poked: Option<Instant>,
    /// What they are to be told of.
    version: String,
}

/// Where the content of the files comes from.
struct Source {
    identity: watch::Receiver<Option<Arc<Identity>>>,
    trusted: watch::Receiver<Option<Arc<Bundle>>>,
}

/// Something to be done at a time, and again if it fails.
struct Chore {
    due: Option<Instant>,
    retry: Backoff,
    wrong: Option<String>,
}

impl Export {
    async fn follow(mut self) {
        self.switch.hurry(Instant::now() + SETTLE);
        loop {
            // Cancel safe: nothing is done before a branch is taken.
            tokio::select! {
                () = self.source.changed() => self.switch.hurry(Instant::now() + SETTLE),
                () = self.switch.is_due() => self.switch().await,
                () = self.poke.is_due() => self.poke().await,
            }
        }
    }

    async fn switch(&mut self) {
        self.switch.due = None;
        let Some((identity, trusted)) = self.source.take() else { return };
        let options = Arc::clone(&self.options);
        let switch = spawn_blocking(move || {
            versions::switch(&options, &identity, trusted.as_deref().unwrap_or(&identity.roots))
        });
        let path = self.options.directory.display();
        match finished(switch.await).await {
            Ok(outcome) => {
                let mended = self.switch.done();
                if outcome.switched {
                    info!(%path, version = outcome.version, "certificates exported");
                } else if mended {
                    info!(%path, version = outcome.version, "exported certificates are in place");
                }
                let somebody = self.options.command.is_some() || self.options.stamp.is_some();
                if somebody && !outcome.told {
                    self.poke.begin(self.poked.map(|last| last + self.options.spacing));
                    self.version = outcome.version;
                }
                self.tell(|state| state.at = Some(SystemTime::now()));
            }
            Err(error) => {
                let (retry_in, news) = self.switch.failed(&error, Duration::ZERO);
                if news {
                    warn!(error = %Chain(&error), %path, ?retry_in, "certificates not exported");
                }
                self.tell(|_| ());
            }
        }
    }

    async fn poke(&mut self) {
        self.poke.due = None;
        let poked = poke(&self.options).await;
        self.poked = Some(Instant::now());
        match poked {
            Ok(()) => {
                self.remember().await;
                let mended = self.poke.done();
                if mended {
                    info!(version = self.version, "told of new certificates after all");
                }
                self.tell(|state| state.poked = Some(SystemTime::now()));
            }
            Err(error) => {
                let (retry_in, news) = self.poke.failed(&error, self.options.spacing);
                if news {
                    let error = Chain(&error);
                    warn!(%error, ?retry_in, "nobody told of new certificates");
                }
                self.tell(|_| ());
            }
        }
    }

    /// Notes that this version is known, or it would be told again after the next start.
    async fn remember(&self) {
        let (options, version) = (Arc::clone(&self.options), self.version.clone());
        let noted = spawn_blocking(move || versions::told(&options, &version));
        if let Err(error) = finished(noted.await).await {
            debug!(error = %Chain(&error), "not noted who was told");
        }
    }

    fn tell(&self, what: impl FnOnce(&mut Exported)) {
        self.state.send_modify(|state| {
            what(state);
            state.wrong = self.switch.wrong.clone().or_else(|| self.poke.wrong.clone());
        });
    }
}

impl Source {
    /// Returns when there is something new. Never, when there will be nothing more.
    async fn changed(&mut self) {
        let Self { identity, trusted } = self;
        let closed = tokio::select! {
            changed = identity.changed() => changed.is_err() && trusted.changed().await.is_err(),
            changed = trusted.changed() => changed.is_err() && identity.changed().await.is_err(),
        };
        if closed {
            pending::<()>().await;
        }
    }

    fn take(&mut self) -> Option<(Arc<Identity>, Option<Arc<Bundle>>)> {
        let identity = self.identity.borrow_and_update().clone();
        let trusted = self.trusted.borrow_and_update().clone();
        Some((identity?, trusted))
    }
}

impl Chore {
    fn new((min, max): (Duration, Duration)) -> Self {
        Self { due: None, retry: Backoff::new(min, max), wrong: None }
    }

    async fn is_due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
    }

    /// Is due at `latest`, if it was not before.
    fn hurry(&mut self, latest: Instant) {
        self.due = Some(self.due.map_or(latest, |due| due.min(latest)));
    }

    /// Is due now, or at `earliest` if that is later, whatever was planned.
    fn begin(&mut self, earliest: Option<Instant>) {
        self.retry.reset();
        self.due = Some(earliest.map_or_else(Instant::now, |at| at.max(Instant::now())));
    }

    /// True if that ends a trouble.
    fn done(&mut self) -> bool {
        self.retry.reset();
        self.wrong.take().is_some()
    }

    /// When it will be tried again, after `least` at the earliest, and whether the trouble is new.
    fn failed(&mut self, error: &Error, least: Duration) -> (Duration, bool) {
        let retry_in = self.retry.next(fastrand::f64()).max(least);
        self.due = Some(Instant::now() + retry_in);
        let wrong = Some(Chain(error).to_string());
        let news = self.wrong != wrong;
        self.wrong = wrong;
        (retry_in, news)
    }
}

/// What a blocking task has returned. Never, if it was given up because the runtime ends.
async fn finished<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    match ended.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(value) => value,
        Err(Ok(panicked)) => panic::resume_unwind(panicked),
        Err(Err(_)) => pending().await,
    }
}

/// Key and roots are published one after the other; both are waited for.
const SETTLE: Duration = Duration::from_millis(100);
const SWITCH_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
const POKE_RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

#[cfg(test)]
mod tests;
