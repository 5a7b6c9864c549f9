//! Records that lie near to each other are copied at one stroke.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice},
    os::unix::fs::FileExt,
};

use super::{BASE, Job};
use crate::{
    format::{HEAD, Hash, Head, TRAILER, Trailer},
    kept::Place,
    write::write_at,
};

/// What records go through.
#[derive(Debug, Default)]
pub(super) struct Run {
    found: Vec<u8>,
    made: Vec<u8>,
}

impl Run {
    /// Copies the first of `jobs`, as many as lie near to each other, and notes what belongs to
    /// the base. How many, and their bytes; none if the first is one to be copied by itself.
    pub(super) fn copy(
        &mut self,
        (old, salt): (&File, u64),
        jobs: &[Job],
        (new, at): (&File, u64),
        own: &mut Vec<Hash>,
    ) -> io::Result<(usize, u64)> {
        let Some(from) = jobs.first().map(|job| job.place.at()) else { return Ok((0, 0)) };
        let mut end = from;
        let near = jobs.iter().take_while(|job| {
            let after = job.place.trailer() + END;
            let near = job.place.at() <= end + END && after - from <= RUN;
            end = if near { after } else { end };
            near
        });
        let near = near.count();
        if near < 2 {
            return Ok((0, 0));
        }
        self.read(old, from, end)?;
        self.made.clear();
        let mut copied = 0;
        for job in jobs.iter().take(near) {
            let Some((head, rest)) = record(&self.found, from, job.place, salt) else { break };
            let head = if job.staged { head } else { Head { draft: BASE, ..head } };
            if !job.staged {
                own.push(job.hash);
            }
            self.made.extend_from_slice(&head.encode(salt));
            self.made.extend_from_slice(rest);
            copied += 1;
        }
        if copied > 0 {
            write_at(new, vec![IoSlice::new(&self.made)], at)?;
        }
        Ok((copied, self.made.len() as u64))
    }

    /// Reads a part of the file, or what there is of it.
    fn read(&mut self, file: &File, from: u64, end: u64) -> io::Result<()> {
        self.found.resize(usize::try_from(end - from).map_err(io::Error::other)?, 0);
        let mut read = 0;
        while let Some(rest) = self.found.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, from + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.found.truncate(read);
        Ok(())
    }
}

/// The head of a record, and what follows it; `None` if it is damaged, or not wholly there.
fn record(found: &[u8], from: u64, place: Place, salt: u64) -> Option<(Head, &[u8])> {
    let at = usize::try_from(place.at() - from).ok()?;
    let (head, rest) = found.get(at..)?.split_at_checked(HEAD)?;
    let length = place.length() as usize;
    let trailer = Trailer::length(rest.get(length..length + TRAILER)?)?;
    Some((Head::decode(salt, head)?, rest.get(..length + trailer)?))
}

/// Bytes of a run.
const RUN: u64 = if cfg!(test) { 2 << 10 } else { 256 << 10 };
/// About the most that a trailer has, and what may lie between two records of a run.
const END: u64 = if cfg!(test) { 128 } else { 1 << 10 };
