//! What is in our directories: names, sizes, modes, owners, and nothing of what is in the files.

use std::{
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use super::{
    super::piece::{Piece, Raw},
    ours,
};
use crate::cli::Context;

/// A line for each, like `ls -l` has them but with numbers for owners.
pub(in super::super) fn directories(context: &Context) -> Piece {
    let mut lines = Lines { text: String::new(), left: MOST };
    for directory in ours(&context.paths) {
        lines.add(&directory, 0);
    }
    if lines.left == 0 {
        lines.text.push_str("(and more)\n");
    }
    let what = "names, sizes and modes in our directories";
    Piece::text("directories.txt", what, Ok(Raw::whole(lines.text)))
}

struct Lines {
    text: String,
    left: usize,
}

impl Lines {
    fn add(&mut self, path: &Path, depth: usize) {
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) => {
                self.text.push_str(&format!("{}: {error}\n", path.display()));
                return;
            }
        };
        self.text.push_str(&line(path, &meta));
        if !meta.is_dir() || depth >= DEEPEST {
            return;
        }
        let mut entries: Vec<_> = match fs::read_dir(path) {
            Ok(entries) => entries.flatten().take(MOST).map(|entry| entry.path()).collect(),
            Err(error) => {
                self.text.push_str(&format!("{}: {error}\n", path.display()));
                return;
            }
        };
        entries.sort();
        for entry in entries {
            self.add(&entry, depth + 1);
        }
    }
}

fn line(path: &Path, meta: &Metadata) -> String {
    let kind = meta.file_type();
    let letter = match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_socket() => 's',
        () if kind.is_fifo() => 'p',
        () => '-',
    };
    let target = fs::read_link(path).map(|target| format!(" -> {}", target.display()));
    format!(
        "{letter}{:04o} {:>6} {:>6} {:>12} {} {}{}\n",
        meta.mode() & 0o7777,
        meta.uid(),
        meta.gid(),
        meta.size(),
        meta.mtime(),
        path.display(),
        target.unwrap_or_default()
    )
}

const MOST: usize = 4000;
const DEEPEST: usize = 5;
