//! Why a file could not be written, read or set aside.

use std::{io, path::PathBuf};

/// A durable file, or the directory of one, is not to be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("create state directory {}", path.display())]
    CreateDirectory { path: PathBuf, source: io::Error },
    #[error("open state directory {}", path.display())]
    OpenDirectory { path: PathBuf, source: io::Error },
    #[error(
        "state directory {} belongs to user {owner}, but this process runs as user {own}: \
         run it as the owner or chown the directory",
        path.display()
    )]
    ForeignDirectory { path: PathBuf, owner: u32, own: u32 },
    #[error(
        "state directory {} can be written to by others (mode {mode:03o}): chmod it to 700",
        path.display()
    )]
    SharedDirectory { path: PathBuf, mode: u32 },
    #[error("list directory {}", path.display())]
    List { path: PathBuf, source: io::Error },
    #[error(
        "{name:?} cannot be the name of a state file: expected 1 to 64 of a-z 0-9 - _ and dots \
         inside, without \".damaged-\""
    )]
    Name { name: String },
    #[error("{} would hold {length} bytes, at most {} are kept", path.display(), crate::BODY_LIMIT)]
    TooLarge { path: PathBuf, length: usize },
    #[error("{} names no file", path.display())]
    NoFileName { path: PathBuf },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("put the new {} in place", path.display())]
    Replace { path: PathBuf, source: io::Error },
    #[error("flush directory {} to disk", path.display())]
    Flush { path: PathBuf, source: io::Error },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("remove {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("set {} aside", path.display())]
    SetAside { path: PathBuf, source: io::Error },
}
