//! A directory of state files.

use std::{
    error::Error as _,
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{libc, unistd::geteuid};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use crate::{
    Damage, Error, atomic,
    format::{self, BODY_LIMIT, HEADER},
    step::step,
};

/// A directory that belongs to this process' user and nobody else writes to.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    own: u32,
}

impl Store {
    /// Opens the directory, made with mode 0700 if it is not there, and removes what a crash has
    /// left half-written.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let own = geteuid().as_raw();
        let directory = locate(directory)?;
        check(&directory, own)?;
        if let Err(source) = atomic::sweep(&directory, |_| true) {
            return Err(Error::List { path: directory, source });
        }
        Ok(Self { directory, own })
    }

    /// Replaces the file `name`; the old one stays if that fails.
    pub fn write(&self, name: &str, version: u16, body: &[u8]) -> Result<(), Error> {
        let path = self.path(name)?;
        if body.len() > BODY_LIMIT {
            return Err(Error::TooLarge { path, length: body.len() });
        }
        atomic::replace(&self.directory, name, 0o600, &[&format::header(version, body), body])
    }

    /// Reads the file `name`; `None` if there is none.
    ///
    /// One that is not what [`Self::write`] wrote, or is of another version, is set aside with a
    /// warning and counts as none.
    pub fn read(&self, name: &str, version: u16) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = self.path(name)?;
        let damage = match self.load(&path) {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(mut file))) => match format::decode(&file, version) {
                Ok(_) => {
                    file.drain(..HEADER);
                    return Ok(Some(file));
                }
                Err(damage) => damage,
            },
            Ok(Some(Err(damage))) => damage,
            Err(source) => return Err(Error::Read { path, source }),
        };
        if let Err(error) = self.set_aside(name, &damage.to_string()) {
            let error = match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            warn!(error, path = %path.display(), reason = %damage, "state file ignored");
        }
        Ok(None)
    }

    /// Removes the file `name`, if there is one.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        step();
        match fs::remove_file(&path) {
            Ok(()) => atomic::flush(&self.directory),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(source) => Err(Error::Remove { path, source }),
        }
    }

    /// Renames the file `name` to `name.damaged-N`, of which the latest three are kept, and says
    /// so in the log. Returns the new path.
    pub fn set_aside(&self, name: &str, reason: &str) -> Result<PathBuf, Error> {
        let path = self.path(name)?;
        let mut numbers = self.set_aside_before(name)?;
        let number = numbers.last().map_or(1, |last| last.saturating_add(1));
        let aside = self.aside(name, number);
        step();
        fs::rename(&path, &aside)
            .map_err(|source| Error::SetAside { path: path.clone(), source })?;
        numbers.push(number);
        let surplus = numbers.len().saturating_sub(KEPT);
        for old in numbers.iter().take(surplus) {
            let old = self.aside(name, *old);
            step();
            if let Err(error) = fs::remove_file(&old) {
                debug!(%error, path = %old.display(), "old damaged file not removed");
            }
        }
        atomic::flush(&self.directory)?;
        warn!(path = %path.display(), aside = %aside.display(), reason, "state file set aside");
        Ok(aside)
    }

    /// The content of a file that looks like ours.
    fn load(&self, path: &Path) -> io::Result<Option<Result<Zeroizing<Vec<u8>>, Damage>>> {
        // O_NONBLOCK: a pipe in the file's place must not hold the start.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Ok(Some(Err(Damage::Link)));
            }
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                return Ok(Some(Err(Damage::Kind)));
            }
            Err(error) => return Err(error),
        };
        let found = file.metadata()?;
        if let Some(damage) = self.suspect(&found) {
            return Ok(Some(Err(damage)));
        }
        read_all(file, found.len()).map(|content| Some(Ok(content)))
    }

    fn suspect(&self, found: &Metadata) -> Option<Damage> {
        if !found.is_file() {
            Some(Damage::Kind)
        } else if found.uid() != self.own {
            Some(Damage::Owner { owner: found.uid() })
        } else if found.len() > FILE_LIMIT {
            Some(Damage::TooLarge)
        } else {
            None
        }
    }

    /// The numbers of those set aside earlier, in order.
    fn set_aside_before(&self, name: &str) -> Result<Vec<u64>, Error> {
        let list = || -> io::Result<Vec<u64>> {
            let mut numbers = Vec::new();
            for entry in fs::read_dir(&self.directory)? {
                let found = entry?.file_name();
                let number: Option<u64> = found
                    .to_str()
                    .and_then(|found| found.strip_prefix(name)?.strip_prefix(ASIDE))
                    .and_then(|number| number.parse().ok());
                numbers.extend(number);
            }
            numbers.sort_unstable();
            Ok(numbers)
        };
        list().map_err(|source| Error::List { path: self.directory.clone(), source })
    }

    fn aside(&self, name: &str, number: u64) -> PathBuf {
        self.directory.join(format!("{name}{ASIDE}{number}"))
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let fits = (1..=NAME_LIMIT).contains(&name.len())
            && name.bytes().all(allowed)
            && !name.starts_with('.')
            && !name.ends_with('.')
            && !name.contains(ASIDE);
        if fits { Ok(self.directory.join(name)) } else { Err(Error::Name { name: name.into() }) }
    }
}

/// The directory's own path, which a link, if one leads there, cannot change any more.
fn locate(directory: &Path) -> Result<PathBuf, Error> {
    step();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| Error::CreateDirectory { path: directory.into(), source })?;
    fs::canonicalize(directory)
        .map_err(|source| Error::OpenDirectory { path: directory.into(), source })
}

/// Whether only the process' user can put files there.
fn check(directory: &Path, own: u32) -> Result<(), Error> {
    let path = || directory.to_path_buf();
    let found = fs::symlink_metadata(directory)
        .map_err(|source| Error::OpenDirectory { path: path(), source })?;
    if found.uid() != own {
        return Err(Error::ForeignDirectory { path: path(), owner: found.uid(), own });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(Error::SharedDirectory { path: path(), mode });
    }
    Ok(())
}

/// Reads into a buffer that never grows, since a grown one leaves a copy of a key behind.
fn read_all(file: File, length: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let room = usize::try_from(length).unwrap_or(usize::MAX);
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    file.take(length).read_to_end(&mut content)?;
    Ok(content)
}

const FILE_LIMIT: u64 = (BODY_LIMIT + HEADER) as u64;
const ASIDE: &str = ".damaged-";
const KEPT: usize = 3;
const NAME_LIMIT: usize = 64;

#[cfg(test)]
mod tests;
