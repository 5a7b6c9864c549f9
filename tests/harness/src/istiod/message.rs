//! A response on its way: encoded in pieces, of which large ones are shared until they leave.

use std::collections::VecDeque;
use std::iter;

use bytes::{BufMut, Bytes, BytesMut};

use super::faults::Garbage;
use super::journal::Flavour;
use super::subscription::{Given, Push};

/// What is longer is not copied.
const SMALL: usize = 4 * 1024;

/// No piece is longer, so that flow control has something to hold back.
const PIECE: usize = 64 * 1024;

/// What grpc-go puts into one DATA frame.
const FRAME: usize = 16 * 1024;

/// A gRPC message without its prefix.
#[derive(Debug, Default)]
pub(super) struct Message {
    pieces: Vec<Bytes>,
    open: BytesMut,
    length: usize,
}

impl Message {
    /// Encodes a push, its fields in the order of their numbers, as Go does.
    pub(super) fn of(push: &Push, flavour: Flavour) -> Self {
        let mut message = Self::default();
        message.text(1, &push.version);
        for given in &push.resources {
            match flavour {
                Flavour::SotW => message.any(2, given),
                Flavour::Delta => message.resource(given),
            }
        }
        message.text(4, &push.type_url);
        message.text(5, &push.nonce);
        for name in &push.removed {
            message.required(6, name);
        }
        message
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The DATA frames: of the prefix and the message, or what a fault makes of them. All but the
    /// last are as long as they may be; they are made as they are taken.
    pub(super) fn framed(mut self, garbage: Option<&Garbage>) -> impl Iterator<Item = Bytes> {
        self.seal();
        let length = self.length;
        let (flag, announced) = match garbage {
            None => (0, length),
            Some(Garbage::Random(bytes)) => {
                let noise: Vec<u8> = (0..*bytes).map(|_| fastrand::u8(..)).collect();
                self.pieces = vec![noise.into()];
                (0, *bytes)
            }
            Some(Garbage::Longer(by)) => (0, length.saturating_add(*by)),
            Some(Garbage::Shorter(by)) => (0, length.saturating_sub(*by)),
            Some(Garbage::Compressed) => (1, length),
            Some(Garbage::Flag(flag)) => (*flag, length),
            Some(Garbage::Huge) => (0, 1 << 31),
        };
        let mut prefix = BytesMut::new();
        prefix.put_u8(flag);
        prefix.put_u32(u32::try_from(announced).unwrap_or(u32::MAX));
        let mut pieces = VecDeque::from(self.pieces);
        pieces.push_front(prefix.freeze());
        iter::from_fn(move || {
            let mut frame = BytesMut::with_capacity(FRAME);
            while frame.len() < FRAME {
                let Some(piece) = pieces.front_mut() else { break };
                frame.put(piece.split_to(piece.len().min(FRAME - frame.len())));
                if piece.is_empty() {
                    pieces.pop_front();
                }
            }
            Some(frame.freeze()).filter(|frame| !frame.is_empty())
        })
    }

    fn resource(&mut self, given: &Given) {
        let body = text_length(1, &given.version)
            + block_length(2, any_length(given))
            + text_length(3, &given.name);
        self.head(2, body);
        self.text(1, &given.version);
        self.any(2, given);
        self.text(3, &given.name);
    }

    fn any(&mut self, field: u8, given: &Given) {
        self.head(field, any_length(given));
        self.text(1, &given.packed.type_url);
        let length = given.packed.length();
        if length > 0 {
            self.head(2, length);
            for part in &given.packed.parts {
                self.share(part);
            }
        }
    }

    /// A string, which is left out when it is empty.
    fn text(&mut self, field: u8, text: &str) {
        if !text.is_empty() {
            self.required(field, text);
        }
    }

    fn required(&mut self, field: u8, text: &str) {
        self.head(field, text.len());
        self.put(text.as_bytes());
    }

    /// Begins a field of bytes.
    fn head(&mut self, field: u8, length: usize) {
        self.put(&[field << 3 | 2]);
        let mut rest = length;
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                return self.put(&[low & 0x7f]);
            }
            self.put(&[low | 0x80]);
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.open.extend_from_slice(bytes);
    }

