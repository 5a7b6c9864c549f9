//! The file that a report is written to.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, Header};

use super::piece::{Piece, listing};
use crate::{cli::span::now, config::source::host_name};

/// Where a report goes, and what it is called.
#[derive(Debug)]
pub(super) struct Pack {
    path: PathBuf,
    /// The directory that it unpacks to.
    top: String,
}

impl Pack {
    /// At `output`, or here under a name that says where it is from.
    pub(super) fn new(output: Option<&Path>) -> Self {
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let host: String = host_name().chars().filter(plain).collect();
        let top = format!("hawser-bugreport-{host}-{}", now());
        let path = output.map_or_else(|| PathBuf::from(format!("{top}.tar.gz")), Path::to_owned);
        Self { path, top }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it, for its owner alone, and never over something else. How long it is.
    pub(super) fn write(&self, pieces: &[Piece]) -> io::Result<u64> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?;
        self.filled(file, pieces).inspect_err(|_| drop(fs::remove_file(&self.path)))
    }

    fn filled(&self, file: File, pieces: &[Piece]) -> io::Result<u64> {
        let mut tar = Builder::new(GzEncoder::new(file, Compression::default()));
        self.add(&mut tar, "manifest.txt", listing(pieces).as_bytes())?;
        for Piece { name, content, .. } in pieces {
            if let Ok(content) = content {
                self.add(&mut tar, name, content.bytes())?;
            }
        }
        let mut file = tar.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }

    fn add<W: io::Write>(&self, tar: &mut Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now()).unwrap_or_default());
        tar.append_data(&mut header, format!("{}/{name}", self.top), bytes)
    }
}
