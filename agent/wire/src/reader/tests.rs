//! The reader against a full decoder: any message, any order, any chunks, any cut.

use hawser_proto::envoy::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse, Resource},
    google::protobuf::Any,
};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::write;
use messages::{Field, a_flavoured_message, written};
use told::WRAPPER;

mod limits;
mod messages;

const TYPE: &str = "type.googleapis.com/a.Thing";

/// What all events of a response told, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    resources: Vec<Vec<u8>>,
    removed: Vec<String>,
}

impl Heard {
    fn hear(&mut self, open: &mut Option<usize>, event: Event) {
        match event {
            Event::Resource { length } => {
                assert_eq!(open.replace(length), None);
                self.resources.push(Vec::new());
            }
            Event::Bytes(bytes) => {
                assert!(!bytes.is_empty() && open.is_some());
                self.resources.last_mut().unwrap().extend_from_slice(&bytes);
            }
            Event::ResourceEnd => {
                assert_eq!(open.take(), self.resources.last().map(Vec::len));
            }
            Event::Removed(name) => self.removed.push(name),
        }
    }
}

fn read(flavour: Flavour, message: &[u8], chunk: usize) -> Result<(Heard, Tail), Malformed> {
    let mut reader = Reader::new(flavour, message.len());
    let (mut heard, mut open) = (Heard::default(), None);
    for chunk in message.chunks(chunk) {
        reader.push(&Bytes::copy_from_slice(chunk), &mut |event| heard.hear(&mut open, event))?;
    }
    Ok((heard, reader.end()?))
}

/// A response as a full decoder sees it, of either flavour.
#[derive(Debug)]
struct Full {
    type_url: String,
    version: String,
    nonce: String,
    /// Name and `Any`.
    resources: Vec<(String, Option<Any>)>,
    removed: Vec<String>,
}

fn decode(flavour: Flavour, message: &[u8]) -> Option<Full> {
    Some(match flavour {
        Flavour::Sotw => {
            let full = DiscoveryResponse::decode(message).ok()?;
            Full {
                type_url: full.type_url,
                version: full.version_info,
                nonce: full.nonce,
                resources: full
                    .resources
                    .into_iter()
                    .map(|any| (String::new(), Some(any)))
                    .collect(),
                removed: Vec::new(),
            }
        }
        Flavour::Delta => {
            let full = DeltaDiscoveryResponse::decode(message).ok()?;
            let pair = |resource: Resource| (resource.name, resource.resource);
            Full {
                type_url: full.type_url,
                version: full.system_version_info,
                nonce: full.nonce,
                resources: full.resources.into_iter().map(pair).collect(),
                removed: full.removed_resources,
            }
        }
    })
}

impl Full {
    /// The type of the first resource, if it says one.
    fn inner(&self) -> Option<&str> {
        let any = self.resources.first()?.1.as_ref()?;
        Some(any.type_url.as_str()).filter(|text| !text.is_empty() && *text != WRAPPER)
    }

    /// Whether the type depends on whom one asks.
    fn contradicts_itself(&self) -> bool {
        self.inner().is_some_and(|inner| !self.type_url.is_empty() && inner != self.type_url)
    }

    /// What an xDS client does first: it looks for the type, then at the names and types of all
    /// resources.
    fn is_refused(&self, flavour: Flavour) -> bool {
        match flavour {
            Flavour::Sotw => self
                .resources
                .iter()
                .any(|(_, any)| any.as_ref().is_none_or(|any| any.type_url != self.type_url)),
            Flavour::Delta => {
                let mut names = std::collections::BTreeSet::new();
                !self.resources.iter().all(|(name, _)| names.insert(name))
            }
        }
    }
}

fn assert_read_as(flavour: Flavour, message: &[u8], full: &Full, heard: &Heard, tail: &Tail) {
    assert_eq!(tail.version, full.version);
    assert_eq!(tail.nonce, full.nonce);
    assert_eq!(tail.resources, full.resources.len());
    let outer = Some(full.type_url.as_str()).filter(|text| !text.is_empty());
    assert_eq!(tail.type_url, outer.or(full.inner()).unwrap_or_default(), "{message:02x?}");
    assert_eq!(heard.removed, full.removed);
    for (bytes, (name, any)) in heard.resources.iter().zip(&full.resources) {
        match flavour {
            Flavour::Sotw => assert_eq!(Any::decode(bytes.as_slice()).ok(), *any),
            Flavour::Delta => {
                let resource = Resource::decode(bytes.as_slice()).unwrap();
                assert_eq!((&resource.name, &resource.resource), (name, any));
            }
        }
    }
}

/// Every prefix of a good message, completed.
fn assert_every_cut_can_be_ended(flavour: Flavour, message: &[u8], chunk: usize) {
    let mut reader = Reader::new(flavour, message.len());
    let mut before = 0;
    for chunk in message.chunks(chunk) {
        reader.push(&Bytes::copy_from_slice(chunk), &mut |_| ()).unwrap();
        let left = reader.releasable();
        assert!(before <= left && left <= reader.position, "{before} {left}");
        before = left;
        let Some(ending) = reader.ending() else {
            assert_eq!(left, 0);
            continue;
        };
        assert_eq!(ending.remaining(), message.len() - left);
        if left < message.len() {
            assert_ends(flavour, &message[..left], ending, message.len());
        }
    }
    assert_eq!(reader.releasable(), message.len());
    assert_eq!(reader.ending().unwrap().count(), 0);
}

