//! One process at a time: a lock on a file, which the kernel gives back however a process ends.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::Error;

/// A lock that is held until this is dropped. The file stays: one that is removed could be locked by
/// two.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// Takes the lock, or says who has it.
    ///
    /// The file has the number of the process that holds it. One that another user has left, root
    /// say, is replaced, which the directory has to allow.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let wrong = |source| Error::Lock { path: path.into(), source };
        for _ in 0..TRIES {
            let (file, writes) = open(path).map_err(wrong)?;
            let mut held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => held,
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    return Err(Error::Held { path: path.into(), pid: holder(&mut file) });
                }
                Err((_, errno)) => return Err(wrong(errno.into())),
            };
            // Whoever had it may have replaced it before it was locked.
            if !is_at(&held, path) {
                continue;
            }
            if !writes {
                fs::remove_file(path).map_err(wrong)?;
                continue;
            }
            held.set_permissions(Permissions::from_mode(MODE)).map_err(wrong)?;
            sign(&mut held).map_err(wrong)?;
            return Ok(Self { _held: held });
        }
        Err(wrong(io::Error::other("it is replaced all the time")))
    }
}

/// The file, and whether it can be written.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    let mine = options.read(true).write(true).create(true).truncate(false).mode(MODE).open(path);
    match mine {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            File::open(path).map(|file| (file, false))
        }
        opened => opened.map(|file| (file, true)),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let same = |(ours, there): (fs::Metadata, fs::Metadata)| {
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    };
    file.metadata().and_then(|ours| Ok((ours, fs::symlink_metadata(path)?))).is_ok_and(same)
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whoever is refused may read who has it.
const MODE: u32 = 0o644;
const MOST: u64 = 16;
const TRIES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is_and_the_third_finds_it_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");

        let first = Lock::take(&path).unwrap();
        match Lock::take(&path).unwrap_err() {
            Error::Held { pid, .. } => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other}"),
        }
        drop(first);

        Lock::take(&path).unwrap();
    }

    #[test]
    fn a_file_that_somebody_has_left_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        #[expect(clippy::disallowed_methods, reason = "half a file would do as well")]
        fs::write(&path, "4711 and more than there is room for\n").unwrap();

        let held = Lock::take(&path).unwrap();

        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(held);
    }

    #[test]
    fn a_lock_on_a_file_that_is_gone_keeps_nobody_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::take(&path).unwrap();
        fs::remove_file(&path).unwrap();

        let second = Lock::take(&path).unwrap();

        drop((first, second));
    }

    #[test]
    fn without_a_directory_there_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();

        let error = Lock::take(&directory.path().join("none/lock")).unwrap_err();

        assert!(error.to_string().contains("none/lock"), "{error}");
    }
}
