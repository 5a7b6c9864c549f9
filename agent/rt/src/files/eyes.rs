//! The kernel's side of a watch: inotify on the directories of a plan.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor},
};
use tokio::io::unix::AsyncFd;

use super::plan::{Directory, Plan, Role};
use crate::descriptor::{Descriptor, readable};

#[derive(Debug)]
pub(super) struct Eyes {
    pub(super) inotify: Arc<Inotify>,
    /// Made when it is first waited for, so that a watch can be made outside of a runtime.
    ready: Option<AsyncFd<Descriptor<Arc<Inotify>>>>,
    pub(super) watches: HashMap<WatchDescriptor, Directory>,
}

/// What an event means to the files, in order of weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sight {
    Nothing,
    /// A way has moved; where it leads now has to be looked up.
    Moved,
    /// One of the files.
    Touched,
}

impl Eyes {
    pub(super) fn open() -> Result<Self, Errno> {
        let inotify = Arc::new(Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?);
        Ok(Self { inotify, ready: None, watches: HashMap::new() })
    }

    /// Watches what is in the plan and nothing else. Returns a directory that cannot be watched,
    /// if there is one. One that has gone meanwhile is none: the plan is out of date then.
    pub(super) fn arm(&mut self, plan: &Plan) -> Option<(PathBuf, Errno)> {
        let mut unwatched = None;
        let mut watches = HashMap::new();
        for directory in plan.directories.values() {
            match self.inotify.add_watch(&directory.path, interest(directory)) {
                Ok(watch) => drop(watches.insert(watch, directory.clone())),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(errno) => unwatched = Some((directory.path.clone(), errno)),
            }
        }
        for (old, _) in std::mem::replace(&mut self.watches, watches) {
            if !self.watches.contains_key(&old) {
                // Gone with its directory, or going now.
                self.inotify.rm_watch(old).ok();
            }
        }
        unwatched
    }

    /// Returns when something has happened. Cancel safe. Needs a tokio runtime.
    pub(super) async fn look_out(&mut self) -> Result<Sight, Errno> {
        let ready = match &mut self.ready {
            Some(ready) => ready,
            none => none.insert(readable(Arc::clone(&self.inotify)).map_err(errno)?),
        };
        loop {
            let mut guard = ready.readable().await.map_err(errno)?;
            match self.inotify.read_events() {
                Ok(events) => {
                    let sights = events.iter().map(|event| sight(&self.watches, event));
                    return Ok(sights.max().unwrap_or(Sight::Nothing));
                }
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

fn interest(directory: &Directory) -> AddWatchFlags {
    // The path was resolved: a link in its place now is none of ours.
    let mut flags = AddWatchFlags::IN_ONLYDIR
        | AddWatchFlags::IN_DONT_FOLLOW
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    if directory.has_goal() {
        flags |= AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE;
    }
    flags
}

pub(super) fn sight(watches: &HashMap<WatchDescriptor, Directory>, event: &InotifyEvent) -> Sight {
    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
        return Sight::Touched;
    }
    // Of a watch that was given up meanwhile: what it told was looked at when it was given up.
    let Some(directory) = watches.get(&event.wd) else { return Sight::Nothing };
    let Some(name) = &event.name else { return Sight::Moved };
    match directory.names.get(name) {
        Some(Role::Goal) => Sight::Touched,
        Some(Role::Way) => Sight::Moved,
        None if directory.goal => Sight::Touched,
        None => Sight::Nothing,
    }
}
