//! A log in a file: begun anew when it is large, and opened anew when somebody has moved it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::Outlet;

/// A file that lines are appended to.
#[derive(Debug)]
pub struct Rotated {
    path: PathBuf,
    largest: u64,
    keep: u32,
    file: File,
    size: u64,
}

impl Rotated {
    /// Opens it. `largest` of zero leaves its size to somebody else.
    pub fn open(path: &Path, largest: u64, keep: u32) -> io::Result<Self> {
        let (file, size) = open(path)?;
        Ok(Self { path: path.to_owned(), largest, keep, file, size })
    }

    /// Whether the name still leads to the file that is open: logrotate renames it.
    fn is_there(&self) -> bool {
        let known = |of: fs::Metadata| (of.dev(), of.ino());
        let there = fs::metadata(&self.path).ok().map(known);
        there.is_some() && there == self.file.metadata().ok().map(known)
    }

    /// `envoy.log` becomes `envoy.log.1`, that one `envoy.log.2`, and the last one goes.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            // There may be none yet.
            drop(fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)));
        }
        if self.keep > 0 {
            fs::rename(&self.path, numbered(&self.path, 1))?;
        } else {
            fs::remove_file(&self.path)?;
        }
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.size) = open(&self.path)?;
        Ok(())
    }
}

impl Outlet for Rotated {
    fn lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let more = lines.len() as u64;
        if !self.is_there() {
            self.reopen()?;
        } else if self.largest > 0 && self.size > 0 && self.size + more > self.largest {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.size += more;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_begun_anew_when_it_is_large_and_so_many_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("envoy.log");
        let mut log = Rotated::open(&path, 10, 2).unwrap();

        for line in ["first\n", "second\n", "third\n", "fourth\n"] {
            log.lines(line.as_bytes()).unwrap();
        }

        let text = |number| fs::read_to_string(numbered(&path, number));
        assert_eq!(fs::read_to_string(&path).unwrap(), "fourth\n");
        assert_eq!(text(1).unwrap(), "third\n");
        assert_eq!(text(2).unwrap(), "second\n");
        assert!(text(3).is_err());
    }

    #[test]
    fn a_file_that_somebody_has_moved_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("envoy.log");
        let mut log = Rotated::open(&path, 0, 0).unwrap();
        log.lines(b"before\n").unwrap();
        fs::rename(&path, dir.path().join("envoy.log-20261121")).unwrap();

        log.lines(b"after\n").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }
}