    fn share(&mut self, bytes: &Bytes) {
        if bytes.len() <= SMALL {
            return self.put(bytes);
        }
        self.length += bytes.len();
        self.seal();
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            self.pieces.push(rest.split_to(rest.len().min(PIECE)));
        }
    }

    fn seal(&mut self) {
        let mut rest = self.open.split().freeze();
        while !rest.is_empty() {
            self.pieces.push(rest.split_to(rest.len().min(PIECE)));
        }
    }
}

fn any_length(given: &Given) -> usize {
    let value = match given.packed.length() {
        0 => 0,
        length => block_length(2, length),
    };
    text_length(1, &given.packed.type_url) + value
}

fn text_length(field: u8, text: &str) -> usize {
    if text.is_empty() { 0 } else { block_length(field, text.len()) }
}

fn block_length(_field: u8, length: usize) -> usize {
    1 + prost::encoding::encoded_len_varint(length as u64) + length
}

#[cfg(test)]
mod tests {
    use hawser_proto::envoy::envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryResponse, Resource,
    };
    use hawser_proto::envoy::google::protobuf::Any;
    use prost::Message as _;

    use super::*;

    fn push() -> (Push, Vec<(String, Any)>) {
        let any = |value: Vec<u8>| Any { type_url: "type/a".to_owned(), value };
        let resources = vec![
            ("small".to_owned(), any(vec![1, 2, 3])),
            ("large".to_owned(), any(vec![7; 200_000])),
            (String::new(), any(Vec::new())),
        ];
        let given = resources.iter().map(|(name, any)| Given {
            name: name.clone(),
            version: "9".to_owned(),
            packed: any.clone().into(),
        });
        let push = Push {
            type_url: "type/a".to_owned(),
            version: "v/1".to_owned(),
            nonce: "n".to_owned(),
            resources: given.collect(),
            removed: vec!["gone".to_owned()],
        };
        (push, resources)
    }

    #[test]
    fn delta_reads_as_it_was_written() {
        let (push, resources) = push();
        let message = Message::of(&push, Flavour::Delta);
        let length = message.length();
        let bytes = message.framed(None).collect::<Vec<_>>().concat();

        assert_eq!(bytes[..5], [0, 0, 3, 0x0d, bytes[4]]);
        assert_eq!(bytes.len(), length + 5);
        let read = DeltaDiscoveryResponse::decode(&bytes[5..]).unwrap();
        let resource = |(name, any): (String, Any)| Resource {
            name,
            version: "9".to_owned(),
            resource: Some(any),
            ..Resource::default()
        };
        let resources: Vec<_> = resources.into_iter().map(resource).collect();
        assert_eq!(read.resources, resources);
        assert_eq!(
            (read.nonce.as_str(), read.removed_resources.as_slice()),
            ("n", &push.removed[..])
        );
        assert_eq!(read.encode_to_vec(), &bytes[5..], "field by field as any other encoder");
    }

    #[test]
    fn sotw_reads_as_it_was_written() {
        let (mut push, resources) = push();
        push.removed.clear();
        let bytes = Message::of(&push, Flavour::SotW).framed(None).collect::<Vec<_>>().concat();
        let read = DiscoveryResponse::decode(&bytes[5..]).unwrap();
        let resources: Vec<_> = resources.into_iter().map(|(_, any)| any).collect();
        assert_eq!((read.resources, read.type_url.as_str()), (resources, "type/a"));
    }

    #[test]
    fn garbage_is_in_the_prefix() {
        for (garbage, prefix) in [
            (Garbage::Compressed, [1, 0, 3, 0x0d]),
            (Garbage::Huge, [0, 0x80, 0, 0]),
            (Garbage::Random(64), [0, 0, 0, 0]),
        ] {
            let bytes = Message::of(&push().0, Flavour::SotW)
                .framed(Some(&garbage))
                .collect::<Vec<_>>()
                .concat();
            assert_eq!(bytes[..4], prefix, "{garbage:?}");
        }
    }
}
