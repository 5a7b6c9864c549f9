//! A directory that is held open: every step in it that changes something.
//!
//! Everything goes by the open directory and never through a link that lies in it, so nobody who
//! can write there can lead a key, or the reading of a file, elsewhere. Nothing is tidied up after a
//! step that failed: the next switch sweeps, as it has to do after a crash anyway.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat, readlinkat, renameat},
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, geteuid, symlinkat, unlinkat},
};
use zeroize::Zeroizing;

use crate::{
    Error,
    set::{Access, Entry},
};

/// An open directory.
pub(crate) struct Directory {
    /// What it is called in errors: for a version, the directory it is in.
    path: PathBuf,
    file: File,
}

impl Directory {
    /// Opens the directory and keeps other switches out until it is dropped.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::OpenDirectory { path: path.into(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::NoDirectory { path: path.into(), user: geteuid().as_raw() });
            }
            opened => opened.map_err(failed)?,
        };
        if !file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(ErrorKind::NotADirectory.into()));
        }
        // A file system without locks has one switch at a time all the same, but for people.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::Busy { path: path.into() });
        }
        Ok(Self { path: path.into(), file })
    }

    /// What is in it; names that are no UTF-8 are nobody's here.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                names.extend(entry?.file_name().into_string());
            }
            Ok(names)
        };
        list().map_err(|source| Error::List { path: self.path.clone(), source })
    }

    /// Where the link of this name leads; `None` if there is no such link.
    pub(crate) fn target(&self, name: &str) -> Option<OsString> {
        readlinkat(&self.file, name).ok()
    }

    /// A directory in it, not behind a link.
    pub(crate) fn directory(&self, name: &str) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.file, name, flags, Mode::empty())?;
        Ok(Self { path: self.path.clone(), file: file.into() })
    }

    /// What a name in it is called in errors.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    /// A file in it, if it is one: not behind a link, and not larger than any set has need of.
    pub(crate) fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.file, name, flags, Mode::empty())?);
        let found = file.metadata()?;
        if found.is_file() && found.len() <= FILE_LIMIT {
            Ok(file)
        } else {
            Err(ErrorKind::InvalidInput.into())
        }
    }

    /// Makes a directory that is this user's alone until it is [`Self::opened_up`].
    pub(crate) fn make(&self, name: &str) -> Result<Self, Error> {
        let made = || -> io::Result<Self> {
            step()?;
            mkdirat(&self.file, name, Mode::S_IRWXU)?;
            self.directory(name)
        };
        made().map_err(|source| self.failed(name, source))
    }

    /// Lets everybody into this directory; who may read a file in it, its mode says.
    pub(crate) fn opened_up(&self) -> Result<(), Error> {
        step()
            .and_then(|()| self.file.set_permissions(Permissions::from_mode(0o755)))
            .map_err(|source| self.failed("", source))
    }

    /// Writes a new file to the end, flushed. Until it is complete only this user can read it.
    pub(crate) fn create(&self, entry: &Entry) -> Result<(), Error> {
        let Entry { name, ref body, access } = *entry;
        let file = self.begin(name, body).map_err(|source| self.failed(name, source))?;
        self.hand_over(&file, name, access)?;
        step().and_then(|()| file.sync_all()).map_err(|source| self.failed(name, source))
    }

    fn begin(&self, name: &str, body: &[u8]) -> io::Result<File> {
        step()?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.file, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let mut file = File::from(fd);
        step()?;
        file.write_all(body)?;
        Ok(file)
    }

    /// Group before mode, so that no other group ever has the new mode; owner last, because only
    /// the owner sets a mode.
    fn hand_over(&self, file: &File, name: &str, access: Access) -> Result<(), Error> {
        let path = || self.path_of(name);
        if let Some(group) = access.group {
            step().and_then(|()| fchown(file, None, Some(group))).map_err(|source| {
                Error::Group { path: path(), group, user: geteuid().as_raw(), source }
            })?;
        }
        step()
            .and_then(|()| file.set_permissions(Permissions::from_mode(access.mode)))
            .map_err(|source| self.failed(name, source))?;
        if let Some(owner) = access.owner {
            step()
                .and_then(|()| fchown(file, Some(owner), None))
                .map_err(|source| Error::Owner { path: path(), owner, source })?;
        }
        Ok(())
    }

    /// Makes `name` a link to `target`, at one stroke, whatever it was before.
    pub(crate) fn link(&self, name: &str, target: &str) -> Result<(), Error> {
        let link = || -> io::Result<()> {
            self.remove(TEMPORARY)?;
            step()?;
            symlinkat(target, &self.file, TEMPORARY)?;
            step()?;
            Ok(renameat(&self.file, TEMPORARY, &self.file, name)?)
        };
        link().map_err(|source| self.failed(name, source))
    }

    /// Makes what happened to the names in it survive a loss of power.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        step().and_then(|()| self.file.sync_all()).map_err(|source| self.failed("", source))
    }

    /// Removes a file or a link, if there is one.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.unlink(name, UnlinkatFlags::NoRemoveDir)
    }

    /// Removes a directory with nothing in it, if there is one.
    pub(crate) fn remove_directory(&self, name: &str) -> io::Result<()> {
        self.unlink(name, UnlinkatFlags::RemoveDir)
    }

    fn unlink(&self, name: &str, what: UnlinkatFlags) -> io::Result<()> {
        step()?;
        match unlinkat(&self.file, name, what) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What a step's failure means to an operator.
    fn failed(&self, name: &str, source: io::Error) -> Error {
        let path = self.path_of(name);
        match source.kind() {
            ErrorKind::PermissionDenied => {
                Error::NotAllowed { path, user: geteuid().as_raw(), source }
            }
            ErrorKind::ReadOnlyFilesystem => Error::ReadOnly { path, source },
            ErrorKind::IsADirectory => Error::InTheWay { path },
            _ => Error::Write { path, source },
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // To close it is not enough: a process that is just being started holds it open too.
        drop(self.file.unlock());
    }
}

/// The content of a file that [`Directory::file`] has let pass, in a buffer that never grows: a
/// grown one leaves a copy of a key behind.
pub(crate) fn read(file: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = file.metadata()?.len();
    let room = usize::try_from(length).unwrap_or(usize::MAX);
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    file.take(length).read_to_end(&mut content)?;
    Ok(content)
}

/// Before each step that changes something; a test can have the process end here.
#[cfg(not(test))]
fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use seam::step;

/// A bundle of the most roots and the largest certificates.
const FILE_LIMIT: u64 = 4 << 20;
/// A link on its way to its name; there is one at a time.
pub(crate) const TEMPORARY: &str = "..hawser";

#[cfg(test)]
pub(crate) mod seam;
