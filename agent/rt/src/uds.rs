//! Unix sockets: bound without a race, open to known users only, and bound again when somebody
//! takes their file away.

mod door;
mod incoming;
mod peers;

use std::{
    fs,
    io::ErrorKind,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown},
            net,
        },
    },
    path::Path,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_fd, connect, listen,
            socket,
        },
        stat::{Mode, fchmod},
    },
};
use tokio::net::UnixListener;

pub use self::{
    door::{Claim, Door},
    incoming::Incoming,
    peers::Peers,
};
pub use crate::Error;

/// The longest socket path the system takes, in bytes.
pub const PATH_LIMIT: usize = 107;

/// Who may open the file of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Its permissions.
    pub mode: u32,
    /// The group that owns it, if it is not to be the process' own. The process has to be root or
    /// one of the group.
    pub group: Option<u32>,
}

impl From<u32> for Access {
    fn from(mode: u32) -> Self {
        Self { mode, group: None }
    }
}

/// Listens on `path`, which gets the mode or group and mode. Needs a tokio runtime.
///
/// A socket that nobody listens on any more is replaced. A live one, or a file that is no socket,
/// is left alone and an error. Whoever may write to the directory could swap the path meanwhile:
/// the directory is to belong to the process.
pub fn bind(path: &Path, access: impl Into<Access>) -> Result<UnixListener, Error> {
    let length = path.as_os_str().as_bytes().len();
    if length > PATH_LIMIT {
        return Err(Error::PathTooLong { path: path.into(), length });
    }
    remove_stale(path)?;

    let Access { mode, group } = access.into();
    let mode = mode & 0o777;
    // Until it has the group it is meant for it is nobody's but the owner's.
    let first = if group.is_some() { mode & 0o700 } else { mode };
    let listener = match listen_at(path, Mode::from_bits_truncate(first)) {
        Ok(listener) => listener,
        Err(Errno::ENOENT) => return Err(Error::NoDirectory { path: path.into() }),
        Err(errno) => return Err(Error::Listen { path: path.into(), source: errno.into() }),
    };
    if let Some(group) = group {
        lchown(path, None, Some(group)).map_err(|source| {
            fs::remove_file(path).ok();
            Error::Group { path: path.into(), group, source }
        })?;
    }
    // Gives back what the umask has taken.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|source| Error::Mode {
        path: path.into(),
        mode,
        source,
    })?;
    UnixListener::from_std(net::UnixListener::from(listener))
        .map_err(|source| Error::Listen { path: path.into(), source })
}

fn listen_at(path: &Path, mode: Mode) -> nix::Result<OwnedFd> {
    let socket = stream()?;
    // The file that bind makes inherits this mode less the umask, so it is never open wider.
    fchmod(&socket, mode)?;
    bind_fd(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket)
}

fn remove_stale(path: &Path) -> Result<(), Error> {
    let inspect = || match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Inspect { path: path.into(), source }),
    };
    let Some(old) = inspect()? else { return Ok(()) };
    if !old.file_type().is_socket() {
        return Err(Error::NotASocket { path: path.into() });
    }
    match probe(path) {
        // A full queue or another kind of socket has somebody behind it as well.
        Ok(()) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => {
            return Err(Error::InUse { path: path.into() });
        }
        Err(Errno::ECONNREFUSED) => {}
        Err(Errno::ENOENT) => return Ok(()),
        Err(source) => return Err(Error::Probe { path: path.into(), source: source.into() }),
    }
    // Somebody else may have cleaned up and bound a new one since the probe.
    match inspect()? {
        None => Ok(()),
        Some(now) if (now.dev(), now.ino()) != (old.dev(), old.ino()) => {
            Err(Error::InUse { path: path.into() })
        }
        Some(_) => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::RemoveStale { path: path.into(), source: error })
            }
            _ => Ok(()),
        },
    }
}

/// Connects without waiting: a listener with a full queue must not hold the start.
fn probe(path: &Path) -> nix::Result<()> {
    connect(stream()?.as_raw_fd(), &UnixAddr::new(path)?)
}

fn stream() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

#[cfg(test)]
mod tests;
