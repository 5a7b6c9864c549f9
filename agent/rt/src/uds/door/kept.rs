//! A door through which nobody is turned away while the process is restarted: the service manager
//! has the listener as well, whoever connects meanwhile waits in its queue, and the next life takes
//! it back.
//!
//! A listener says nothing of the file by which it is reached: that may have been removed, or
//! replaced by somebody else's. So the name under which it is kept says which file it was.

use std::{fs, os::unix::fs::PermissionsExt as _, os::unix::net, path::Path, time::SystemTime};

use nix::sys::socket::{Backlog, listen};
use tokio::net::UnixListener;
use tracing::debug;

use super::{Access, Door, Error, Print};
use crate::{Notifier, files::Watch, notify::Keeper};

/// A listener that the service manager has.
#[derive(Debug)]
pub(super) struct Kept {
    keeper: Keeper,
    name: Option<String>,
}

impl Door {
    /// Opens it as [`Self::open`] does, or as it was in an earlier life if its file is still there;
    /// and has the service manager keep it, if it does that: the file is then to stay when this
    /// process ends.
    pub fn open_kept(
        path: &Path,
        access: impl Into<Access>,
        notifier: &mut Notifier,
    ) -> Result<Self, Error> {
        let access = access.into();
        let watch = Watch::new([path.to_owned()]);
        let file = Print::of(path);
        let name = file.and_then(|file| name(path, file));
        let stem = stem(path);
        let mut taken = None;
        for handed in notifier.handed_as(|name| stem.as_ref().is_some_and(|s| name.starts_with(s)))
        {
            if taken.is_none() && Some(&handed.name) == name.as_ref() {
                taken = taken_back(net::UnixListener::from(handed.fd), path, access);
                if taken.is_some() {
                    continue;
                }
            }
            notifier.remove(&handed.name);
        }
        let keeper = notifier.keeper();
        if let Some(listener) = taken {
            let mut door = Self::hung(listener, watch, access, (path, file));
            let hinge = door.hinge.as_mut();
            if let (Some(hinge), Some(keeper)) = (hinge, keeper) {
                hinge.kept = Some(Kept { keeper, name });
            }
            return Ok(door);
        }
        drop(watch);
        let mut door = Self::open(path, access)?;
        if let (Some(hinge), Some(keeper)) = (door.hinge.as_mut(), keeper) {
            let mut kept = Kept { keeper, name: None };
            kept.replace(&door.listener, path, *hinge.claim.0.file.lock());
            hinge.kept = Some(kept);
        }
        Ok(door)
    }
}

impl Kept {
    /// Has this one kept instead of the one before.
    pub(super) fn replace(&mut self, listener: &UnixListener, path: &Path, file: Option<Print>) {
        if let Some(before) = self.name.take() {
            self.keeper.remove(&before);
        }
        self.name = file.and_then(|file| name(path, file));
        if let Some(name) = &self.name {
            self.keeper.store(name, listener);
        }
    }
}

/// A listener of an earlier life, if it is one.
fn taken_back(listener: net::UnixListener, path: &Path, access: Access) -> Option<UnixListener> {
    if listener.local_addr().ok()?.as_pathname() != Some(path) {
        return None;
    }
    // Again, so that whoever connects is told that it is this process that listens.
    let ready = listen(&listener, Backlog::MAXCONN).map_err(std::io::Error::from);
    let ready = ready.and_then(|()| listener.set_nonblocking(true));
    let mode = fs::Permissions::from_mode(access.mode & 0o777);
    let ready = ready.and_then(|()| fs::set_permissions(path, mode));
    match ready.and_then(|()| UnixListener::from_std(listener)) {
        Ok(listener) => {
            debug!(path = %path.display(), "socket of an earlier life taken back");
            Some(listener)
        }
        Err(error) => {
            debug!(path = %path.display(), %error, "socket of an earlier life is of no use");
            None
        }
    }
}

/// What the names of all listeners for this path begin with.
fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    plain.then(|| format!("uds-{name}-"))
}

fn name(path: &Path, Print { device, inode, born }: Print) -> Option<String> {
    let born = born.and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
    let born = born.map_or(0, |born| born.as_nanos());
    Some(format!("{}{device}-{inode}-{born}", stem(path)?))
}

#[cfg(test)]
mod tests;
