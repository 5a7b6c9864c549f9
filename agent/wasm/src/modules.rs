//! Filters in, filters whose modules are files out.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hawser_rt::{Chain, Throttle};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::{
    Error, Options,
    checksum::Checksum,
    counts::Counts,
    extension::{self, Failing, Policy, Remote},
    failures::Failures,
    fetch::{Fetch, Fetched},
    flights::Flights,
    kept::{Kept, Key, Look, Use},
    oci::reference::Reference,
    replaced::{AllReplaced, Register, Replaced},
    url::{Url, plain},
};

/// The modules of this machine. Clones are the same.
#[derive(Debug, Clone)]
pub struct Modules {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kept: Arc<Kept>,
    fetch: Fetch,
    flights: Flights<Same, Result<(Key, PathBuf), Arc<Error>>>,
    /// What did not come the last time, for which version of the resource.
    failures: Failures<(Same, String)>,
    replaced: Register,
    /// Downloads take disk while they last.
    turns: Semaphore,
    counts: Counts,
    expiry: Duration,
    purge_every: Duration,
}

/// What makes two fetches one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Same {
    address: String,
    checksum: Option<Checksum>,
    /// Who may not fetch it himself is not given what another one fetches.
    secret: Option<Checksum>,
    /// Who has to look what is there now is not given what was there before.
    version_counts: bool,
}

/// A module that is asked for.
struct Wanted {
    place: Place,
    asked: Use<'static>,
    secret: Option<Zeroizing<String>>,
}

enum Place {
    Web(Url),
    Image(Reference),
}

impl Modules {
    /// Looks at what is kept. Never fails: a directory that cannot be used costs the filters that
    /// need it. Blocks for a few reads per kept module.
    pub fn new(options: Options) -> Self {
        let Options { directory, room, clock, metrics, .. } = options.clone();
        let kept = Arc::new(Kept::open(directory, room, clock, &metrics));
        let (expiry, purge_every) = (options.expiry, options.purge_every);
        let shared = Shared {
            fetch: Fetch::new(options, Arc::clone(&kept)),
            kept,
            flights: Flights::default(),
            failures: Failures::default(),
            replaced: Register::default(),
            turns: Semaphore::new(MOST_DOWNLOADS),
            counts: Counts::new(&metrics),
            expiry,
            purge_every,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes the module of an extension (`TypedExtensionConfig`) a file of this machine, fetching
    /// it if it is not kept. `None`: nothing of it has to change, it is passed as it came.
    ///
    /// A module that cannot be had is no error: its filter is replaced by one that lets everything
    /// or nothing pass, as the filter asks for. An error means that the response the extension is
    /// of is to be refused, with its text. Cancel safe: what was half fetched is forgotten.
    pub async fn local(&self, extension: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let counts = &self.shared.counts;
        let remote = match Remote::read(extension) {
            Ok(Some(remote)) => remote,
            Ok(None) => {
                counts.nothing_to_do.increment();
                return Ok(None);
            }
            Err(error) => {
                counts.refused.increment();
                return Err(error);
            }
        };
        let begun = Instant::now();
        let file = self.shared.file(&remote).await;
        counts.took.note(begun.elapsed());
        match file {
            Ok((key, file)) => {
                // Envoy is told in UTF-8.
                let local = remote.local(extension, &file.to_string_lossy())?;
                self.shared.kept.assign(&remote.name, key);
                self.shared.replaced.restore(&remote.name);
                counts.converted.increment();
                Ok(Some(local))
            }
            Err(error) => {
                self.shared.replace(&remote, &error);
                counts.replaced.increment();
                Ok(Some(extension::replacement(&remote.name, remote.kind, remote.failing)))
            }
        }
    }

    /// Notes that Envoy is given an extension that [`local`](Self::local) made before, out of a
    /// store: the file that it names is in use.
    pub fn in_use(&self, extension: &[u8]) {
        if let Some((name, file)) = extension::file_of(extension) {
            self.shared.kept.assign_file(&name, &file);
        }
    }

    /// Notes that Envoy wants these extensions and no others: the modules of all others may go when
    /// they are old.
    pub fn only(&self, extensions: &[String]) {
        self.shared.kept.release_but(extensions);
        self.shared.replaced.only(extensions);
    }

    /// The filters that Envoy was given something else for.
    pub fn replaced(&self) -> watch::Receiver<AllReplaced> {
        self.shared.replaced.all()
    }

    /// Removes what has not been used for long, until it is told to stop.
    pub async fn purge(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(self.shared.purge_every) => {}
            }
            let (kept, expiry) = (Arc::clone(&self.shared.kept), self.shared.expiry);
            let purged = tokio::task::spawn_blocking(move || kept.expire(expiry)).await;
            if let Err(error) = purged {
                debug!(error = %Chain(&error), "modules not purged");
            }
        }
    }
}

