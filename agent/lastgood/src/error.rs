//! Why something cannot be kept or shown.

use std::{io, path::PathBuf};

/// What was accepted cannot be kept, or what is kept cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("create directory {}", path.display())]
    CreateDirectory { path: PathBuf, source: io::Error },
    #[error("open directory {}", path.display())]
    OpenDirectory { path: PathBuf, source: io::Error },
    #[error("{} is not a directory: move it away", path.display())]
    NoDirectory { path: PathBuf },
    #[error(
        "directory {} belongs to user {owner}, but this process runs as user {own}: run it as \
         the owner or chown the directory",
        path.display()
    )]
    ForeignDirectory { path: PathBuf, owner: u32, own: u32 },
    #[error(
        "directory {} can be written to by others (mode {mode:03o}): chmod it to 700",
        path.display()
    )]
    SharedDirectory { path: PathBuf, mode: u32 },
    #[error("open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("put the new {} in place", path.display())]
    Replace { path: PathBuf, source: io::Error },
    #[error("set {} aside", path.display())]
    SetAside { path: PathBuf, source: io::Error },
    #[error(
        "{} would hold more than {limit} bytes: raise the limit of the last-good store",
        path.display()
    )]
    Full { path: PathBuf, limit: u64 },
    #[error("{} holds {limit} types already, no more are kept", path.display())]
    Types { path: PathBuf, limit: usize },
    #[error("the disk takes longer than a second for one response")]
    Slow,
    #[error("a resource is no message that could be kept")]
    Malformed,
    #[error("the name of the node or of the type is longer than {limit} bytes")]
    Name { limit: usize },
    #[error("{} is not a log of this agent", path.display())]
    Foreign { path: PathBuf, reason: String },
    #[error("version {number} is not kept")]
    Version { number: u64 },
    #[error("{name} is not kept whole")]
    Resource { name: String },
}
