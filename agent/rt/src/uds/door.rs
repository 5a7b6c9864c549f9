//! A listener that stays where it is: when its file is removed or replaced, it is bound again; and
//! the service manager may keep it for the next life of the process.

mod kept;

use std::{
    fmt, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::{
    net::{UnixListener, UnixStream},
    time::sleep,
};
use tracing::{info, warn};

use self::kept::Kept;
use super::{Access, Error, bind};
use crate::{Backoff, Chain, Throttle, files::Watch};

/// A listener, and if it was opened as a door what is needed to open it again.
///
/// A socket whose file is gone still has its connections, and nobody else can come. The file is
/// looked after while connections are waited for; what is there in its place and is in use, or is
/// no socket, is left alone and looked at again.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    /// The one before: who was in its queue when its file went is let in yet.
    former: Option<UnixListener>,
    hinge: Option<Hinge>,
}

/// What a door has bound. Clones are the same.
#[derive(Debug, Clone)]
pub struct Claim(Arc<Claimed>);

#[derive(Debug)]
struct Claimed {
    path: PathBuf,
    /// The file that was bound; none when it was given up.
    file: Mutex<Option<Print>>,
    /// How often it was bound again.
    again: AtomicU64,
}

/// Tells one file from another. The number alone does not: it may be given to the next one at
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

struct Hinge {
    claim: Claim,
    access: Access,
    /// Who has the listener too, and the file in its care.
    kept: Option<Kept>,
    backoff: Backoff,
    /// Returns when the file may have changed, or is to be looked at again.
    stirred: Pin<Box<dyn Future<Output = Watch> + Send + Sync>>,
}

impl Door {
    /// Listens on `path` as [`bind`] does.
    pub fn open(path: &Path, access: impl Into<Access>) -> Result<Self, Error> {
        let access = access.into();
        let watch = Watch::new([path.to_owned()]);
        let listener = bind(path, access)?;
        Ok(Self::hung(listener, watch, access, (path, Print::of(path))))
    }

    fn hung(
        listener: UnixListener,
        watch: Watch,
        access: Access,
        (path, file): (&Path, Option<Print>),
    ) -> Self {
        let again = AtomicU64::new(0);
        let claimed = Claimed { path: path.to_owned(), file: Mutex::new(file), again };
        let hinge = Hinge {
            claim: Claim(Arc::new(claimed)),
            access,
            kept: None,
            backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
            stirred: stirred(watch, None),
        };
        Self { listener, former: None, hinge: Some(hinge) }
    }

    /// What this door has bound; none for one that was made of a listener.
    pub fn claim(&self) -> Option<Claim> {
        self.hinge.as_ref().map(|hinge| hinge.claim.clone())
    }

    /// Whether the file is to stay when the process ends, because the service manager has the
    /// listener as well.
    pub fn is_kept(&self) -> bool {
        self.hinge.as_ref().is_some_and(|hinge| hinge.kept.is_some())
    }

    /// The next connection, whoever it is from.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        while let Some(hinge) = &mut self.hinge
            && let Poll::Ready(watch) = hinge.stirred.as_mut().poll(cx)
        {
            if let Some(listener) = hinge.look(watch) {
                self.former = Some(std::mem::replace(&mut self.listener, listener));
            }
        }
        if let Some(former) = &self.former {
            match former.poll_accept(cx) {
                Poll::Ready(Ok((stream, _))) => return Poll::Ready(Ok(stream)),
                Poll::Ready(Err(_)) | Poll::Pending => self.former = None,
            }
        }
        let (stream, _) = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(Ok(stream))
    }
}

impl From<UnixListener> for Door {
    /// Stays open for as long as the listener does, and no longer.
    fn from(listener: UnixListener) -> Self {
        Self { listener, former: None, hinge: None }
    }
}

impl Claim {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How often it was bound again.
    pub fn again(&self) -> u64 {
        self.0.again.load(Ordering::Relaxed)
    }

    /// Takes the file away, if it is still the one that was bound, and ends the claim: it is not
    /// bound again.
    pub fn remove(&self) -> io::Result<()> {
        let bound = self.0.file.lock().take();
        if bound.is_some() && Print::of(&self.0.path) == bound {
            std::fs::remove_file(&self.0.path)?;
        }
        Ok(())
    }
}

impl Hinge {
    /// Binds anew if the file is not the one that was bound.
    fn look(&mut self, watch: Watch) -> Option<UnixListener> {
        let Claimed { path, file, again: count } = &*self.claim.0;
        let mut file = file.lock();
        let mut again = None;
        let mut listener = None;
        if file.is_some() && Print::of(path) != *file {
            match bind(path, self.access) {
                Ok(bound) => {
                    *file = Print::of(path);
                    count.fetch_add(1, Ordering::Relaxed);
                    self.backoff.reset();
                    if let Some(kept) = &mut self.kept {
                        kept.replace(&bound, path, *file);
                    }
                    info!(path = %path.display(), "socket was taken away, and is bound again");
                    listener = Some(bound);
                }
                Err(error) => {
                    again = Some(self.backoff.next(fastrand::f64()));
                    if let Some(suppressed) = TAKEN.allow() {
                        let error = Chain(&error);
                        warn!(%error, suppressed, "socket was taken away, and cannot be bound");
                    }
                }
            }
        }
        drop(file);
        self.stirred = stirred(watch, again);
        listener
    }
}

impl fmt::Debug for Hinge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { claim, access, .. } = self;
        f.debug_struct("Hinge").field("claim", claim).field("access", access).finish()
    }
}

fn stirred(
    mut watch: Watch,
    again: Option<Duration>,
) -> Pin<Box<dyn Future<Output = Watch> + Send + Sync>> {
    Box::pin(async move {
        // Cancel safe: both only wait.
        tokio::select! {
            () = watch.changed() => {}
            () = sleep(again.unwrap_or_default()), if again.is_some() => {}
        }
        watch
    })
}

impl Print {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::symlink_metadata(path).ok()?;
        Some(Self { device: found.dev(), inode: found.ino(), born: found.created().ok() })
    }
}

static TAKEN: Throttle = Throttle::new(Duration::from_secs(60));
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