fn assert_ends(flavour: Flavour, left: &[u8], ending: Ending, length: usize) {
    let answered = ending.answered();
    let mut completed = left.to_vec();
    for piece in ending {
        assert!(!piece.is_empty() && piece.len() <= 16 << 10);
        completed.extend_from_slice(&piece);
    }
    assert_eq!(completed.len(), length);
    assert_eq!(completed.get(left.len()), Some(&0xff), "at least one byte of the value is spoilt");
    let full = decode(flavour, &completed).expect("well-formed");
    assert_eq!(answered, !full.type_url.is_empty());
    assert!(!answered || full.is_refused(flavour), "{full:?}");
    let spoilt = |any: &Any| any.value.last() == Some(&0xff);
    assert!(full.resources.iter().any(|(_, any)| any.as_ref().is_some_and(spoilt)));
    // And our own reader takes it for a message, too.
    read(flavour, &completed, 7).unwrap();
}

/// As istiod writes it.
fn usual(flavour: Flavour, resources: usize, value: usize) -> Vec<u8> {
    let packed = Any { type_url: TYPE.to_owned(), value: vec![b'v'; value] };
    match flavour {
        Flavour::Sotw => DiscoveryResponse {
            version_info: "2026-11-21T01:49:55Z/1".to_owned(),
            resources: vec![packed; resources],
            type_url: TYPE.to_owned(),
            nonce: "2026-11-21T01:49:55Z/1e9a3698f-6491-401b-b355-0ecd0358ff07".to_owned(),
            ..DiscoveryResponse::default()
        }
        .encode_to_vec(),
        Flavour::Delta => {
            let resource = |number| Resource {
                name: format!("outbound|80||{number}.test"),
                resource: Some(packed.clone()),
                ..Resource::default()
            };
            DeltaDiscoveryResponse {
                system_version_info: "2026-11-21T01:49:55Z/1".to_owned(),
                resources: (0..resources).map(resource).collect(),
                type_url: TYPE.to_owned(),
                removed_resources: vec!["gone".to_owned(), "away".to_owned()],
                nonce: "2026-11-21T01:49:55Z/1e9a3698f-6491-401b-b355-0ecd0358ff07".to_owned(),
                ..DeltaDiscoveryResponse::default()
            }
            .encode_to_vec()
        }
    }
}

fn push(reader: &mut Reader, bytes: &[u8]) -> Result<Vec<Event>, Malformed> {
    let mut events = Vec::new();
    reader.push(&Bytes::copy_from_slice(bytes), &mut |event| events.push(event))?;
    Ok(events)
}

#[test]
fn the_type_is_known_from_the_first_bytes_that_istiod_sends() {
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        let message = usual(flavour, 3, 100_000);
        let mut reader = Reader::new(flavour, message.len());
        push(&mut reader, &message[..100]).unwrap();
        assert_eq!(reader.type_url(), Some(TYPE));
        assert_eq!(reader.releasable(), 100, "inside the first value");
    }
}

#[test]
fn what_is_held_back_of_an_istiods_message_is_less_than_300_bytes() {
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        let message = usual(flavour, 20, 1000);
        let mut reader = Reader::new(flavour, message.len());
        for byte in &message {
            push(&mut reader, &[*byte]).unwrap();
            assert!(reader.position - reader.releasable() < 300);
        }
    }
}

#[test]
fn an_ending_of_an_istiods_message_keeps_the_type_so_that_it_is_passed_over() {
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        let message = usual(flavour, 2, 1000);
        for cut in 200..message.len() {
            let mut reader = Reader::new(flavour, message.len());
            push(&mut reader, &message[..cut]).unwrap();
            assert!(!reader.ending().unwrap().answered());
        }
    }
}

