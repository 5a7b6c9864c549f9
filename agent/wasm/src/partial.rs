//! A file that is not complete yet; gone unless it gets a name.

use std::{
    fs::{self, DirEntry, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::debug;

/// A file that is being written. Its writer holds a lock on it: one without is a leftover.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    placed: bool,
}

impl Partial {
    /// A new file in the directory.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{PREFIX}{}-{number}", std::process::id()));
            let mut options = OpenOptions::new();
            match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    let partial = Self { path, file, placed: false };
                    // Without locks in this file system nothing of it is swept either.
                    partial.file.try_lock().ok();
                    return Ok(partial);
                }
                // Of a process with our id that died.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Another handle of the same file, with the same position.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives it its name, readable for everybody, when all of it is on the disk.
    pub(crate) fn place(mut self, path: &Path) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(0o644))?;
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            debug!(%error, path = %self.path.display(), "partial file not removed");
        }
    }
}

/// Removes what a process that died has left; whether the entry was of that kind at all.
pub(crate) fn sweep(entry: &DirEntry) -> bool {
    if !entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
        return false;
    }
    // Something else under that name, a pipe say, is not opened.
    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
    if is_file && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
        fs::remove_file(entry.path()).ok();
    }
    true
}

const PREFIX: &str = ".partial-";
