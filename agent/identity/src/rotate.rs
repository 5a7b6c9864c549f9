//! The loop: what was kept, then one certificate after the other.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_istiod::Istiod;
use hawser_pki::{Identity, KeyKind, SpiffeId};
use hawser_rt::{Backoff, Chain, Gate};
use hawser_state::Store;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    Error, Progress,
    error::Verdict,
    keep::{keep, kept},
    request, schedule,
};

/// What is to be obtained, and where it is kept.
#[derive(Debug)]
pub struct Options {
    /// Who this machine is.
    pub id: SpiffeId,
    /// The kind of key to make.
    pub key: KeyKind,
    /// The lifetime to ask for.
    pub ttl: Duration,
    /// The signer, where the authority has several; may be empty.
    pub signer: String,
    /// The token; a change of it is noticed while there is trouble.
    pub token: PathBuf,
    /// Where the pair survives a restart.
    pub store: Arc<Store>,
}

/// Publishes an identity as soon as there is one, and renews it until told to stop.
///
/// `ready` opens with the first one that is published.
pub async fn run(
    options: Options,
    ca: Istiod,
    publish: watch::Sender<Option<Arc<Identity>>>,
    progress: watch::Sender<Progress>,
    ready: Gate,
    stop: CancellationToken,
) -> Result<(), Error> {
    let kept = kept(&options.store, &options.id).map(Arc::new);
    let (ready, told) = (Some(ready), None);
    let mut rotation = Rotation { options, ca, publish, progress, ready, kept, told };
    stop.run_until_cancelled(rotation.turn()).await.unwrap_or(());
    Ok(())
}

struct Rotation {
    options: Options,
    ca: Istiod,
    publish: watch::Sender<Option<Arc<Identity>>>,
    progress: watch::Sender<Progress>,
    ready: Option<Gate>,
    /// What the last run has left, until it is served: a clock that is wrong at boot makes a good
    /// certificate look bad for a while.
    kept: Option<Arc<Identity>>,
    /// The trouble that was told last.
    told: Option<Error>,
}

impl Rotation {
    async fn turn(&mut self) {
        loop {
            let due = match self.resume() {
                Some(due) => due,
                None => self.renew().await,
            };
            self.progress.send_modify(|progress| progress.next = Some(due));
            wait_until(due).await;
        }
    }

    /// Serves what the last run has left, once, if it is valid now; when its renewal is due.
    fn resume(&mut self) -> Option<SystemTime> {
        let now = SystemTime::now();
        let identity = self.kept.take_if(|kept| kept.valid_at(now))?;
        let expires_in = identity.not_after().duration_since(now).unwrap_or_default();
        info!(id = %identity.spiffe_id(), ?expires_in, "certificate from before is served");
        // From its beginning: restarts must not put the renewal off.
        let (begin, end) = (identity.not_before(), identity.not_after());
        let due = schedule::renew_at(begin, end, fastrand::f64()).max(now);
        self.serve(identity);
        Some(due)
    }

    /// Asks until there is a certificate; when the next one is due.
    async fn renew(&mut self) -> SystemTime {
        let mut backoff = Backoff::new(FIRST, LAST);
        loop {
            let began = tokio::time::Instant::now();
            // The token as it is now: a change while we ask is a change to come back for.
            let token = stamp(&self.options.token).await;
            let error = match request::identity(&self.options, &self.ca).await {
                Ok(identity) => return self.obtained(identity, began.elapsed()).await,
                Err(error) => error,
            };
            let retry_in = match error.verdict() {
                Verdict::Retry => backoff.next(fastrand::f64()),
                Verdict::Wait => Backoff::new(SELDOM, SELDOM).next(fastrand::f64()),
            };
            self.failed(error, retry_in);
            // Cancel safe: both only wait.
            tokio::select! {
                () = sleep(retry_in) => {}
                () = self.news(token) => backoff.reset(),
            }
            if let Some(due) = self.resume() {
                return due;
            }
        }
    }

    /// Returns when asking again makes sense: there is another token, or the clock has come to
    /// where the certificate from before is valid. Asked only while there is trouble.
    async fn news(&self, token: Stamp) {
        loop {
            sleep(LOOK).await;
            let now = stamp(&self.options.token).await;
            if now.is_some() && now != token {
                info!(path = %self.options.token.display(), "token has changed");
                return;
            }
            if self.kept.as_ref().is_some_and(|kept| kept.valid_at(SystemTime::now())) {
                return;
            }
        }
    }

    /// The new pair is kept before it is served. One that cannot be kept is served all the same:
    /// it is the next start that will miss it.
    async fn obtained(&mut self, identity: Identity, took: Duration) -> SystemTime {
        let identity = Arc::new(identity);
        let (store, new) = (Arc::clone(&self.options.store), Arc::clone(&identity));
        match spawn_blocking(move || keep(&store, &new)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(error = %Chain(&error), "certificate not kept, a restart will need the token");
            }
            Err(error) => warn!(%error, "certificate not kept, a restart will need the token"),
        }
        let now = SystemTime::now();
        let not_after = identity.not_after();
        let expires_in = not_after.duration_since(now).unwrap_or_default();
        info!(id = %identity.spiffe_id(), ?expires_in, ?took, "certificate obtained");
        self.progress.send_modify(|progress| progress.wrong = None);
        (self.told, self.kept) = (None, None);
        self.serve(identity);
        let due = schedule::renew_at(now, not_after, fastrand::f64());
        due.max(now + schedule::spacing(self.options.ttl))
    }

    /// The same failure is told once, when it begins.
    fn failed(&mut self, error: Error, retry_in: Duration) {
        let trouble = Chain(&error).to_string();
        if self.told.as_ref().is_some_and(|told| error.is_the_same_as(told)) {
            debug!(error = trouble, ?retry_in, "still no certificate");
        } else {
            warn!(error = trouble, ?retry_in, "no certificate obtained");
        }
        self.told = Some(error);
        let now = SystemTime::now();
        self.progress.send_modify(|progress| {
            let since = progress.wrong.as_ref().map_or(now, |(_, since)| *since);
            progress.wrong = Some((trouble, since));
            progress.next = Some(now + retry_in);
        });
    }

    fn serve(&mut self, identity: Arc<Identity>) {
        self.publish.send_replace(Some(identity));
        if let Some(ready) = self.ready.take() {
            ready.open();
        }
    }
}

/// Until the clock on the wall says so, however it got there.
async fn wait_until(due: SystemTime) {
    while let Some(nap) = schedule::nap(SystemTime::now(), due) {
        sleep(nap).await;
    }
}

/// What tells one content of a file from another without reading it.
type Stamp = Option<(SystemTime, u64, u64)>;

async fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let file = tokio::fs::metadata(path).await.ok()?;
    Some((file.modified().ok()?, file.len(), file.ino()))
}

const FIRST: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(60);
const SELDOM: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(1);
