//! Keeps the secrets up to date: the identity, the roots, and the files that somebody wants.
//!
//! One for all streams. A file is read when the first stream asks for it, watched as long as any
//! does, and forgotten with the last.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hawser_pki::{Bundle, Identity, KeyForm};
use hawser_rt::Throttle;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{debug, info, warn};

use crate::{
    Counts,
    file::Unfit,
    name::File,
    secret::{Parts, Secrets},
    shelf::{Good, Outcome, Shelf, Source},
    watcher::Watcher,
};

/// What the secrets are made from, as it comes and goes.
#[derive(Debug)]
pub(crate) struct Inlets {
    pub(crate) identity: watch::Receiver<Option<Arc<Identity>>>,
    pub(crate) trusted: watch::Receiver<Option<Arc<Bundle>>>,
    pub(crate) wanted: watch::Receiver<BTreeMap<File, usize>>,
}

/// Who keeps the secrets.
#[derive(Debug)]
pub(crate) struct Keeper {
    shelf: Shelf,
    form: KeyForm,
    crl: Option<PathBuf>,
    /// Whether the roots wait for the revocation lists, so that they are not served without
    /// them for the first moment.
    held_back: bool,
    /// Trusted roots that the revocation lists leave out, as far as it was said.
    without_list: usize,
    counts: Arc<Counts>,
    publish: watch::Sender<Arc<Secrets>>,
}

impl Keeper {
    pub(crate) fn new(
        form: KeyForm,
        crl: Option<PathBuf>,
        counts: Arc<Counts>,
        publish: watch::Sender<Arc<Secrets>>,
    ) -> Self {
        let (shelf, held_back) = (Shelf::default(), crl.is_some());
        Self { shelf, form, crl, held_back, without_list: 0, counts, publish }
    }

    /// Publishes what there is, and all that changes. When nobody publishes an identity or roots
    /// any more, the last go on being served.
    pub(crate) async fn run(mut self, mut inlets: Inlets) -> Infallible {
        let mut files = Watcher::start();
        self.want(&mut inlets, &files);
        let mut reads = JoinSet::new();
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut patience = pin!(sleep(PATIENCE));
        self.publish(&mut inlets);
        loop {
            while files.is_watching()
                && reads.len() < MOST_READS
                && let Some(source) = self.shelf.next_due()
            {
                reads.spawn_blocking(move || {
                    let read = source.read();
                    (source, read)
                });
            }
            // Every branch is cancel-safe.
            tokio::select! {
                Ok(()) = inlets.identity.changed() => self.publish(&mut inlets),
                Ok(()) = inlets.trusted.changed() => self.publish(&mut inlets),
                Ok(()) = inlets.wanted.changed() => {
                    self.want(&mut inlets, &files);
                    self.publish(&mut inlets);
                }
                changed = files.look() => if changed {
                    self.shelf.look_again();
                },
                Some(Ok((source, read))) = reads.join_next() => {
                    if self.take(&source, read) {
                        self.publish(&mut inlets);
                    }
                }
                () = &mut patience, if self.held_back => {
                    self.held_back = false;
                    self.publish(&mut inlets);
                }
                _ = again.tick(), if self.shelf.any_wrong() => {
                    self.shelf.look_again_where_wrong();
                }
            }
        }
    }

    fn want(&mut self, inlets: &mut Inlets, files: &Watcher) {
        let wanted = inlets.wanted.borrow_and_update();
        let mut sources: BTreeSet<_> = wanted.keys().cloned().map(Source::Secret).collect();
        self.counts.keep(sources.len());
        sources.extend(self.crl.clone().map(Source::Revocations));
        self.shelf.want(&sources);
        files.set(self.shelf.paths());
    }

    /// Takes what was read, and says whether that makes other secrets.
    fn take(&mut self, source: &Source, read: Result<Good, Unfit>) -> bool {
        let outcome = self.shelf.take(source, read);
        let mut changed = matches!(outcome, Outcome::Changed { .. } | Outcome::Gone);
        if matches!(source, Source::Revocations(_)) {
            changed |= std::mem::take(&mut self.held_back);
        }
        self.tell(source, outcome);
        changed
    }

