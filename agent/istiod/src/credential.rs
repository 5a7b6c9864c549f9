//! What this machine can show to istiod: certificates and tokens, each looked at when it is shown.
//!
//! - The certificate is the machine's own while it is valid, else a provisioned pair.
//! - Files are read at each dial. What has to be asked for is kept in memory for most of its life
//!   and is never on disk.
//! - A source that fails is said now and then and passed over: another may do.

mod fetched;
mod gce;
mod outlook;
mod provisioned;
mod purse;
mod token_source;
mod unusable;

use std::{
    collections::BTreeSet,
    future::pending,
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use hawser_pki::{Identity, SpiffeId};
use hawser_rt::{Chain, Clock, Throttle, files::Watch};
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio::sync::{Notify, watch};
use tracing::warn;

use self::fetched::Fetched;
pub(crate) use self::purse::{Certificate, Purse};
pub use self::{
    gce::{Answer, answered},
    outlook::Prospect,
    token_source::{TokenSource, printed},
    unusable::Unusable,
};
use crate::presentation::Mark;

/// What may be shown besides the machine's own certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Who this machine is: istiod issues what a certificate says, so one of somebody else would
    /// only lead to a certificate of somebody else.
    pub id: Option<SpiffeId>,
    /// A directory with `key.pem` and `cert-chain.pem`, shown while there is no own certificate.
    pub provisioned: Option<PathBuf>,
    /// Where tokens come from, best first.
    pub tokens: Vec<TokenSource>,
}

/// Something that istiod has believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// What it was.
    pub what: String,
    /// When it was believed last.
    pub at: SystemTime,
}

/// All that istiod may be shown. One for the process; clones share everything but what they have
/// heard of changes.
#[derive(Debug)]
pub struct Credentials {
    stock: Arc<Stock>,
    /// The number of the last change that was told.
    heard: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Stock {
    options: Options,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    clock: Clock,
    provider: Arc<CryptoProvider>,
    /// One for each source of tokens; those of files stay empty.
    fetched: Vec<Fetched>,
    /// One for each source of tokens, then the pair's.
    said: Vec<Throttle>,
    marks: RandomState,
    last: Mutex<Option<Used>>,
    /// Where certificates are not heeded.
    unheeded: Mutex<BTreeSet<String>>,
    watch: tokio::sync::Mutex<Option<Watch>>,
    changes: watch::Sender<u64>,
    /// The own certificate that TLS has rejected last, on whatever way.
    disowned: Mutex<Option<Mark>>,
    disowning: Notify,
}

impl Credentials {
    /// Nothing is read, asked or run yet; files are watched from now on.
    pub fn new(
        options: Options,
        identity: watch::Receiver<Option<Arc<Identity>>>,
        clock: Clock,
    ) -> Self {
        let files = options.tokens.iter().filter_map(TokenSource::file).map(Into::into);
        let pair = options.provisioned.iter().flat_map(|directory| provisioned::files(directory));
        let files: Vec<PathBuf> = files.chain(pair).collect();
        let sources = options.tokens.len();
        let stock = Stock {
            watch: tokio::sync::Mutex::new((!files.is_empty()).then(|| Watch::new(files))),
            fetched: std::iter::repeat_with(Fetched::default).take(sources).collect(),
            said: std::iter::repeat_with(|| Throttle::new(SELDOM)).take(sources + 1).collect(),
            options,
            identity,
            clock,
            provider: Arc::new(aws_lc_rs::default_provider()),
            marks: RandomState::new(),
            last: Mutex::default(),
            unheeded: Mutex::default(),
            changes: watch::channel(0).0,
            disowned: Mutex::default(),
            disowning: Notify::new(),
        };
        Self { stock: Arc::new(stock), heard: AtomicU64::new(0) }
    }

    /// Nothing to show: enough to see whether istiod is there.
    pub fn none() -> Self {
        Self::new(Options::default(), watch::channel(None).1, Clock::default())
    }

    /// What there is to show, in the order in which it would be shown. Reads files; asks nobody
    /// and runs nothing.
    pub async fn outlook(&self) -> Vec<Prospect> {
        self.stock.outlook().await
    }

    /// Returns when a token file, a systemd credential or the provisioned pair has changed since
    /// this last returned, here or on the value this was cloned from. Cancel safe.
    pub async fn changed(&self) {
        let mut changes = self.stock.changes.subscribe();
        let heard = self.heard.load(Ordering::Relaxed);
        loop {
            let change = *changes.borrow_and_update();
            if change > heard {
                self.heard.fetch_max(change, Ordering::Relaxed);
                return;
            }
            // Cancel safe: whoever has the watch counts the change in the same breath.
            tokio::select! {
                _ = changes.changed() => {}
                () = self.stock.observe() => {}
            }
        }
    }

    /// Returns when an own certificate was rejected by TLS, on whatever way: it may be time for
    /// another, whatever the clock says. Told once for each. Cancel safe, for one to wait.
    pub async fn disowned(&self) {
        self.stock.disowning.notified().await;
    }

