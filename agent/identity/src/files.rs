//! A pair that somebody else keeps up to date, in three files.
//!
//! The files change one after the other, or all at once behind a symlink. What does not fit is
//! half of a change: the set before is served until the other half is there. Roots that are kept by
//! another hand are the mesh's, and say nothing of whether the pair is whole.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_audit::CERTIFICATE_REPLACED;
use hawser_pki::{Bundle, Chain, Identity, PrivateKey};
use hawser_rt::files::Watch;
use tokio::task::spawn_blocking;
use tracing::info;
use zeroize::Zeroizing;

use crate::{AtRest, Error, Files, Hand, Options, publish::left, rotate::Surroundings, span::Span};

/// Serves what the files hold, whenever they change. Never ends.
pub(crate) async fn follow(files: &Files, around: Surroundings<'_>) {
    let Surroundings { options: Options { clock, .. }, publisher, metrics, .. } = around;
    publisher.progress(|progress| {
        SOURCE.clone_into(&mut progress.source);
        progress.at_rest = AtRest::NotOurs;
    });
    let mut watch = Watch::new([&files.key, &files.chain, &files.roots].map(PathBuf::clone));
    loop {
        let (now, read) = (clock.now(), load(files).await);
        let again = match &read {
            Ok(identity) => look_again(identity, now),
            Err(_) => now + RETRY,
        };
        match read.and_then(|identity| served(identity, files, around, now)) {
            Ok(()) => {
                publisher.well();
                // When the next one comes is not ours to say.
                publisher.progress(|progress| progress.next = None);
            }
            Err(error) => {
                metrics.file_failures.add(1);
                publisher.trouble(&error, "", again);
            }
        }
        // Cancel safe: both only wait. A clock that was set is a reason to look, too.
        tokio::select! {
            () = watch.changed() => {}
            _ = clock.wait(again) => {}
        }
    }
}

/// Publishes it, whatever its date or name: it is the operator's. What is wrong with it is told.
fn served(
    identity: Identity,
    files: &Files,
    Surroundings { options, publisher, .. }: Surroundings<'_>,
    now: SystemTime,
) -> Result<(), Error> {
    let path = || files.chain.clone();
    let expired = identity.not_before() <= now && !identity.valid_at(now);
    let before = publisher.served().filter(|before| before.valid_at(now));
    let is_new = |before: &Arc<Identity>| before.chain.ders() != identity.chain.ders();
    if expired && before.as_ref().is_some_and(is_new) {
        return Err(Error::FileExpired { path: path() });
    }
    if before.as_ref().is_none_or(is_new) {
        let (id, expires_in) = (identity.name(), Span(left(&identity, now)));
        info!(message_id = CERTIFICATE_REPLACED.id, %id, %expires_in, "certificate read from files");
    }
    let (found, begin) = (identity.name().to_owned(), identity.not_before());
    let other = options.expected.clone().filter(|id| identity.spiffe_id() != Some(id));
    publisher.serve_brought(Arc::new(identity));
    if expired {
        return Err(Error::FileExpired { path: path() });
    }
    if let Some(within) = begin.duration_since(now).ok().filter(|within| !within.is_zero()) {
        return Err(Error::FileNotYetValid { path: path(), within });
    }
    match other {
        None => Ok(()),
        Some(expected) => {
            Err(Error::FileForOther { path: path(), found, expected: Box::new(expected) })
        }
    }
}

/// The next moment at which what is to be said of it changes.
fn look_again(identity: &Identity, now: SystemTime) -> SystemTime {
    let marks = [identity.not_before(), identity.not_after() + Duration::from_secs(1)];
    marks.into_iter().filter(|mark| now < *mark).min().unwrap_or(now + RETRY)
}

async fn load(files: &Files) -> Result<Identity, Error> {
    let files = files.clone();
    spawn_blocking(move || read(&files)).await.map_err(|source| Error::GivenUp { source })?
}

fn read(files: &Files) -> Result<Identity, Error> {
    let Files { key, chain, roots, hand } = files;
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::UnusableFile { path, source: Box::new(source) }
    };
    let pair = PrivateKey::from_pem(&text(key)?).map_err(unusable(key))?;
    let issued = Chain::from_pem(&text(chain)?).map_err(unusable(chain))?;
    let trusted = Bundle::from_pem(&text(roots)?).map_err(unusable(roots))?;
    let whole = || {
        let identity = Identity::brought(pair, issued, trusted)?;
        if *hand == Hand::Same {
            identity.rooted()?;
        }
        Ok(identity)
    };
    whole().map_err(|source| {
        let dir = chain.parent().unwrap_or(chain).to_owned();
        Error::UnfitFiles { dir, source: Box::new(source) }
    })
}

/// A text into a buffer that never grows, since a grown one leaves a copy of a key behind.
pub(crate) fn text(path: &Path) -> Result<Zeroizing<String>, Error> {
    let read = || -> io::Result<Zeroizing<String>> {
        // Before it is opened, which would wait for the other end of a pipe.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let file = File::open(path)?;
        let found = file.metadata()?;
        if found.len() > LARGEST {
            return Err(io::Error::other(format!("larger than {LARGEST} bytes")));
        }
        let room = usize::try_from(found.len()).unwrap_or_default();
        let mut text = Zeroizing::new(String::with_capacity(room));
        file.take(found.len()).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| Error::ReadFile { path: path.to_owned(), source })
}

pub(crate) const SOURCE: &str = "files";
const LARGEST: u64 = 4 << 20;
/// Changes are noticed at once; this is for a file system that does not tell.
const RETRY: Duration = Duration::from_secs(60);
