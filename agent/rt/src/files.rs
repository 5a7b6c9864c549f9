//! Files that are replaced under us: renamed over, written in place, deleted and made again,
//! swapped with the directory they are in, or behind symbolic links that are.
//!
//! - Directories are watched, never files: a watch on a file follows the file that was, not the
//!   name. Every directory on the way is watched, and on the way of every link met; where the way
//!   breaks off, the last directory that exists.
//! - What is missed by events is found by looking: after the watches are set, whenever something
//!   moves, and now and then without a cause, because a share that another machine writes to and
//!   a mount over a watched directory give no events.
//! - Looking is a few system calls on the paths and is done in place; a hung share hangs it.

mod eyes;
mod plan;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::errno::Errno;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use self::{
    eyes::{Eyes, Sight},
    plan::{Plan, Print},
};
use crate::Throttle;

/// Waits for files to change, whichever way they do.
#[derive(Debug)]
pub struct Watch {
    /// What was behind each path when it was last told of; nothing yet for a new path.
    seen: BTreeMap<PathBuf, Option<Print>>,
    eyes: Option<Eyes>,
    /// Whether something goes unwatched, and is polled for.
    blind: bool,
    unrest: Option<Unrest>,
    pace: Pace,
    look_at: Instant,
    reopen_at: Instant,
}

/// How long a watch waits.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Rest after which a change is told of.
    quiet: Duration,
    /// How long a change may be held back.
    patience: Duration,
    /// Whether it looks without a cause.
    restless: bool,
}

/// Something moves; it is told of when it has come to rest.
#[derive(Debug, Clone, Copy)]
struct Unrest {
    since: Instant,
    last: Instant,
    /// Whether it was one of the files, not only something on the way to them.
    touched: bool,
}

impl Watch {
    /// Watches what is behind `paths`, from now on. None of them has to exist. Relative ones are
    /// taken from the directory the process is in now.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let now = Instant::now();
        let mut watch = Self {
            seen: BTreeMap::new(),
            eyes: None,
            blind: true,
            unrest: None,
            pace: Pace { quiet: QUIET, patience: PATIENCE, restless: true },
            look_at: now,
            reopen_at: now,
        };
        watch.set(paths);
        watch
    }

    /// The same watch, which wakes up for events alone and tells of a change after half a second
    /// of rest. What gives no events goes unnoticed.
    #[must_use]
    pub fn idle(mut self) -> Self {
        self.pace = Pace { quiet: IDLE_QUIET, patience: IDLE_PATIENCE, restless: false };
        self.look_at = self.look_at.max(Instant::now() + NEVER);
        self
    }

    /// Whether something cannot be watched.
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// Watches other paths from now on. A change of a path that stays is not lost.
    pub fn set(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut before = std::mem::take(&mut self.seen);
        for path in paths {
            let path = std::path::absolute(&path).unwrap_or(path);
            let print = before.remove(&path).flatten();
            self.seen.insert(path, print);
        }
        if self.look() {
            self.stir(Sight::Touched);
        }
    }

    /// The paths that are watched, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.seen.keys().map(PathBuf::as_path)
    }

    /// Returns when the content behind any of the paths may have changed since the last return,
    /// or since the creation: after a tenth of a second of rest, but no later than a second after
    /// the change. Now and then it returns though nothing has changed. Cancel safe. Needs a
    /// tokio runtime; without paths it never returns.
    pub async fn changed(&mut self) {
        loop {
            let due =
                self.unrest.map_or(self.look_at, |unrest| unrest.end(self.pace).min(self.look_at));
            if due <= Instant::now() {
                if self.look() {
                    return;
                }
                continue;
            }
            // Nothing is awaited between reading events and noting them.
            tokio::select! {
                sight = watched(self.eyes.as_mut()) => match sight {
                    Ok(sight) => self.stir(sight),
                    Err(errno) => self.shut(errno),
                },
                () = sleep_until(due) => {}
            }
        }
    }

    fn stir(&mut self, sight: Sight) {
        if sight == Sight::Nothing {
            return;
        }
        let last = Instant::now();
        let touched = sight == Sight::Touched;
        let before = self.unrest.unwrap_or(Unrest { since: last, last, touched });
        self.unrest = Some(Unrest { last, touched: before.touched || touched, ..before });
    }

    fn shut(&mut self, errno: Errno) {
        self.eyes = None;
        self.blind = true;
        self.look_at = Instant::now() + if self.pace.restless { POLL } else { NEVER };
        blinded(errno, None);
    }

    /// Sets the watches anew and looks at the files; whether any may have changed.
    fn look(&mut self) -> bool {
        let mut changed = self.unrest.take().is_some_and(|unrest| unrest.touched);
        self.blind = !self.arm();
        for (path, seen) in &mut self.seen {
            let now = Some(Print::of(path));
            changed |= seen.is_some() && *seen != now;
            *seen = now;
        }
        self.look_at = Instant::now()
            + match self.blind {
                _ if !self.pace.restless => NEVER,
                true => POLL,
                false => RECHECK,
            };
        changed
    }

    /// Watches the directories that matter now; whether that is all of them.
    fn arm(&mut self) -> bool {
        let now = Instant::now();
        if self.eyes.is_none() && now >= self.reopen_at {
            self.reopen_at = now + RECHECK;
            self.eyes = Eyes::open().map_err(|errno| blinded(errno, None)).ok();
        }
        let Some(eyes) = &mut self.eyes else { return false };
        let mut plan = Plan::of(self.seen.keys());
        for _ in 0..ROUNDS {
            let unwatched = eyes.arm(&plan);
            let after = Plan::of(self.seen.keys());
            // The ways are still those that were watched: from here on nothing gets past.
            if after == plan {
                if let Some((path, errno)) = &unwatched {
                    blinded(*errno, Some(path));
                }
                return unwatched.is_none();
            }
            plan = after;
        }
        false
    }
}

impl Unrest {
    fn end(&self, pace: Pace) -> Instant {
        (self.last + pace.quiet).min(self.since + pace.patience)
    }
}

async fn watched(eyes: Option<&mut Eyes>) -> Result<Sight, Errno> {
    match eyes {
        Some(eyes) => eyes.look_out().await,
        None => std::future::pending().await,
    }
}

fn blinded(errno: Errno, path: Option<&Path>) {
    let Some(suppressed) = BLINDED.allow() else { return };
    let path = path.map(Path::display).map(tracing::field::display);
    let remedy = match errno {
        Errno::EMFILE => "raise fs.inotify.max_user_instances or the limit of open files",
        Errno::ENOSPC => "raise fs.inotify.max_user_watches",
        Errno::EACCES => "give the agent's user read permission on the directory",
        _ => "none: changes are seen a little later",
    };
    warn!(error = %errno, path, remedy, suppressed, "files cannot be watched and are polled");
}

static BLINDED: Throttle = Throttle::new(Duration::from_secs(3600));
const QUIET: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
const IDLE_QUIET: Duration = Duration::from_millis(500);
const IDLE_PATIENCE: Duration = Duration::from_secs(2);
const NEVER: Duration = Duration::from_secs(365 * 86_400);
const POLL: Duration = Duration::from_secs(2);
const RECHECK: Duration = Duration::from_secs(60);
/// How often the ways may move under the walker before it comes back later.
const ROUNDS: usize = 8;

#[cfg(test)]
mod tests;
