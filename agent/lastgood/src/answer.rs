//! A response made of what is kept.

use std::{
    collections::{HashSet, VecDeque},
    time::SystemTime,
};

use bytes::Bytes;
use hawser_wire::{Flavour, write};

use crate::{
    format::Kind,
    order::{Item, Line, Order, Part, Plan, Source},
};

/// A response made of what is kept: a whole message, read as it is taken.
#[derive(Debug)]
pub struct Answer {
    /// How many bytes the message has.
    pub length: usize,
    /// The version of it.
    pub version: String,
    /// The names of the resources in it.
    pub names: Vec<String>,
    /// When the last of it was accepted.
    pub at: SystemTime,
    line: Line,
    source: Source,
    parts: VecDeque<Part>,
}

impl Answer {
    /// The next bytes of the message, at most 64 KiB; `None` at its end. Should the disk fail
    /// before that, it ends early: compare with `length`.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        let mut room = CHUNK;
        let mut parts = Vec::new();
        while room > 0
            && let Some(part) = self.parts.pop_front()
        {
            let (now, later) = split(part, room);
            room = room.saturating_sub(length(&now));
            parts.push(now);
            if let Some(later) = later {
                self.parts.push_front(later);
            }
        }
        if parts.is_empty() {
            return None;
        }
        let source = self.source.clone();
        let read = self.line.ask(|reply| Order::Read { source, parts, reply }).await.flatten();
        if read.is_none() {
            self.parts.clear();
        }
        read
    }
}

/// What was asked for.
pub(crate) struct Asked<'a> {
    pub(crate) type_url: &'a str,
    pub(crate) flavour: Flavour,
    pub(crate) wanted: Option<&'a [String]>,
    pub(crate) held: &'a [String],
    pub(crate) nonce: &'a str,
}

/// The message.
pub(crate) fn compose(line: Line, plan: Plan, items: Vec<Item>, asked: &Asked<'_>) -> Answer {
    let mut message = Message::default();
    write::bytes(&mut message.made, VERSION, plan.version.as_bytes());
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        if asked.flavour == Flavour::Delta && item.trailer.name.is_empty() {
            continue;
        }
        message.resource(&item, asked.flavour, &plan.version);
        names.push(item.trailer.name);
    }
    write::bytes(&mut message.made, TYPE, asked.type_url.as_bytes());
    write::bytes(&mut message.made, NONCE, asked.nonce.as_bytes());
    if asked.flavour == Flavour::Delta {
        let there: HashSet<&str> = names.iter().chain(asked.held).map(String::as_str).collect();
        let wanted = asked.wanted.unwrap_or_default().iter();
        for name in wanted.filter(|name| !there.contains(name.as_str())) {
            write::bytes(&mut message.made, REMOVED, name.as_bytes());
        }
    }
    message.close();
    let length = message.parts.iter().map(length).sum();
    let Plan { source, version, at, .. } = plan;
    Answer { length, version, names, at, line, source, parts: message.parts }
}

/// A message in the making.
#[derive(Default)]
struct Message {
    made: Vec<u8>,
    parts: VecDeque<Part>,
}

impl Message {
    fn resource(&mut self, item: &Item, flavour: Flavour, version: &str) {
        let (body, any) = (item.place.body(), item.trailer.any);
        let whole = u64::from(item.place.length());
        let any = (body + u64::from(any.at), u64::from(any.length));
        match (flavour, item.kind) {
            (Flavour::Sotw, _) => self.stored(RESOURCES, any),
            (Flavour::Delta, Kind::Resource) => self.stored(RESOURCES, (body, whole)),
            (Flavour::Delta, _) => {
                let mut after = Vec::new();
                write::bytes(&mut after, RESOURCE_NAME, item.trailer.name.as_bytes());
                let mut before = Vec::new();
                write::bytes(&mut before, RESOURCE_VERSION, version.as_bytes());
                let inner = narrow(any.1);
                let header = write::header_length(RESOURCE_ANY, inner);
                let length = before.len() + header + inner + after.len();
                write::header(&mut self.made, RESOURCES, length);
                self.made.extend(before);
                self.stored(RESOURCE_ANY, any);
                self.made.extend(after);
            }
        }
    }

    /// A field of which the content is in the log.
    fn stored(&mut self, field: u32, (at, length): (u64, u64)) {
        write::header(&mut self.made, field, narrow(length));
        self.close();
        self.parts.push_back(Part::Stored { at, length });
    }

    fn close(&mut self) {
        if !self.made.is_empty() {
            self.parts.push_back(Part::Made(std::mem::take(&mut self.made).into()));
        }
    }
}

/// The first `room` bytes of a part, and what is left of it.
fn split(part: Part, room: usize) -> (Part, Option<Part>) {
    if length(&part) <= room {
        return (part, None);
    }
    match part {
        Part::Made(mut bytes) => {
            let first = bytes.split_to(room);
            (Part::Made(first), Some(Part::Made(bytes)))
        }
        Part::Stored { at, length } => {
            let first = room as u64;
            let later = Part::Stored { at: at + first, length: length - first };
            (Part::Stored { at, length: first }, Some(later))
        }
    }
}

fn length(part: &Part) -> usize {
    match part {
        Part::Made(bytes) => bytes.len(),
        Part::Stored { length, .. } => narrow(*length),
    }
}

/// Lengths in a log have 32 bits.
fn narrow(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

const CHUNK: usize = 64 << 10;
/// Fields of both kinds of response.
const VERSION: u32 = 1;
const RESOURCES: u32 = 2;
const TYPE: u32 = 4;
const NONCE: u32 = 5;
/// Of delta.
const REMOVED: u32 = 6;
const RESOURCE_VERSION: u32 = 1;
const RESOURCE_ANY: u32 = 2;
const RESOURCE_NAME: u32 = 3;
