//! What can go wrong while a daemon sets itself up.

use std::{ffi::OsString, io, path::PathBuf};

/// A socket, a signal handler or the notification channel could not be set up.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error(
        "socket path {} has {length} bytes, the system allows {}: choose a shorter directory",
        path.display(),
        crate::uds::PATH_LIMIT
    )]
    PathTooLong { path: PathBuf, length: usize },
    #[error(
        "socket {} cannot be made: its directory does not exist; create it first",
        path.display()
    )]
    NoDirectory { path: PathBuf },
    #[error("{} is not a socket: move it away or choose another socket path", path.display())]
    NotASocket { path: PathBuf },
    #[error(
        "socket {} is in use by a running process: stop that one first or choose another path",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error("look at {}", path.display())]
    Inspect { path: PathBuf, source: io::Error },
    #[error("probe the old socket {}", path.display())]
    Probe { path: PathBuf, source: io::Error },
    #[error("remove the stale socket {}", path.display())]
    RemoveStale { path: PathBuf, source: io::Error },
    #[error("listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("set mode {mode:o} on socket {}", path.display())]
    Mode { path: PathBuf, mode: u32, source: io::Error },
    #[error(
        "notification socket {} cannot be used: expected /path or @name",
        socket.display()
    )]
    NotifyAddress { socket: OsString },
    #[error("use notification socket {}", socket.display())]
    NotifySocket { socket: OsString, source: io::Error },
    #[error("install the handler of {signal}")]
    Signal { signal: &'static str, source: io::Error },
}
