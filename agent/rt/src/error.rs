//! What can go wrong while a daemon sets itself up, or has a program run.

use std::{ffi::OsString, io, path::PathBuf, process::ExitStatus, time::Duration};

use crate::command::Said;

/// A socket, a signal handler or the notification channel could not be set up, or an external
/// program did not do its work.
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
        "give socket {} to group {group}; the agent's user has to be one of that group",
        path.display()
    )]
    Group { path: PathBuf, group: u32, source: io::Error },
    #[error(
        "notification socket {} cannot be used: expected /path or @name",
        socket.display()
    )]
    NotifyAddress { socket: OsString },
    #[error("use notification socket {}", socket.display())]
    NotifySocket { socket: OsString, source: io::Error },
    #[error("lock {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error(
        "process {} runs here already and holds {}: stop that one first",
        pid.map_or_else(|| "of unknown number".to_owned(), |pid| pid.to_string()),
        path.display()
    )]
    Held { path: PathBuf, pid: Option<u32> },
    #[error("install the handler of {signal}")]
    Signal { signal: &'static str, source: io::Error },
    #[error("command `{text}` cannot be used: {problem}")]
    CommandText { text: String, problem: &'static str },
    #[error("program {} does not exist: check the path of the command", program.display())]
    NoProgram { program: PathBuf },
    #[error(
        "program {} cannot be started: the interpreter its first line names does not exist",
        program.display()
    )]
    NoInterpreter { program: PathBuf },
    #[error(
        "program {} may not be executed: check its mode (chmod a+x), its directories and its \
         file system (noexec)",
        program.display()
    )]
    NotExecutable { program: PathBuf },
    #[error("start program {}", program.display())]
    StartProgram { program: PathBuf, source: io::Error },
    #[error("follow program {}", program.display())]
    FollowProgram { program: PathBuf, source: io::Error },
    #[error("program {} was killed: not done after {limit:?}{said}", program.display())]
    ProgramTimeout { program: PathBuf, limit: Duration, said: Said },
    #[error(
        "program {} was killed: it printed more than {limit} bytes{said}",
        program.display()
    )]
    ProgramOutput { program: PathBuf, limit: usize, said: Said },
    #[error("program {} failed with {status}{said}", program.display())]
    ProgramFailed { program: PathBuf, status: ExitStatus, said: Said },
}
