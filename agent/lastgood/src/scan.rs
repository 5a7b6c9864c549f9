//! A log read by its records' heads and trailers; bodies are passed over.
//!
//! Damage is passed over too: the next record is looked for byte by byte. What that costs is
//! found out by [`Kept`], since each acceptance lists its resources and has a number.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use crate::{
    format::{Accepted, HEAD, Head, Kind, MARK, TRAILER, Trailer, hash, salted},
    kept::{Kept, Place},
};

/// Reads one log.
#[derive(Debug)]
pub(crate) struct Scan {
    file: Arc<File>,
    window: Window,
    salt: u64,
    /// Where the next record begins.
    pub(crate) at: u64,
    pub(crate) kept: Kept,
    /// Whether anything had to be passed over.
    pub(crate) damaged: bool,
    /// Where the last acceptance that is believed ends.
    pub(crate) sound: u64,
}

/// What one step of a scan has found.
#[derive(Debug)]
pub(crate) enum Found {
    /// A resource of that draft.
    Resource,
    /// An acceptance; `believed` unless one before it is missing.
    Accepted { accepted: Accepted, believed: bool },
    /// Damage was passed over.
    Damage,
    /// There is no further record.
    End,
}

impl Scan {
    /// Begins behind the title, which is `at` bytes long.
    pub(crate) fn new(file: Arc<File>, salt: u64, at: u64, keep: usize) -> Self {
        let window = Window { at: 0, bytes: Vec::new(), most: WINDOW };
        Self { file, window, salt, at, kept: Kept::new(keep), damaged: false, sound: at }
    }

    /// Reads the next record of a log that has `end` bytes.
    pub(crate) fn step(&mut self, end: u64) -> io::Result<Found> {
        let Some(head) = self.head(self.at, end)? else {
            return self.search(self.at + 1, end);
        };
        let place = Place::new(self.at, head.length, 0);
        // Of what follows a long body there is only to be read what is between it and the next.
        self.window.most = if head.length as usize > BETWEEN { BETWEEN } else { WINDOW };
        if place.trailer() > end {
            return Ok(Found::End);
        }
        let Some(size) = self.trailer_length(head, place, end)? else {
            // Cut off, or the trailer is damaged.
            return self.search(self.at + 1, end);
        };
        let after = place.trailer() + size;
        let length = usize::try_from(size).map_err(io::Error::other)?;
        if head.kind == Kind::Accepted {
            return self.accepted(head, place, (after, end));
        }
        let file = Arc::clone(&self.file);
        let bytes = self.window.take(&file, place.trailer(), length)?;
        let Some(trailer) = bytes.and_then(|bytes| Trailer::decode(self.salt, bytes)) else {
            return self.search(place.trailer(), end);
        };
        self.at = after;
        let place = Place::new(place.at(), head.length, trailer.value_crc);
        self.kept.record(head.draft, key_of(&trailer), place);
        Ok(Found::Resource)
    }

    /// Reads on until there is no further record.
    pub(crate) fn finish(&mut self, end: u64) -> io::Result<()> {
        while !matches!(self.step(end)?, Found::End) {}
        Ok(())
    }

    fn accepted(
        &mut self,
        head: Head,
        place: Place,
        (after, end): (u64, u64),
    ) -> io::Result<Found> {
        let mut bytes = vec![0; head.length as usize + 4];
        self.file.read_exact_at(&mut bytes, place.body())?;
        let accepted = bytes.split_last_chunk::<4>().and_then(|(body, crc)| {
            (salted(self.salt, body) == u32::from_le_bytes(*crc)).then(|| Accepted::decode(body))?
        });
        let Some(accepted) = accepted else {
            return self.search(place.body(), end);
        };
        self.at = after;
        let believed = self.kept.accept(head.draft, &accepted, after);
        if believed {
            self.sound = after;
        }
        Ok(Found::Accepted { accepted, believed })
    }

    /// How long what follows the body is; `None` if that is not in the file, or nonsense.
    fn trailer_length(&mut self, head: Head, place: Place, end: u64) -> io::Result<Option<u64>> {
        let length = if head.kind == Kind::Accepted {
            4
        } else {
            if place.trailer() + TRAILER as u64 > end {
                return Ok(None);
            }
            let file = Arc::clone(&self.file);
            let bytes = self.window.take(&file, place.trailer(), TRAILER)?;
            let Some(length) = bytes.and_then(Trailer::length) else { return Ok(None) };
            length as u64
        };
        Ok((place.trailer() + length <= end).then_some(length))
    }

    fn head(&mut self, at: u64, end: u64) -> io::Result<Option<Head>> {
        if at + HEAD as u64 > end {
            return Ok(None);
        }
        let bytes = self.window.take(&self.file, at, HEAD)?;
        Ok(bytes.and_then(|bytes| Head::decode(self.salt, bytes)))
    }

    /// Looks for a record from `at` on.
    fn search(&mut self, mut at: u64, end: u64) -> io::Result<Found> {
        while at + HEAD as u64 <= end {
            let room = usize::try_from(end - at).unwrap_or(usize::MAX).min(WINDOW);
            let Some(bytes) = self.window.take(&self.file, at, room)? else { break };
            let Some(offset) = bytes.windows(MARK.len()).position(|window| window == MARK) else {
                at += (room - MARK.len() + 1) as u64;
                continue;
            };
            at += offset as u64;
            if self.head(at, end)?.is_some() {
                self.at = at;
                self.damaged = true;
                return Ok(Found::Damage);
            }
            at += 1;
        }
        Ok(Found::End)
    }
}

/// What a resource is found by.
pub(crate) fn key_of(trailer: &Trailer) -> [u8; 16] {
    if trailer.name.is_empty() {
        // One without a name is only ever replaced together with all others.
        let mut key = trailer.digest().to_le_bytes().to_vec();
        key.extend(b"\0unnamed");
        return hash(&key);
    }
    hash(trailer.name.as_bytes())
}

/// The part of a file that was read last.
#[derive(Debug)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
    /// What is read at a time.
    most: usize,
}

impl Window {
    /// That part of the file; `None` if it is not there.
    fn take(&mut self, file: &File, at: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if self.slice(at, length).is_none() {
            self.bytes.resize(length.max(self.most), 0);
            self.at = at;
            let mut read = 0;
            while let Some(rest) = self.bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, at + read as u64) {
                    Ok(0) => break,
                    Ok(more) => read += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.bytes.clear();
                        return Err(error);
                    }
                }
            }
            self.bytes.truncate(read);
        }
        Ok(self.slice(at, length))
    }

    fn slice(&self, at: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.bytes.get(from..from.checked_add(length)?)
    }
}

const WINDOW: usize = 8 << 10;
/// More than a trailer and a head mostly have.
const BETWEEN: usize = 512;
