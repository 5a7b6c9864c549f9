//! Pieces of a draft on their way to a log.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice},
    ops::Range,
};

use bytes::Bytes;
use nix::{errno::Errno, sys::uio::pwritev};

use crate::{
    format::{Hash, Head, Kind, Trailer},
    kept::Place,
    step::step,
};

/// A piece of a draft.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A large resource begins.
    Begin { length: u32 },
    /// Its next bytes.
    Bytes(Bytes),
    /// It ends.
    End { key: Hash, trailer: Box<Trailer> },
    /// A small one, whole.
    Small { length: u32, body: Vec<Bytes>, key: Hash, trailer: Box<Trailer> },
}

/// A record of which the end is not written yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partial {
    pub(crate) draft: u32,
    pub(crate) at: u64,
    pub(crate) length: u32,
    written: u32,
}

/// What is written at one stroke.
#[derive(Debug)]
pub(crate) struct Stroke {
    salt: u64,
    draft: u32,
    kind: Kind,
    at: u64,
    /// Heads and trailers.
    made: Vec<u8>,
    parts: Vec<Source>,
    pub(crate) end: u64,
    pub(crate) partial: Option<Partial>,
    pub(crate) records: Vec<(Hash, Place)>,
}

#[derive(Debug)]
enum Source {
    Made(Range<usize>),
    Body(Bytes),
}

impl Stroke {
    /// For about as many `pieces`.
    pub(crate) fn new(
        salt: u64,
        draft: u32,
        kind: Kind,
        at: u64,
        (partial, pieces): (Option<Partial>, usize),
    ) -> Self {
        Self {
            salt,
            draft,
            kind,
            at,
            made: Vec::with_capacity(pieces * MADE),
            parts: Vec::with_capacity(pieces * PARTS),
            end: at,
            partial,
            records: Vec::with_capacity(pieces),
        }
    }

    /// Adds a piece; false if it does not fit to those before.
    pub(crate) fn add(&mut self, piece: Piece) -> bool {
        match piece {
            Piece::Begin { length } => self.begin(length),
            Piece::Bytes(bytes) => self.bytes(bytes),
            Piece::End { key, trailer } => self.finish(key, &trailer),
            Piece::Small { length, body, key, trailer } => {
                self.begin(length)
                    && body.into_iter().all(|bytes| self.bytes(bytes))
                    && self.finish(key, &trailer)
            }
        }
    }

    /// Whether it has a resource of that name.
    pub(crate) fn has(&self, key: &Hash) -> bool {
        self.records.iter().any(|(other, _)| other == key)
    }

    /// Bytes that are to be written.
    pub(crate) fn length(&self) -> u64 {
        self.end - self.at
    }

    /// Writes all of it where it belongs.
    pub(crate) fn write(&self, file: &File) -> io::Result<()> {
        let slices: Vec<IoSlice<'_>> = self
            .parts
            .iter()
            .map(|part| match part {
                Source::Made(range) => self.made.get(range.clone()).unwrap_or_default(),
                Source::Body(bytes) => bytes,
            })
            .map(IoSlice::new)
            .collect();
        write_at(file, slices, self.at)
    }

    fn begin(&mut self, length: u32) -> bool {
        if self.partial.is_some() {
            return false;
        }
        let (draft, at) = (self.draft, self.end);
        self.partial = Some(Partial { draft, at, length, written: 0 });
        let from = self.made.len();
        self.made.extend(Head { kind: self.kind, draft, length }.encode(self.salt));
        self.made_from(from);
        true
    }

    fn bytes(&mut self, bytes: Bytes) -> bool {
        let Some(partial) = &mut self.partial else { return false };
        let more = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        partial.written = partial.written.saturating_add(more);
        if partial.written > partial.length {
            return false;
        }
        self.end += bytes.len() as u64;
        self.parts.push(Source::Body(bytes));
        true
    }

    fn finish(&mut self, key: Hash, trailer: &Trailer) -> bool {
        let Some(partial) = self.partial.take() else { return false };
        if partial.written != partial.length {
            return false;
        }
        let from = self.made.len();
        trailer.encode(self.salt, &mut self.made);
        self.made_from(from);
        self.records.push((key, Place::new(partial.at, partial.length, trailer.value_crc)));
        true
    }

    fn made_from(&mut self, from: usize) {
        self.end += (self.made.len() - from) as u64;
        self.parts.push(Source::Made(from..self.made.len()));
    }
}

/// Writes all of the slices, one behind the other.
pub(crate) fn write_at(file: &File, mut slices: Vec<IoSlice<'_>>, mut at: u64) -> io::Result<()> {
    let mut rest = slices.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let some = rest.get(..rest.len().min(AT_ONCE)).unwrap_or_default();
        step();
        let offset = i64::try_from(at).map_err(io::Error::other)?;
        match pwritev(file, some, offset) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// About what a piece has of head and trailer, and of parts.
const MADE: usize = 128;
const PARTS: usize = 4;
/// As many as one call takes.
const AT_ONCE: usize = 1024;
