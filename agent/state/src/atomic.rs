//! Replacing a file at one stroke.
//!
//! The new content is written beside the old under a name of its own, flushed, and renamed over
//! it; then the directory is flushed. Until the rename the old file is untouched, so a full disk
//! costs nothing but the new content.
//!
//! A crash leaves the temporary file behind. Its writer holds a lock on it, which dies with the
//! process: one that can be locked is a leftover, whatever process ids say, and is removed by
//! the next writer of that name or when the store is opened.

use std::{
    fs::{self, DirEntry, File, OpenOptions, Permissions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use nix::libc;
use tracing::debug;

use crate::{Error, step::step};

/// Writes a plain file whole or not at all, with `mode` and flushed to disk.
///
/// A symlink at `path` is replaced, not followed. The directory is to exist.
pub fn write_file(path: &Path, mode: u32, body: &[u8]) -> Result<(), Error> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Error::NoFileName { path: path.into() })?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // What cannot be tidied up can still be written.
    if let Err(error) = sweep(directory, |of| of == name) {
        debug!(%error, path = %directory.display(), "directory not swept");
    }
    replace(directory, name, mode, &[body])
}

/// Makes `parts`, one after the other, the content of `name` in `directory`.
pub(crate) fn replace(
    directory: &Path,
    name: &str,
    mode: u32,
    parts: &[&[u8]],
) -> Result<(), Error> {
    let path = directory.join(name);
    let written = Temporary::create(directory, name)
        .and_then(|temporary| temporary.fill(mode, parts))
        .map_err(|source| Error::Write { path: path.clone(), source })?;
    written.rename(&path).map_err(|source| Error::Replace { path, source })?;
    flush(directory)
}

/// Makes what happened to the names in `directory` survive a loss of power.
pub(crate) fn flush(directory: &Path) -> Result<(), Error> {
    step();
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| Error::Flush { path: directory.into(), source })
}

/// Removes what crashed writers of the names that `ours` picks have left in `directory`.
pub(crate) fn sweep(directory: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let temporary = entry.file_name();
        if temporary.to_str().and_then(target).is_some_and(&ours) {
            match remove_leftover(&entry) {
                Ok(true) => debug!(path = %entry.path().display(), "leftover removed"),
                Ok(false) => {}
                Err(error) => {
                    debug!(%error, path = %entry.path().display(), "leftover not removed");
                }
            }
        }
    }
    Ok(())
}

fn remove_leftover(entry: &DirEntry) -> io::Result<bool> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(entry.path())?;
    if file.try_lock().is_err() {
        return Ok(false);
    }
    step();
    fs::remove_file(entry.path()).map(|()| true)
}

/// A file on its way to another name; removed unless it gets there.
struct Temporary {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temporary {
    fn create(directory: &Path, name: &str) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let temporary = format!(".{name}.{}-{number}{SUFFIX}", std::process::id());
            let path = directory.join(temporary);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            step();
            match options.open(&path) {
                Ok(file) => {
                    step();
                    let temporary = Self { path, file, renamed: false };
                    if temporary.claim()? {
                        return Ok(temporary);
                    }
                }
                // Of a crashed process with our id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Marks the file as being written; false if somebody took it for a leftover before.
    fn claim(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(self.file.metadata()?.nlink() > 0),
            Err(TryLockError::WouldBlock) => Ok(false),
            // Without locks in this file system nobody can take it for a leftover.
            Err(TryLockError::Error(_)) => Ok(true),
        }
    }

    fn fill(mut self, mode: u32, parts: &[&[u8]]) -> io::Result<Self> {
        for part in parts {
            step();
            self.file.write_all(part)?;
        }
        step();
        // Not at creation, where the umask has its say; and never wider before it is complete.
        self.file.set_permissions(Permissions::from_mode(mode & 0o777))?;
        step();
        self.file.sync_all()?;
        Ok(self)
    }

    fn rename(mut self, path: &Path) -> io::Result<()> {
        step();
        fs::rename(&self.path, path)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            debug!(%error, path = %self.path.display(), "temporary file not removed");
        }
    }
}

/// The name that a temporary file stands in for: `.NAME.PID-NUMBER.tmp`.
fn target(temporary: &str) -> Option<&str> {
    let (name, unique) = temporary.strip_prefix('.')?.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    let (pid, number) = unique.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (!name.is_empty() && digits(pid) && digits(number)).then_some(name)
}

const SUFFIX: &str = ".tmp";

#[cfg(test)]
mod tests;
