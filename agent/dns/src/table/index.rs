//! Octets to numbers: open addressing over one arena.
//!
//! Grows while a table is built and is only read afterwards: what clients ask for never gets in, so
//! the hash may be a fast one. It begins at a number that is drawn for each index, so names that
//! collide cannot be prepared either.

use std::hash::{BuildHasher, RandomState};

/// Octets to numbers.
#[derive(Default)]
pub(super) struct Index {
    seed: Seed,
    /// Positions in `keys`; a power of two of them, at most half of them taken.
    slots: Vec<u32>,
    keys: Vec<Key>,
    octets: Vec<u8>,
}

/// Where hashing begins.
struct Seed(u64);

struct Key {
    start: u32,
    len: u8,
    entry: u32,
}

impl Index {
    /// No key has this position, so a look at it ends the search.
    const FREE: u32 = u32::MAX;

    pub(super) fn at(&self, octets: &[u8]) -> Option<u32> {
        let mut slot = self.first_slot(octets);
        loop {
            let key = self.keys.get(*self.slots.get(slot)? as usize)?;
            if self.octets_of(key) == octets {
                return Some(key.entry);
            }
            slot = self.next_slot(slot);
        }
    }

    /// Says whether the key is new; an old one keeps its entry.
    pub(super) fn insert(&mut self, octets: &[u8], entry: u32) -> bool {
        if self.at(octets).is_some() {
            return false;
        }
        let Ok(len) = u8::try_from(octets.len()) else { return false };
        let key = Key { start: position(self.octets.len()), len, entry };
        self.octets.extend_from_slice(octets);
        self.keys.push(key);
        if self.keys.len() * 2 > self.slots.len() {
            self.grow();
        } else {
            self.place(self.keys.len() - 1);
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        self.octets.shrink_to_fit();
    }

    fn grow(&mut self) {
        self.slots = vec![Self::FREE; (self.slots.len() * 2).max(16)];
        for key in 0..self.keys.len() {
            self.place(key);
        }
    }

    fn place(&mut self, key: usize) {
        let Some(octets) = self.keys.get(key).map(|key| self.octets_of(key)) else { return };
        let mut slot = self.first_slot(octets);
        while let Some(taken) = self.slots.get_mut(slot) {
            if *taken == Self::FREE {
                *taken = position(key);
                return;
            }
            slot = self.next_slot(slot);
        }
    }

    fn octets_of(&self, key: &Key) -> &[u8] {
        let start = key.start as usize;
        self.octets.get(start..start + usize::from(key.len)).unwrap_or_default()
    }

    fn first_slot(&self, octets: &[u8]) -> usize {
        let (words, rest) = octets.as_chunks();
        let mut hash = words.iter().fold(self.seed.0, |hash, word| mix(hash, *word));
        let mut last = [0; 8];
        for (place, octet) in last.iter_mut().zip(rest) {
            *place = *octet;
        }
        hash = mix(hash, last);
        usize::try_from(hash & 0xffff_ffff).unwrap_or(0) & self.mask()
    }

    fn next_slot(&self, slot: usize) -> usize {
        (slot + 1) & self.mask()
    }

    fn mask(&self) -> usize {
        self.slots.len().saturating_sub(1)
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

/// One number from two, each bit of it from all bits of both: a product of twice the width, folded.
fn mix(hash: u64, word: [u8; 8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = u128::from(hash ^ u64::from_le_bytes(word)) * u128::from(ODD);
    let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or(hash)
}

/// Positions are kept in four octets: half a million names of full length stay below.
pub(super) fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(Index::FREE)
}
