//! Names to entries: open addressing, eight octets a slot.
//!
//! Grows while a table is built and is only read afterwards: what clients ask for never gets in, so
//! the hash may be a fast one. It begins at a number that is drawn for each index, so names that
//! collide cannot be prepared either. A slot knows length and a part of the hash of its name, so
//! that looking for a name that is not there hardly ever leads to one that is: it costs one line of
//! the processor's cache, or none if no name has as many labels.

use std::hash::{BuildHasher, RandomState};

/// Names to entries. The octets of the names lie elsewhere.
#[derive(Default)]
pub(super) struct Index {
    seed: Seed,
    /// More than there are keys, so every search comes to a free one.
    slots: Vec<Slot>,
    len: usize,
    /// A bit for each number of labels that a key has.
    depths: u128,
}

/// Where hashing begins.
#[derive(Clone, Copy)]
pub(super) struct Seed(u64);

/// A key as it is looked up.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) octets: &'a [u8],
    pub(super) labels: usize,
}

/// From the lowest bit: length 8 (of a free slot 0), tag 10, position in the octets 26, entry 20.
#[derive(Clone, Copy, Default)]
struct Slot(u64);

impl Slot {
    const MARK_BITS: u32 = 18;
    const MARK: u64 = (1 << Self::MARK_BITS) - 1;
    const POSITION: u64 = (1 << 26) - 1;
    const ENTRY_AT: u32 = Self::MARK_BITS + 26;
    /// More entries do not fit.
    const ENTRIES: u64 = 1 << 20;

    /// What a slot and what is looked for have in common if they are the same.
    fn mark(hash: u64, length: usize) -> u64 {
        (hash << 8 | length as u64 & 0xff) & Self::MARK
    }

    fn new(mark: u64, position: usize, entry: u32) -> Option<Self> {
        let (position, entry) = (position as u64, u64::from(entry));
        let fits = position <= Self::POSITION && entry < Self::ENTRIES && mark & 0xff != 0;
        fits.then_some(Self(entry << Self::ENTRY_AT | position << Self::MARK_BITS | mark))
    }

    fn is_free(self) -> bool {
        self.0 == 0
    }

    fn octets(self, arena: &[u8]) -> &[u8] {
        let position = low(self.0 >> Self::MARK_BITS & Self::POSITION);
        arena.get(position..position + low(self.0 & 0xff)).unwrap_or_default()
    }

    fn entry(self) -> u32 {
        u32::try_from(self.0 >> Self::ENTRY_AT).unwrap_or(u32::MAX)
    }
}

impl Index {
    #[inline]
    pub(super) fn at(&self, arena: &[u8], key: Key<'_>) -> Option<u32> {
        if !self.may_have(key.labels) {
            return None;
        }
        let hash = self.seed.hash(key.octets);
        let mark = Slot::mark(hash, key.octets.len());
        let mut at = scale(hash, self.slots.len());
        loop {
            let slot = *self.slots.get(at)?;
            if slot.0 & Slot::MARK == mark && slot.octets(arena) == key.octets {
                return Some(slot.entry());
            }
            if slot.is_free() {
                return None;
            }
            at = if at + 1 < self.slots.len() { at + 1 } else { 0 };
        }
    }

    /// Whether any key has so many labels.
    pub(super) fn may_have(&self, labels: usize) -> bool {
        self.depths >> (labels & 127) & 1 != 0
    }

    /// Labels of the key that has most of them.
    pub(super) fn deepest(&self) -> usize {
        127_usize.saturating_sub(low(u64::from(self.depths.leading_zeros())))
    }

    /// Adds a key whose octets lie at `position`. Says whether it is new and fits; an old one keeps
    /// its entry.
    pub(super) fn insert(
        &mut self,
        arena: &[u8],
        key: Key<'_>,
        position: usize,
        entry: u32,
    ) -> bool {
        let hash = self.seed.hash(key.octets);
        let mark = Slot::mark(hash, key.octets.len());
        let Some(slot) = Slot::new(mark, position, entry) else { return false };
        if self.at(arena, key).is_some() {
            return false;
        }
        if (self.len + 1) * 2 > self.slots.len() {
            self.arrange(arena, (self.slots.len() * 2).max(16));
        }
        self.place(hash, slot);
        self.len += 1;
        self.depths |= 1 << (key.labels & 127);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// For so many keys that are to come.
    pub(super) fn make_room(&mut self, keys: usize) {
        self.slots = vec![Slot::default(); keys * 2 + 1];
    }

    /// Gives up what is only needed to grow: of eight slots five are taken then.
    pub(super) fn shrink(&mut self, arena: &[u8]) {
        self.arrange(arena, self.len * 8 / 5 + 1);
    }

    /// Every key with its entry.
    pub(super) fn iter<'a>(&'a self, arena: &'a [u8]) -> impl Iterator<Item = (&'a [u8], u32)> {
        let taken = self.slots.iter().filter(|slot| !slot.is_free());
        taken.map(|slot| (slot.octets(arena), slot.entry()))
    }

    fn arrange(&mut self, arena: &[u8], slots: usize) {
        let before = std::mem::replace(&mut self.slots, vec![Slot::default(); slots]);
        for slot in before.into_iter().filter(|slot| !slot.is_free()) {
            self.place(self.seed.hash(slot.octets(arena)), slot);
        }
    }

    fn place(&mut self, hash: u64, new: Slot) {
        let mut at = scale(hash, self.slots.len());
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.is_free() {
                *slot = new;
                return;
            }
            at = if at + 1 < self.slots.len() { at + 1 } else { 0 };
        }
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl Seed {
    pub(super) fn hash(self, octets: &[u8]) -> u64 {
        let (words, rest) = octets.as_chunks();
        let hash = words.iter().fold(self.0, |hash, word| mix(hash, *word));
        let mut last = [0; 8];
        for (place, octet) in last.iter_mut().zip(rest) {
            *place = *octet;
        }
        mix(hash, last)
    }
}

/// Where among so many to begin.
pub(super) fn scale(hash: u64, slots: usize) -> usize {
    low(((hash >> 32) * slots as u64) >> 32)
}

/// One number from two, each bit of it from all bits of both: a product of twice the width, folded.
fn mix(hash: u64, word: [u8; 8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = u128::from(hash ^ u64::from_le_bytes(word)) * u128::from(ODD);
    let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or(hash)
}

/// A number that is known to be small.
fn low(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