    /// Whether it is this certificate that was rejected last.
    pub fn disowns(&self, identity: &Identity) -> bool {
        *self.stock.disowned.lock() == Some(self.stock.mark(identity.chain.leaf_der()))
    }

    /// The last that istiod has believed.
    pub fn last(&self) -> Option<Used> {
        self.stock.last.lock().clone()
    }

    pub(crate) fn stock(&self) -> &Stock {
        &self.stock
    }
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        let heard = AtomicU64::new(self.heard.load(Ordering::Relaxed));
        Self { stock: Arc::clone(&self.stock), heard }
    }
}

impl Stock {
    /// Waits for a change, unless another does so already; then for that one to give up.
    async fn observe(&self) {
        let mut watch = self.watch.lock().await;
        match watch.as_mut() {
            Some(watch) => watch.changed().await,
            None => pending().await,
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn used(&self, what: &str) {
        *self.last.lock() = Some(Used { what: what.to_owned(), at: self.clock.now() });
    }

    /// istiod at `endpoint` heeds no certificates, or does so after all.
    pub(crate) fn heeded(&self, endpoint: &str, heeded: bool) {
        let mut unheeded = self.unheeded.lock();
        if heeded {
            unheeded.remove(endpoint);
        } else {
            unheeded.insert(endpoint.to_owned());
        }
    }

    /// The token of a source was refused: if it was asked for, another may be had.
    pub(crate) fn token_refused(&self, source: usize) {
        if let Some(fetched) = self.fetched.get(source) {
            fetched.forget();
        }
    }

    async fn outlook(&self) -> Vec<Prospect> {
        let now = self.clock.now();
        let mut prospects = Vec::new();
        let own = self.identity.borrow().clone();
        if let Some(own) = &own {
            prospects.push(Prospect::certificate(OWN.to_owned(), &own.chain, now));
        }
        if let Some(directory) = &self.options.provisioned {
            let what = purse::provisioned(directory);
            match provisioned::read(directory, &self.provider).await {
                Ok(Some(pair)) => {
                    let mut prospect = Prospect::certificate(what, &pair.chain, now);
                    if let Some(note) = self.unfit(&pair.chain, now) {
                        (prospect.usable, prospect.note) = (false, Some(note));
                    }
                    prospects.push(prospect);
                }
                Ok(None) => {}
                Err(error) => prospects.push(Prospect::absent(what, Chain(&error).to_string())),
            }
        }
        self.note_unheeded(&mut prospects);
        for (source, fetched) in self.options.tokens.iter().zip(&self.fetched) {
            prospects.push(prospect(source, fetched, now).await);
        }
        prospects
    }

    /// Why a provisioned pair is not shown.
    fn unfit(&self, chain: &hawser_pki::Chain, now: SystemTime) -> Option<String> {
        let expected = self.options.id.as_ref();
        let other = chain.spiffe_id().ok().filter(|id| expected.is_some_and(|own| own != id));
        let other = other.map(|id| format!("for {id}, which is not this machine"));
        other.or_else(|| outlook::out_of_time(chain, now))
    }

    fn note_unheeded(&self, certificates: &mut [Prospect]) {
        let unheeded = self.unheeded.lock();
        if unheeded.is_empty() {
            return;
        }
        let by: Vec<&str> = unheeded.iter().map(String::as_str).collect();
        let note = format!("ignored by {}, {WANTS_A_TOKEN}", by.join(", "));
        for certificate in certificates.iter_mut().filter(|certificate| certificate.usable) {
            certificate.note = Some(note.clone());
        }
    }

    /// Says why a credential is passed over, now and then.
    fn pass_over(&self, place: usize, what: &str, error: &Unusable) {
        if self.said.get(place).and_then(Throttle::allow).is_some() {
            warn!(credential = what, error = %Chain(error), "credential not usable, going without");
        }
    }

    /// An own certificate was rejected.
    pub(crate) fn disown(&self, certificate: Mark) {
        if self.disowned.lock().replace(certificate) != Some(certificate) {
            self.disowning.notify_one();
        }
    }

    fn mark(&self, bytes: &[u8]) -> Mark {
        Mark(self.marks.hash_one(bytes))
    }
}

async fn prospect(source: &TokenSource, fetched: &Fetched, now: SystemTime) -> Prospect {
    let what = source.to_string();
    if source.file().is_none() {
        return match (fetched.kept(now), fetched.failure()) {
            (Some(token), _) => Prospect::token(source, &token, now),
            (None, Some(failure)) => Prospect { may_come: true, ..Prospect::absent(what, failure) },
            (None, None) => Prospect::unasked(what),
        };
    }
    match source.obtain().await {
        Ok(Some(token)) => Prospect::token(source, &token, now),
        Ok(None) => Prospect::absent(what, format!("not there; {}", source.remedy())),
        Err(error) => Prospect::absent(what, Chain(&error).to_string()),
    }
}

/// What to do where certificates are not heeded.
pub(crate) const WANTS_A_TOKEN: &str =
    "a token has to be kept fresh: istiod.token_command or a refreshed token file";
const OWN: &str = "own certificate";
const SELDOM: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
