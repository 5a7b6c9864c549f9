//! What is known of the resources of one type, by name: many thousands of them, in little memory.
//!
//! A push of 100 MB may have 40,000 names, so each costs its bytes and a few more: all of them lie
//! one after the other in one piece of memory, and an index of numbers finds them there.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, BuildHasherDefault, Hasher},
};

/// What is known of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Envoy has subscribed to it by its name.
    pub(crate) wanted: bool,
    /// Envoy has it.
    pub(crate) held: bool,
    /// Envoy has asked for it and nobody has answered yet.
    pub(crate) waiting: bool,
}

/// Names, each with its mark and, if Envoy has the resource, its version.
#[derive(Debug, Default)]
pub(crate) struct Names {
    text: Vec<u8>,
    places: HashMap<u64, u32, BuildHasherDefault<Plain>>,
    seed: RandomState,
    /// Bytes of `text` that nobody needs any more.
    waste: usize,
}

impl Names {
    /// What is known of a name, and its version.
    pub(crate) fn find(&self, name: &str) -> Option<(Mark, &str)> {
        let entry = self.entry(self.place(name)?)?;
        (entry.mark != Mark::default()).then_some((entry.mark, entry.version))
    }

    /// All that something is known of.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Mark, &str)> + Clone {
        let mut rest = self.text.as_slice();
        std::iter::from_fn(move || {
            let (entry, behind) = Entry::split(rest)?;
            rest = behind;
            Some((entry.name, entry.mark, entry.version))
        })
        .filter(|(_, mark, _)| *mark != Mark::default())
    }

    /// The bytes that this takes, about.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + self.places.len() * INDEXED
    }

    /// Changes what is known of a name; its version stays as it is.
    pub(crate) fn mark(&mut self, name: &str, change: impl FnOnce(&mut Mark)) {
        let (mut mark, place) = match self.place(name) {
            Some(place) => (self.entry(place).map(|it| it.mark).unwrap_or_default(), Some(place)),
            None => (Mark::default(), None),
        };
        let before = mark;
        change(&mut mark);
        match place {
            _ if mark == before => {}
            Some(place) => self.put_mark(place, mark),
            None => self.append(name, mark, ""),
        }
        self.tidy();
    }

    /// Envoy has it, in that version.
    pub(crate) fn hold(&mut self, name: &str, version: &str) {
        match self.find(name) {
            Some((_, known)) if known == version => self.mark(name, |mark| mark.held = true),
            found => {
                let mark = found.map(|(mark, _)| mark).unwrap_or_default();
                if let Some(place) = self.place(name) {
                    self.put_mark(place, Mark::default());
                }
                self.append(name, Mark { held: true, ..mark }, version);
                self.tidy();
            }
        }
    }

    /// Nobody waits for anything any more.
    pub(crate) fn settle(&mut self) {
        let mut offset = 0;
        while let Some((entry, _)) = self.text.get(offset..).and_then(Entry::split) {
            let (length, mark) = (entry.length(), entry.mark);
            if mark.waiting {
                self.put_mark(offset, Mark { waiting: false, ..mark });
            }
            offset += length;
        }
        self.tidy();
    }

    /// Where the entry of a name begins.
    fn place(&self, name: &str) -> Option<usize> {
        let place = usize::try_from(*self.places.get(&self.key(name))?).ok()?;
        self.entry(place).filter(|entry| entry.name == name).map(|_| place)
    }

    fn entry(&self, place: usize) -> Option<Entry<'_>> {
        self.text.get(place..).and_then(Entry::split).map(|(entry, _)| entry)
    }

    fn put_mark(&mut self, place: usize, mark: Mark) {
        let length = self.entry(place).map_or(0, |entry| entry.length());
        if let Some(flags) = self.text.get_mut(place) {
            if *flags != 0 && mark == Mark::default() {
                self.waste += length;
            } else if *flags == 0 && mark != Mark::default() {
                self.waste = self.waste.saturating_sub(length);
            }
            *flags = mark.flags();
        }
    }

    fn append(&mut self, name: &str, mark: Mark, version: &str) {
        // All requests together are smaller than what fits into the index.
        let Ok(place) = u32::try_from(self.text.len()) else { return };
        Entry { mark, name, version }.write(&mut self.text);
        self.places.insert(self.key(name), place);
    }

    /// Gives back what is not needed, once that is more than half.
    fn tidy(&mut self) {
        if self.waste <= WASTE || self.waste <= self.text.len() / 2 {
            return;
        }
        let old = std::mem::take(&mut self.text);
        self.places.clear();
        self.waste = 0;
        let mut rest = old.as_slice();
        while let Some((entry, behind)) = Entry::split(rest) {
            rest = behind;
            if entry.mark != Mark::default() {
                self.append(entry.name, entry.mark, entry.version);
            }
        }
    }

    fn key(&self, name: &str) -> u64 {
        self.seed.hash_one(name)
    }
}

/// Names that a response has brought, or has taken away, in the order in which it did.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    text: Vec<u8>,
}

impl Changes {
    /// The bytes that this takes.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// A resource came, in that version.
    pub(crate) fn came(&mut self, name: &str, version: &str) {
        let mark = Mark { held: true, ..Mark::default() };
        Entry { mark, name, version }.write(&mut self.text);
    }

    /// A resource is no more.
    pub(crate) fn went(&mut self, name: &str) {
        let mark = Mark { wanted: true, ..Mark::default() };
        Entry { mark, name, version: "" }.write(&mut self.text);
    }

    /// Name and version of those that came, the name of those that went.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let mut rest = self.text.as_slice();
        std::iter::from_fn(move || {
            let (entry, behind) = Entry::split(rest)?;
            rest = behind;
            Some((entry.name, entry.mark.held.then_some(entry.version)))
        })
    }
}

/// One name as it lies in memory: flags, two lengths, two texts.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    mark: Mark,
    name: &'a str,
    version: &'a str,
}

impl<'a> Entry<'a> {
    fn length(&self) -> usize {
        HEAD + self.name.len() + self.version.len()
    }

    fn write(&self, into: &mut Vec<u8>) {
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
        into.push(self.mark.flags());
        into.extend_from_slice(&length(self.name));
        into.extend_from_slice(&length(self.version));
        into.extend_from_slice(self.name.as_bytes());
        into.extend_from_slice(self.version.as_bytes());
    }

    fn split(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (flags, rest) = text.split_first()?;
        let (name_length, rest) = length(rest)?;
        let (version_length, rest) = length(rest)?;
        let (name, rest) = rest.split_at_checked(name_length)?;
        let (version, rest) = rest.split_at_checked(version_length)?;
        let (name, version) = (str::from_utf8(name).ok()?, str::from_utf8(version).ok()?);
        Some((Self { mark: Mark::of(*flags), name, version }, rest))
    }
}

fn length(text: &[u8]) -> Option<(usize, &[u8])> {
    let (bytes, rest) = text.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*bytes)).ok()?, rest))
}

impl Mark {
    fn flags(self) -> u8 {
        u8::from(self.wanted) | u8::from(self.held) << 1 | u8::from(self.waiting) << 2
    }

    fn of(flags: u8) -> Self {
        Self { wanted: flags & 1 != 0, held: flags & 2 != 0, waiting: flags & 4 != 0 }
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

const HEAD: usize = 9;
const INDEXED: usize = 24;
const WASTE: usize = 4 << 10;