impl Shared {
    /// The file of the module that a filter wants, in the time that the filter gives it.
    async fn file(&self, remote: &Remote) -> Result<(Key, PathBuf), Arc<Error>> {
        let wanted = Wanted::of(remote)?;
        let given = remote.timeout.filter(|time| !time.is_zero()).unwrap_or(TIMEOUT);
        let after = given.min(LONGEST_TIMEOUT);
        let same = Same {
            address: remote.url.clone(),
            checksum: wanted.asked.checksum,
            secret: wanted.secret.as_ref().map(|secret| Checksum::of(secret.as_bytes())),
            version_counts: wanted.asked.version_counts,
        };
        let looked = self.kept.look(&wanted.asked);
        if let Look::Here(key) = &looked
            && let Some(file) = self.verified(key, &wanted.asked).await
        {
            self.counts.hit.increment();
            return Ok((key.clone(), file));
        }
        self.counts.miss.increment();
        let error = match self.had(remote, &wanted, same, after).await {
            // Whoever fetched it may have done so for another filter: this one has used it too.
            Ok((key, _)) => match self.verified(&key, &wanted.asked).await {
                Some(file) => return Ok((key, file)),
                None => Arc::new(Error::Damaged { url: plain(&remote.url) }),
            },
            Err(error) => error,
        };
        // What worked until now is better than nothing: it came from the same address.
        if let Look::Older(key) = looked
            && let Some(file) = self.kept.verified(key.clone(), wanted.asked.by(key.checksum)).await
        {
            self.counts.older.increment();
            tell_older(remote, &error);
            return Ok((key, file));
        }
        Err(error)
    }

    /// What another flight brings, or this one, in that time; or what has just been found out.
    async fn had(
        &self,
        remote: &Remote,
        wanted: &Wanted,
        same: Same,
        after: Duration,
    ) -> Result<(Key, PathBuf), Arc<Error>> {
        // Who has changed something wants to see what comes of it.
        let version = if same.version_counts { remote.version.clone() } else { String::new() };
        let key = (same.clone(), version);
        if let Some(error) = self.failures.find(&key, after) {
            return Err(error);
        }
        let fetch = async { self.fetched(wanted).await.map_err(Arc::new) };
        let fetched = timeout(after, self.flights.join(same, fetch)).await;
        let outcome = fetched.unwrap_or_else(|_| {
            self.counts.download_failed.increment();
            Err(Arc::new(Error::Late { url: plain(&remote.url), after }))
        });
        if let Err(error) = &outcome {
            self.failures.note(key, error);
        }
        outcome
    }

    async fn fetched(&self, wanted: &Wanted) -> Result<(Key, PathBuf), Error> {
        // Whoever flew before may have left it here.
        if let Look::Here(key) = self.kept.look(&wanted.asked)
            && let Some(file) = self.verified(&key, &wanted.asked).await
        {
            return Ok((key, file));
        }
        // It is never closed.
        let _turn = self.turns.acquire().await.ok();
        let begun = Instant::now();
        let outcome = match &wanted.place {
            Place::Web(url) => self.at_server(url, wanted).await,
            Place::Image(reference) => self.in_registry(reference, wanted).await,
        };
        match &outcome {
            Ok((_, file)) => {
                self.counts.fetched.increment();
                tell_fetched(&wanted.asked.address, file, begun.elapsed());
            }
            Err(Error::Checksum { .. }) => self.counts.mismatched.increment(),
            Err(Error::Registry { .. } | Error::Unauthorized { .. } | Error::Realm { .. }) => {
                self.counts.manifest_failed.increment();
            }
            Err(_) => self.counts.download_failed.increment(),
        }
        outcome
    }

    /// A filter that does nothing, or that stops everything, is worth a line, and is shown.
    fn replace(&self, remote: &Remote, error: &Error) {
        let stops = matches!(remote.failing, Failing::Closed);
        let traffic = if stops { "is stopped" } else { "passes without it" };
        let (name, reason) = (&remote.name, Chain(error).to_string());
        if self.replaced.replace(name, &Replaced { stops, reason: reason.clone() }) {
            warn!(name, traffic, error = reason, "module not to be had: its filter is replaced");
        }
    }

