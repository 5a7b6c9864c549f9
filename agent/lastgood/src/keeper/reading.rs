//! What is read for answers.

use std::{fs::File, io, os::unix::fs::FileExt, time::Duration};

use bytes::Bytes;
use crc32fast::Hasher;
use hawser_rt::Throttle;
use tracing::warn;

use crate::{
    Kept,
    format::{HEAD, Head, Kind, Trailer},
    kept::Place,
    log::Log,
    order::{Item, Part, Plan, Source, Which},
};

/// Where the resources are that are asked for; `None` if nothing was ever accepted.
pub(super) fn plan(log: &mut Log, which: &Which) -> Option<Plan> {
    if !log.kept.any() {
        return None;
    }
    if let Some(names) = &which.names {
        log.want(names);
    }
    Some(Plan {
        source: Source { file: log.file().cloned(), salt: log.title.salt },
        places: log.places(which.names.as_deref(), &which.without),
        version: log.kept.version.clone(),
        at: log.kept.at,
    })
}

/// The resources that are whole, of those at `places`; with their `bodies` or but for those.
pub(super) fn look(source: &Source, places: &[Place], bodies: bool) -> Vec<Item> {
    let Some(file) = &source.file else { return Vec::new() };
    let mut buffer = Vec::new();
    let mut items = Vec::with_capacity(places.len());
    for place in places {
        match item(file, source.salt, *place, bodies.then_some(&mut buffer)) {
            Ok(Some(item)) => items.push(item),
            Ok(None) => damaged("its checksum is wrong"),
            Err(error) => damaged(&error.to_string()),
        }
    }
    items
}

/// The bytes of parts, one after the other.
pub(super) fn read(source: &Source, parts: &[Part]) -> Option<Bytes> {
    let mut bytes = Vec::with_capacity(64 << 10);
    for part in parts {
        match part {
            Part::Made(made) => bytes.extend_from_slice(made),
            Part::Stored { at, length } => {
                let from = bytes.len();
                bytes.resize(from + usize::try_from(*length).ok()?, 0);
                let file = source.file.as_ref()?;
                if let Err(error) = file.read_exact_at(bytes.get_mut(from..)?, *at) {
                    damaged(&error.to_string());
                    return None;
                }
            }
        }
    }
    Some(bytes.into())
}

/// What is said of a log.
pub(super) fn kept(log: &Log) -> Kept {
    Kept {
        resources: log.kept.index.len(),
        version: log.kept.version.clone(),
        at: log.kept.at,
        behind: log.lacks.any(),
    }
}

/// A resource, if it is whole; its body is read through `buffer`.
pub(crate) fn item(
    file: &File,
    salt: u64,
    place: Place,
    buffer: Option<&mut Vec<u8>>,
) -> io::Result<Option<Item>> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, place.at())?;
    let Some(head) = Head::decode(salt, &head) else { return Ok(None) };
    if head.length != place.length() || head.kind == Kind::Accepted {
        return Ok(None);
    }
    let mut begin = [0; MOSTLY];
    let read = file.read_at(&mut begin, place.trailer())?;
    let begin = begin.get(..read).unwrap_or_default();
    let Some(length) = Trailer::length(begin) else { return Ok(None) };
    let trailer = if let Some(whole) = begin.get(..length) {
        Trailer::decode(salt, whole)
    } else {
        let mut whole = vec![0; length];
        file.read_exact_at(&mut whole, place.trailer())?;
        Trailer::decode(salt, &whole)
    };
    let Some(trailer) = trailer else { return Ok(None) };
    if let Some(buffer) = buffer
        && !body_is_whole(file, place, &trailer, buffer)?
    {
        return Ok(None);
    }
    Ok(Some(Item { place, kind: head.kind, trailer }))
}

fn body_is_whole(
    file: &File,
    place: Place,
    trailer: &Trailer,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    buffer.resize(BUFFER, 0);
    let (mut value, mut rest) = (Hasher::new(), Hasher::new());
    let begin = u64::from(trailer.value.at);
    let end = begin + u64::from(trailer.value.length);
    let length = u64::from(place.length());
    let mut at = 0;
    while at < length {
        // Up to the next border.
        let (hasher, until) = match at {
            at if at < begin => (&mut rest, begin),
            at if at < end => (&mut value, end),
            _ => (&mut rest, length),
        };
        let some = (until.min(length) - at).min(BUFFER as u64);
        let part = buffer.get_mut(..usize::try_from(some).unwrap_or(BUFFER)).unwrap_or_default();
        file.read_exact_at(part, place.body() + at)?;
        hasher.update(part);
        at += some;
    }
    Ok(value.finalize() == trailer.value_crc && rest.finalize() == trailer.rest_crc)
}

fn damaged(reason: &str) {
    if let Some(suppressed) = DAMAGED.allow() {
        warn!(reason, suppressed, "a kept resource is damaged and left out");
    }
}

static DAMAGED: Throttle = Throttle::new(Duration::from_secs(60));
const BUFFER: usize = 64 << 10;
/// Trailers have mostly less.
const MOSTLY: usize = 256;