    fn publish(&mut self, inlets: &mut Inlets) {
        let trusted = inlets.trusted.borrow_and_update().clone();
        let mut parts = Parts {
            form: self.form,
            identity: inlets.identity.borrow_and_update().clone(),
            trusted: trusted.filter(|_| !self.held_back),
            revocations: None,
            files: BTreeMap::new(),
        };
        for (source, good) in self.shelf.good() {
            match good {
                Good::Secret(held) => {
                    parts.files.insert(source.to_string(), held.clone());
                }
                Good::Revocations(lists) => parts.revocations = Some(lists.clone()),
            }
        }
        self.tell_of_missing_lists(&parts);
        self.publish.send_replace(Arc::new(Secrets::new(parts)));
    }

    /// Says so when Envoy is about to refuse whole branches of the mesh.
    fn tell_of_missing_lists(&mut self, parts: &Parts) {
        let count = match (&parts.trusted, &parts.revocations) {
            (Some(trusted), Some(lists)) => lists.without_list(trusted),
            _ => 0,
        };
        if std::mem::replace(&mut self.without_list, count) != count
            && count > 0
            && let Some(suppressed) = MISSING.allow()
        {
            warn!(
                flow = "sds",
                path = ?self.crl,
                roots = count,
                suppressed,
                "trusted roots without a revocation list, envoy refuses every certificate under them"
            );
        }
    }

    fn tell(&mut self, source: &Source, outcome: Outcome) {
        match (source, outcome) {
            (_, Outcome::Same) => {}
            (Source::Secret(file), Outcome::Changed { mended: true } | Outcome::Mended) => {
                info!(flow = "sds", resource = ?file.to_string(), "files are served again");
            }
            (Source::Secret(file), Outcome::Changed { mended: false } | Outcome::Gone) => {
                debug!(flow = "sds", resource = ?file.to_string(), "files read");
            }
            (Source::Secret(file), Outcome::Wrong { reason, kept, new }) => {
                if new {
                    self.counts.fail();
                }
                // Who asks decides on the files, so of many one is said at a time. The others
                // have their turn when they are looked at again.
                if self.shelf.is_news(source, &reason) && WRONG.allow().is_some() {
                    warn_of_file(file, &reason, kept);
                    self.shelf.told(source, reason);
                }
            }
            (Source::Revocations(path), Outcome::Wrong { reason, kept, .. }) => {
                if self.shelf.is_news(source, &reason) {
                    warn_of_revocations(path, &reason, kept);
                    self.shelf.told(source, reason);
                }
            }
            (Source::Revocations(path), Outcome::Gone) => {
                let path = path.display();
                warn!(flow = "sds", %path, "revocation lists are gone, nothing is revoked any more");
            }
            (Source::Revocations(path), Outcome::Changed { .. } | Outcome::Mended) => {
                info!(flow = "sds", path = %path.display(), "revocation lists in use");
            }
        }
    }
}

fn warn_of_file(file: &File, error: &str, kept: bool) {
    let resource = file.to_string();
    if kept {
        warn!(flow = "sds", ?resource, error, "files cannot be served, what they were before is");
    } else {
        warn!(flow = "sds", ?resource, error, "files cannot be served, whoever asks waits");
    }
}

fn warn_of_revocations(path: &Path, error: &str, kept: bool) {
    let path = path.display();
    if kept {
        warn!(flow = "sds", %path, error, "revocation lists cannot be used, the last ones are");
    } else {
        warn!(flow = "sds", %path, error, "revocation lists cannot be used, nothing is revoked");
    }
}

static WRONG: Throttle = Throttle::new(AGAIN);
static MISSING: Throttle = Throttle::new(Duration::from_secs(60));
/// Files are read side by side this far: one that hangs on its file system holds up no other.
const MOST_READS: usize = 16;
/// How long the roots wait for revocation lists that hang on their file system.
const PATIENCE: Duration = Duration::from_secs(2);
/// What cannot be read is tried again: a changed mode or owner is not a changed file.
const AGAIN: Duration = Duration::from_secs(10);