    async fn at_server(&self, url: &Url, wanted: &Wanted) -> Result<(Key, PathBuf), Error> {
        let fetched = self.fetch.module(url).await?;
        let found = fetched.content;
        if let Some(checksum) = wanted.asked.checksum.filter(|checksum| *checksum != found) {
            let (found, wanted) = (found.to_string(), checksum.to_string());
            return Err(Error::Checksum { url: url.to_string(), found, wanted });
        }
        self.keep(found, fetched, wanted).await
    }

    async fn in_registry(
        &self,
        reference: &Reference,
        wanted: &Wanted,
    ) -> Result<(Key, PathBuf), Error> {
        let secret = wanted.secret.as_deref().map(String::as_str);
        let (mut registry, image) = self.fetch.image(reference, secret).await?;
        // The digest of an index stands for the image that was taken from it.
        let named = [Some(image.digest), reference.digest];
        let checksum = wanted.asked.checksum.unwrap_or(image.digest);
        if !named.contains(&Some(checksum)) {
            let (found, wanted) = (image.digest.to_string(), checksum.to_string());
            return Err(Error::Checksum { url: reference.to_string(), found, wanted });
        }
        let key = Key { name: wanted.asked.name.clone().into_owned(), checksum };
        if self.kept.holds(&key)
            && let Some(file) = self.verified(&key, &wanted.asked).await
        {
            return Ok((key, file));
        }
        let fetched = self.fetch.module_of(&mut registry, &image, reference).await?;
        self.keep(checksum, fetched, wanted).await
    }

    async fn keep(
        &self,
        checksum: Checksum,
        fetched: Fetched,
        wanted: &Wanted,
    ) -> Result<(Key, PathBuf), Error> {
        let Fetched { module, content, bytes } = fetched;
        let key = Key { name: wanted.asked.name.clone().into_owned(), checksum };
        let (kept, asked, directory) =
            (Arc::clone(&self.kept), wanted.asked.clone(), self.kept.directory().to_owned());
        let work = tokio::task::spawn_blocking(move || {
            let file = kept.keep(&key, module, content, bytes, &asked)?;
            Ok((key, file))
        });
        work.await.unwrap_or(Err(Error::Abandoned { path: directory }))
    }

    async fn verified(&self, key: &Key, asked: &Use<'static>) -> Option<PathBuf> {
        self.kept.verified(key.clone(), asked.clone()).await
    }
}

impl Wanted {
    fn of(remote: &Remote) -> Result<Self, Error> {
        let given = remote.checksum.as_deref().map(str::parse::<Checksum>).transpose()?;
        if remote.secret.as_ref().is_some_and(|secret| secret.is_empty()) {
            return Err(Error::Secret { problem: "it is empty: istiod has not found it" });
        }
        let (place, name, digest, is_latest) = match remote.url.strip_prefix("oci://") {
            Some(image) => {
                let reference = Reference::parse(image)?;
                let (name, digest) = (reference.name(), reference.digest);
                let is_latest = reference.is_latest();
                (Place::Image(reference), name, digest, is_latest)
            }
            None => (Place::Web(Url::parse(&remote.url)?), remote.url.clone(), None, false),
        };
        let version_counts = match remote.policy {
            Policy::Always => true,
            Policy::IfNotPresent => false,
            Policy::Unspecified => is_latest,
        };
        let asked = Use {
            name: Cow::Owned(name),
            checksum: given.or(digest),
            address: Cow::Owned(remote.url.clone()),
            extension: Cow::Owned(remote.name.clone()),
            version: Cow::Owned(remote.version.clone()),
            version_counts,
        };
        Ok(Self { place, asked, secret: remote.secret.clone() })
    }
}

fn tell_fetched(address: &str, file: &Path, took: Duration) {
    static SAID: Throttle = Throttle::new(SELDOM);
    let (url, path) = (plain(address), file.display());
    match SAID.allow() {
        Some(untold) => info!(url, %path, ?took, untold, "module fetched"),
        None => debug!(url, %path, ?took, "module fetched"),
    }
}

fn tell_older(remote: &Remote, error: &Error) {
    static SAID: Throttle = Throttle::new(SELDOM);
    if let Some(untold) = SAID.allow() {
        let (name, error) = (&remote.name, Chain(error));
        warn!(name, %error, untold, "module not to be had: the one before is used");
    }
}

/// When the filter does not say.
const TIMEOUT: Duration = Duration::from_secs(5);
/// However long the filter says: Envoy waits for the whole response.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);
const MOST_DOWNLOADS: usize = 32;
const SELDOM: Duration = Duration::from_secs(60);