#[test]
fn the_bytes_of_a_value_are_slices_of_the_chunk() {
    let message = usual(Flavour::Sotw, 1, 100_000);
    let mut reader = Reader::new(Flavour::Sotw, message.len());
    push(&mut reader, &message[..200]).unwrap();
    let chunk = Bytes::copy_from_slice(&message[200..16_584]);
    let mut events = Vec::new();
    reader.push(&chunk, &mut |event| events.push(event)).unwrap();
    let [Event::Bytes(bytes)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(bytes.as_ptr(), chunk.as_ptr());
}

#[test]
fn values_of_any_length_can_be_cut_at_any_byte() {
    let mut fields = Vec::new();
    for length in [3, 0, 1, 0, 2, 126, 127, 128, 129, 0] {
        let any = written(&[Field::Bytes(1, TYPE.into()), Field::Bytes(2, vec![8; length])]);
        fields.push(Field::Bytes(2, any));
    }
    for last in [vec![], vec![Field::Bytes(5, Vec::new())], vec![Field::Bytes(4, TYPE.into())]] {
        let message = written(&[fields.clone(), last].concat());
        assert_every_cut_can_be_ended(Flavour::Sotw, &message, 1);
    }
}

#[test]
fn a_last_resource_that_leaves_no_room_is_held_whole_when_its_type_was_told_before() {
    let any = written(&[Field::Bytes(1, TYPE.into()), Field::Bytes(2, vec![8; 500])]);
    let message = written(&[
        Field::Bytes(4, TYPE.into()),
        Field::Bytes(2, any.clone()),
        Field::Bytes(2, any.clone()),
    ]);
    let first = message.len() - written(&[Field::Bytes(2, any)]).len();
    let mut reader = Reader::new(Flavour::Sotw, message.len());
    push(&mut reader, &message[..message.len() - 1]).unwrap();
    assert_eq!(reader.releasable(), first - 1, "inside the first value");
    assert_every_cut_can_be_ended(Flavour::Sotw, &message, 1);
}

#[test]
fn what_has_left_can_be_ended_when_the_rest_turns_out_malformed() {
    let message = usual(Flavour::Delta, 2, 1000);
    let mut reader = Reader::new(Flavour::Delta, message.len());
    push(&mut reader, &message[..1200]).unwrap();
    let left = reader.releasable();
    // The value ends in there, so that more would be releasable of a good message.
    assert_eq!(push(&mut reader, &[0xff; 1000]), Err(Malformed));
    assert_eq!(reader.releasable(), left, "of what is malformed nothing leaves");
    assert_ends(Flavour::Delta, &message[..left], reader.ending().unwrap(), message.len());
    assert_eq!(push(&mut reader, &[]), Err(Malformed), "once and for all");
    assert_eq!(reader.end(), Err(Malformed));
}

#[test]
fn an_ending_as_long_as_a_large_push_is_made_of_slices_of_a_constant() {
    let message = usual(Flavour::Delta, 1, 1000);
    let mut announced = message[..100].to_vec();
    // The same, with a value of 100 MB announced.
    let mut any = Vec::new();
    write::bytes(&mut any, 1, TYPE.as_bytes());
    write::header(&mut any, 2, 100 << 20);
    let mut resource = Vec::new();
    write::header(&mut resource, 2, any.len() + (100 << 20));
    announced.clear();
    let length = any.len() + resource.len() + (100 << 20);
    write::header(&mut announced, 2, length);
    let whole = announced.len() + length + 1000;
    announced.extend_from_slice(&resource);
    announced.extend_from_slice(&any);
    let mut reader = Reader::new(Flavour::Delta, whole);
    push(&mut reader, &announced).unwrap();
    let pieces: Vec<Bytes> = reader.ending().unwrap().collect();
    assert_eq!(announced.len() + pieces.iter().map(Bytes::len).sum::<usize>(), whole);
    assert_eq!(pieces[0].as_ptr(), pieces[1].as_ptr(), "no memory of its own");
}

proptest! {
    #[test]
    fn any_message_in_any_chunks_is_read_as_the_full_decoder_reads_it(
        (flavour, message) in a_flavoured_message(), chunk in 1_usize..600,
    ) {
        let full = decode(flavour, &message).unwrap();
        let (heard, tail) = read(flavour, &message, chunk).unwrap();
        assert_read_as(flavour, &message, &full, &heard, &tail);
    }

    #[test]
    fn any_message_cut_anywhere_is_completed_well_formed_and_refused(
        (flavour, message) in a_flavoured_message(), chunk in 1_usize..600,
    ) {
        // Of a large message not too many cuts.
        let chunk = chunk.max(message.len() / 30);
        assert_every_cut_can_be_ended(flavour, &message, chunk);
    }

    #[test]
    fn bytes_mean_the_same_in_any_chunks(
        bytes in prop::collection::vec(prop_oneof![
            Just(0x0a), Just(0x12), Just(0x22), Just(0x2a), Just(0x32), Just(0x13), Just(0x14),
            Just(0x80), 0_u8..12, any::<u8>()
        ], 0..32),
        delta in any::<bool>(),
    ) {
        let flavour = if delta { Flavour::Delta } else { Flavour::Sotw };
        let whole = read(flavour, &bytes, usize::MAX);
        for chunk in 1..4 {
            prop_assert_eq!(&read(flavour, &bytes, chunk), &whole);
        }
        let full = decode(flavour, &bytes);
        match (&whole, &full) {
            (Ok((heard, tail)), Some(full)) => {
                assert_read_as(flavour, &bytes, full, heard, tail);
            }
            (Err(Malformed), Some(full)) => {
                // It said one type first and another later.
                prop_assert!(full.contradicts_itself() || tells_twice(&bytes));
            }
            _ => {}
        }
    }
}

/// Whether there may be two fields that tell a type, of which the last would count.
fn tells_twice(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| [0x0a, 0x22].contains(*byte)).count() > 1
}
