//! Whether a resource came as it was.

use std::{fs::File, os::unix::fs::FileExt};

use bytes::Bytes;

use super::Log;
use crate::{
    format::{HEAD, Hash, Head, Kind, Trailer},
    kept::Place,
    write::{Piece, Stroke},
};

impl Log {
    /// The hash of a small resource that is kept already just as it is in `piece`.
    pub(super) fn as_it_was(&self, draft: u32, stroke: &Stroke, piece: &Piece) -> Option<Hash> {
        let Piece::Small { length, body, key, trailer } = piece else { return None };
        if trailer.name.is_empty() || !self.stays(draft, key) {
            return None;
        }
        let place = *self.kept.index.get(key)?;
        // What differs is mostly known without reading.
        if place.length() != *length || place.crc() != trailer.value_crc {
            return None;
        }
        let staged = self.kept.staged.get(&draft);
        let twice = staged.is_some_and(|staged| staged.contains_key(key)) || stroke.has(key);
        if twice {
            return None;
        }
        let file = self.file.as_ref()?;
        let kind = self.drafts.get(&draft)?.kind;
        same_record(file, self.title.salt, place, (kind, trailer, body)).then_some(*key)
    }

    /// A draft takes something away.
    pub(crate) fn removes(&mut self, draft: u32) {
        if let Some(taken) = self.drafts.get_mut(&draft) {
            taken.removes = true;
        }
    }

    /// Whether what is kept of that name is what it was when this draft is accepted, whatever becomes
    /// of the others that may be before.
    fn stays(&self, draft: u32, key: &Hash) -> bool {
        let mut others = self.drafts.iter().filter(|(number, _)| **number != draft);
        self.drafts.len() <= MOST_COMPARED
            && others.all(|(number, other)| {
                let staged = self.kept.staged.get(number);
                !staged.is_some_and(|staged| staged.contains_key(key))
                    && !other.removes
                    && (!other.whole || other.same.contains(key))
            })
    }
}

/// Whether a record is, byte for byte, what `new` would be.
fn same_record(
    file: &File,
    salt: u64,
    place: Place,
    (kind, trailer, body): (Kind, &Trailer, &[Bytes]),
) -> bool {
    let mut end = Vec::new();
    trailer.encode(salt, &mut end);
    let length = HEAD + place.length() as usize + end.len();
    let mut found = vec![0; length];
    if file.read_exact_at(&mut found, place.at()).is_err() {
        return false;
    }
    let Some((head, mut rest)) = found.split_at_checked(HEAD) else { return false };
    // The end first: it has the checksums.
    rest.ends_with(&end)
        && Head::decode(salt, head).is_some_and(|head| head.kind == kind)
        && body.iter().chain([&Bytes::from(end)]).all(|part| {
            match rest.split_at_checked(part.len()) {
                Some((begin, after)) => {
                    rest = after;
                    begin == part
                }
                None => false,
            }
        })
}

/// Drafts under way; there are mostly one or two.
const MOST_COMPARED: usize = 8;
