//! Room on the disk that is taken ahead of a large draft: the file grows by a good deal at a time,
//! which costs less than block by block, and lies in fewer pieces.

use std::{fs::File, os::unix::fs::MetadataExt};

use nix::fcntl::{FallocateFlags, fallocate};
use tracing::debug;

use super::{Log, Room};
use crate::step::step;

impl Log {
    /// Takes room for what is about to be written, if it is much, and for what may follow.
    pub(super) fn reserve(&mut self, length: u64, room: Room) {
        if length < LARGE || self.end + length <= self.reserved {
            return;
        }
        let Some(file) = &self.file else { return };
        let from = self.reserved.max(self.end);
        let ahead = AHEAD.min(room.left);
        // If it is not to be had, it is asked for again only after as much.
        self.reserved = from + ahead;
        let (Ok(from), Ok(ahead)) = (i64::try_from(from), i64::try_from(ahead)) else { return };
        step();
        if let Err(error) = fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, from, ahead) {
            debug!(%error, path = %self.path.display(), "no room taken ahead");
        }
    }

    /// Gives back what was not used of it, unless it is about to be.
    pub(super) fn give_back(&mut self) {
        if self.partial.is_some() || self.reserved <= self.end {
            return;
        }
        self.reserved = 0;
        if let Some(file) = &self.file {
            cut(file, self.end);
        }
    }
}

/// Gives back what a process took ahead that was killed.
pub(super) fn give_back_of(file: &File, size: u64) {
    // The system says how many blocks of 512 bytes a file has.
    let taken = file.metadata().map_or(0, |found| found.blocks().saturating_mul(512));
    if taken > size + AHEAD / 8 {
        cut(file, size);
    }
}

fn cut(file: &File, end: u64) {
    step();
    if let Err(error) = file.set_len(end) {
        debug!(%error, "room taken ahead not given back");
    }
}

/// Less is written as it comes.
const LARGE: u64 = if cfg!(test) { 64 << 10 } else { 256 << 10 };
/// Taken at a time.
const AHEAD: u64 = if cfg!(test) { 1 << 20 } else { 8 << 20 };
