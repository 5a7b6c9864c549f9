//! Why the files are not in place, or the others not told.

use std::{io, path::PathBuf};

/// Certificates could not be put where other programs look for them.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error(
        "directory {} does not exist: make it, and give it to user {user} (install -d -o {user})",
        path.display()
    )]
    NoDirectory { path: PathBuf, user: u32 },
    #[error("open directory {}", path.display())]
    OpenDirectory { path: PathBuf, source: io::Error },
    #[error("another program is writing to directory {}: try again", path.display())]
    Busy { path: PathBuf },
    #[error("list directory {}", path.display())]
    List { path: PathBuf, source: io::Error },
    #[error(
        "{} is kept by another program: let export go to another directory",
        path.display()
    )]
    Kept { path: PathBuf },
    #[error("{} is a directory: move it away", path.display())]
    InTheWay { path: PathBuf },
    #[error("user {user} may not write {}: chown its directory to that user", path.display())]
    NotAllowed { path: PathBuf, user: u32, source: io::Error },
    #[error(
        "{} is on a read-only file system: a service of systemd sees it writable when its \
         directory is in ReadWritePaths=, in a drop-in",
        path.display()
    )]
    ReadOnly { path: PathBuf, source: io::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "give {} to user {owner}: only root can; leave the owner as it is and let programs read \
         by their group",
        path.display()
    )]
    Owner { path: PathBuf, owner: u32, source: io::Error },
    #[error(
        "give {} to group {group}: user {user} has to be in it (SupplementaryGroups={group}, in a \
         drop-in)",
        path.display()
    )]
    Group { path: PathBuf, group: u32, user: u32, source: io::Error },
    #[error("touch {}", path.display())]
    Stamp { path: PathBuf, source: io::Error },
    #[error("run the export command")]
    Command { source: hawser_rt::Error },
}
