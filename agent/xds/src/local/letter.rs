//! A discovery response, written piece by piece: what resources hold is not copied to have them in one
//! message, and how long that is, is known before it leaves.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use hawser_wire::{Flavour, write};

use super::Supplied;

/// A response on its way.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) type_url: String,
    pub(crate) version: String,
    pub(crate) resources: usize,
    /// Of a gRPC frame, in their order.
    pieces: VecDeque<Bytes>,
}

/// What a response says.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) type_url: &'a str,
    pub(super) version: String,
    pub(super) nonce: String,
    pub(super) came: Vec<(&'a String, &'a Supplied)>,
    /// Delta only.
    pub(super) gone: Vec<String>,
}

impl Draft<'_> {
    /// The type comes first: who passes it on need not look for it. The nonce comes last: behind one
    /// that is as long, whatever is cut can be completed, however large the last resource is.
    pub(super) fn letter(self, flavour: Flavour) -> Letter {
        let Self { type_url, version, nonce, came, gone } = self;
        let mut heads = Vec::with_capacity(AROUND + came.len() * (AROUND + type_url.len()));
        write::bytes(&mut heads, VERSION, version.as_bytes());
        write::bytes(&mut heads, TYPE_URL, type_url.as_bytes());
        for name in &gone {
            write::bytes(&mut heads, REMOVED, name.as_bytes());
        }
        let mut ends = Vec::with_capacity(came.len());
        let mut length = 0;
        for (name, Supplied { version, body }) in &came {
            head(&mut heads, flavour, (type_url, name, version), body.len());
            ends.push(heads.len());
            length += body.len();
        }
        write::bytes(&mut heads, NONCE, nonce.as_bytes());
        length += heads.len();
        let (mut heads, mut from) = (Bytes::from(heads), 0);
        let mut pieces = VecDeque::with_capacity(2 + 2 * came.len());
        pieces.push_back(Bytes::copy_from_slice(&write::prefix(length)));
        for (end, (_, Supplied { body, .. })) in ends.into_iter().zip(&came) {
            pieces.push_back(heads.split_to(end - from));
            from = end;
            pieces.push_back(body.clone());
        }
        pieces.push_back(heads);
        pieces.retain(|piece| !piece.is_empty());
        Letter { type_url: type_url.to_owned(), version, resources: came.len(), pieces }
    }
}

impl Letter {
    /// The next bytes of it: small pieces go together, since each that is handed on has its price.
    pub(crate) fn chunk(&mut self) -> Option<Bytes> {
        let first = self.pieces.pop_front()?;
        if first.len() >= LARGE {
            return Some(first);
        }
        let mut room = CHUNK.saturating_sub(first.len());
        let more = self.pieces.iter().take_while(|piece| {
            let fits = piece.len() < LARGE && piece.len() <= room;
            room = room.saturating_sub(piece.len());
            fits
        });
        let (many, bytes) = more.fold((0, 0), |(many, bytes), it| (many + 1, bytes + it.len()));
        if many == 0 {
            return Some(first);
        }
        let mut chunk = BytesMut::with_capacity(first.len() + bytes);
        chunk.extend_from_slice(&first);
        self.pieces.drain(..many).for_each(|piece| chunk.extend_from_slice(&piece));
        Some(chunk.freeze())
    }
}

/// What comes before the bytes of a resource, which are the last of it.
fn head(
    into: &mut Vec<u8>,
    flavour: Flavour,
    (type_url, name, version): (&str, &str, &str),
    length: usize,
) {
    let any = field(ANY_TYPE, type_url.len()) + field(ANY_VALUE, length);
    if flavour == Flavour::Delta {
        let texts = field(RESOURCE_VERSION, version.len()) + field(RESOURCE_NAME, name.len());
        write::header(into, RESOURCES, texts + field(RESOURCE_ANY, any));
        write::bytes(into, RESOURCE_VERSION, version.as_bytes());
        write::bytes(into, RESOURCE_NAME, name.as_bytes());
        write::header(into, RESOURCE_ANY, any);
    } else {
        write::header(into, RESOURCES, any);
    }
    write::bytes(into, ANY_TYPE, type_url.as_bytes());
    write::header(into, ANY_VALUE, length);
}

/// How many bytes a field of that number and length takes.
fn field(number: u32, length: usize) -> usize {
    write::header_length(number, length) + length
}

/// Of a response in either flavour; the removed ones of delta.
const VERSION: u32 = 1;
const RESOURCES: u32 = 2;
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;
const REMOVED: u32 = 6;
/// Of a delta `Resource`.
const RESOURCE_VERSION: u32 = 1;
const RESOURCE_ANY: u32 = 2;
const RESOURCE_NAME: u32 = 3;
/// Of an `Any`.
const ANY_TYPE: u32 = 1;
const ANY_VALUE: u32 = 2;
/// What comes before a resource, about, besides its type.
const AROUND: usize = 128;
/// What is handed on by itself, and up to how much goes together.
const LARGE: usize = 16 << 10;
const CHUNK: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use hawser_proto::type_url::ROUTE;
    use hawser_wire::Reader;

    use super::*;

    /// Thousands of services of one port are in one resource.
    #[test]
    fn a_resource_however_large_can_be_passed_on_while_it_comes() {
        let supplied = Supplied { version: "1".into(), body: vec![7; 6 << 20].into() };
        for flavour in [Flavour::Delta, Flavour::Sotw] {
            let name = "9080".to_owned();
            let draft = Draft {
                type_url: ROUTE,
                version: "v".into(),
                nonce: "hawser/0000000000000001/1".into(),
                came: vec![(&name, &supplied)],
                gone: Vec::new(),
            };
            let mut letter = draft.letter(flavour);
            let prefix = letter.pieces.pop_front().unwrap();
            let length = letter.pieces.iter().map(Bytes::len).sum();
            assert_eq!(prefix, write::prefix(length)[..]);

            let mut reader = Reader::new(flavour, length);
            while let Some(chunk) = letter.chunk() {
                for part in chunk.chunks(64 << 10) {
                    reader.push(&Bytes::copy_from_slice(part), &mut |_| {}).unwrap();
                    assert!(reader.ending().is_some(), "{} held", reader.releasable());
                }
            }
            assert_eq!(reader.end().unwrap().nonce, "hawser/0000000000000001/1");
        }
    }
}
