//! A response with any content, in chunks of any size: read as a full decoder reads it, and, cut
//! anywhere, completed so that a full decoder takes it and a client does not.

#![no_main]

use std::collections::BTreeSet;

use hawser_proto::envoy::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse, Resource},
    google::protobuf::Any,
};
use hawser_wire::{Event, Fields, Flavour, Malformed, Reader, Tail, Value};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

/// With this, state of the world wraps its resources, which then do not say their own type.
const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk, message) = input;
    let chunk = usize::from(chunk).max(1);
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        let whole = read(flavour, message, usize::MAX);
        assert_eq!(read(flavour, message, chunk), whole, "the chunks make no difference");
        let full = Full::decode(flavour, message);
        match (&whole, &full) {
            (Ok((heard, tail)), Some(full)) => full.is_read_as(flavour, heard, tail),
            (Err(Malformed), Some(_)) => assert!(changes_its_type(flavour, message)),
            _ => {}
        }
        cuts(flavour, message, chunk, full.is_some());
    }
});

#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    resources: Vec<Vec<u8>>,
    removed: Vec<String>,
}

fn read(flavour: Flavour, message: &[u8], chunk: usize) -> Result<(Heard, Tail), Malformed> {
    let mut reader = Reader::new(flavour, message.len());
    let mut heard = Heard::default();
    let mut open = None;
    for chunk in message.chunks(chunk) {
        reader.push(&chunk.to_vec().into(), &mut |event| match event {
            Event::Resource { length } => {
                assert_eq!(open.replace(length), None);
                heard.resources.push(Vec::new());
            }
            Event::Bytes(bytes) => {
                assert!(!bytes.is_empty() && open.is_some());
                heard.resources.last_mut().expect("begun").extend_from_slice(&bytes);
            }
            Event::ResourceEnd => {
                assert_eq!(open.take(), heard.resources.last().map(Vec::len));
            }
            Event::Removed(name) => heard.removed.push(name),
        })?;
    }
    assert_eq!((reader.releasable(), open), (message.len(), None));
    let told = reader.type_url().unwrap_or_default().to_owned();
    let tail = reader.end()?;
    assert_eq!(tail.type_url, told);
    Ok((heard, tail))
}

/// What is released can be completed, at any time, whatever follows.
fn cuts(flavour: Flavour, message: &[u8], chunk: usize, well_formed: bool) {
    let mut reader = Reader::new(flavour, message.len());
    let (mut pushed, mut before) = (0, 0);
    for chunk in message.chunks(chunk.max(message.len() / 16)) {
        let read = reader.push(&chunk.to_vec().into(), &mut |_| ());
        pushed += chunk.len();
        let left = reader.releasable();
        assert!(before <= left && left <= pushed);
        assert!(read.is_ok() || before == left, "of what is malformed nothing leaves");
        before = left;
        let Some(ending) = reader.ending() else {
            assert_eq!(left, 0);
            continue;
        };
        let answered = ending.answered();
        let mut completed = message[..left].to_vec();
        completed.extend(ending.flatten());
        assert_eq!(completed.len(), message.len());
        if left < message.len() {
            ended(flavour, &completed, answered, well_formed);
        }
        if read.is_err() {
            return;
        }
    }
}

fn ended(flavour: Flavour, completed: &[u8], answered: bool, well_formed: bool) {
    let (_, tail) = self::read(flavour, completed, 100).expect("taken by the reader itself");
    let full = Full::decode(flavour, completed);
    assert!(full.is_some() || !well_formed, "taken by a full decoder");
    let Some(full) = full else { return };
    assert_eq!(tail.resources, full.resources.len());
    assert_eq!(answered, !full.type_url.is_empty());
    assert!(!answered || full.is_refused(flavour));
    let spoilt = |any: &Any| any.value.last() == Some(&0xff);
    assert!(full.resources.iter().any(|(_, any)| any.as_ref().is_some_and(spoilt)));
}

/// A response as a full decoder sees it.
struct Full {
    type_url: String,
    version: String,
    nonce: String,
    /// Name and `Any`.
    resources: Vec<(String, Option<Any>)>,
    removed: Vec<String>,
}

impl Full {
    fn decode(flavour: Flavour, message: &[u8]) -> Option<Self> {
        Some(match flavour {
            Flavour::Sotw => {
                let full = DiscoveryResponse::decode(message).ok()?;
                let pair = |any| (String::new(), Some(any));
                Self {
                    type_url: full.type_url,
                    version: full.version_info,
                    nonce: full.nonce,
                    resources: full.resources.into_iter().map(pair).collect(),
                    removed: Vec::new(),
                }
            }
            Flavour::Delta => {
                let full = DeltaDiscoveryResponse::decode(message).ok()?;
                let pair = |resource: Resource| (resource.name, resource.resource);
                Self {
                    type_url: full.type_url,
                    version: full.system_version_info,
                    nonce: full.nonce,
                    resources: full.resources.into_iter().map(pair).collect(),
                    removed: full.removed_resources,
                }
            }
        })
    }

    fn is_read_as(&self, flavour: Flavour, heard: &Heard, tail: &Tail) {
        assert_eq!(
            (&tail.version, &tail.nonce, tail.resources),
            (&self.version, &self.nonce, self.resources.len())
        );
        let inner = self.resources.first().and_then(|(_, any)| any.as_ref());
        let inner = inner.map_or("", |any| &any.type_url);
        let inner = if inner == WRAPPER { "" } else { inner };
        let expected = if self.type_url.is_empty() { inner } else { &self.type_url };
        assert_eq!(tail.type_url, expected);
        assert_eq!(heard.removed, self.removed);
        for (bytes, (name, any)) in heard.resources.iter().zip(&self.resources) {
            match flavour {
                Flavour::Sotw => assert_eq!(Any::decode(bytes.as_slice()).ok(), *any),
                Flavour::Delta => {
                    let resource = Resource::decode(bytes.as_slice()).expect("a resource");
                    assert_eq!((&resource.name, &resource.resource), (name, any));
                }
            }
        }
    }

    /// What a client looks at before it takes any resource.
    fn is_refused(&self, flavour: Flavour) -> bool {
        match flavour {
            Flavour::Sotw => self
                .resources
                .iter()
                .any(|(_, any)| any.as_ref().is_none_or(|any| any.type_url != self.type_url)),
            Flavour::Delta => {
                let mut names = BTreeSet::new();
                !self.resources.iter().all(|(name, _)| names.insert(name))
            }
        }
    }
}

/// Whether the type is told more than once, and not the same each time: by the response, and by
/// its first resource.
fn changes_its_type(flavour: Flavour, message: &[u8]) -> bool {
    let mut told = BTreeSet::new();
    let mut first = true;
    for (number, value) in Fields::new(message).flatten() {
        match (number, value) {
            (4, Value::Bytes(text)) => drop(told.insert(text.to_vec())),
            (2, Value::Bytes(resource)) if std::mem::take(&mut first) => match flavour {
                Flavour::Sotw => types(resource, &mut told),
                Flavour::Delta => Fields::new(resource).flatten().for_each(|field| {
                    if let (2, Value::Bytes(any)) = field {
                        types(any, &mut told);
                    }
                }),
            },
            _ => {}
        }
    }
    told.len() > 1
}

fn types(any: &[u8], told: &mut BTreeSet<Vec<u8>>) {
    for field in Fields::new(any).flatten() {
        if let (1, Value::Bytes(text)) = field {
            told.insert(text.to_vec());
        }
    }
}
