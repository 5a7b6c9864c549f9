//! Replies that may be given once more: whole messages, under the question that they reply to.
//!
//! Nothing is known here of records: what came with one question never answers another, so a reply
//! can do no harm beyond its own name. What is true of every entry:
//!
//! - Its time is the shortest TTL in it; TTLs are counted down on the way out, in place.
//! - That there is no such record lasts as long as the zone says (RFC 2308), an error for a moment
//!   (RFC 9520).
//! - After its time it may still be given while no resolver replies (RFC 8767); an error is not.
//!
//! Time is a number of milliseconds that the caller brings. What is cached is chosen by whoever
//! asks, hence hashed with a secret key; room is bounded in octets, and is made by passing over
//! what was asked for since the hand came by last.

mod shelf;

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use crate::message::set_number;
use shelf::Shelf;

/// What an entry costs besides its octets, about.
const OVERHEAD: usize = 192;
/// Entries that are spared at most before one is given up.
const SPARED: usize = 32;
/// Share of the whole that one entry may take.
const SHARE: usize = 16;
/// Seconds that a client may remember what is past its time (RFC 8767 §4).
const STALE_TTL: u32 = 30;
/// Milliseconds for which nobody is asked again after nobody has replied.
const REST: u64 = 5_000;

/// How good an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// In its time.
    Fresh,
    /// Past its time, and there is hope for better.
    Stale,
    /// Past its time, and it was just tried in vain to do better.
    Resting,
}

/// The cache of one worker.
#[derive(Debug)]
pub(crate) struct Cache {
    index: HashMap<Arc<[u8]>, usize, RandomState>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    hand: usize,
    octets: usize,
    limit: usize,
    /// Milliseconds that an entry is kept after its time.
    stale: u64,
    evicted: usize,
    /// Where TTLs are in the reply that is looked at.
    ttls: Vec<u16>,
}

#[derive(Debug)]
struct Entry {
    key: Arc<[u8]>,
    /// The message, and behind it where its TTLs are, two octets each.
    octets: Box<[u8]>,
    len: usize,
    born: u64,
    ends: u64,
    rests_until: u64,
    asked_for: bool,
    error: bool,
}

impl Cache {
    /// A cache of at most `limit` octets, whose entries are kept for `stale` after their time.
    pub(crate) fn new(limit: usize, stale: Duration) -> Self {
        Self {
            index: HashMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            hand: 0,
            octets: 0,
            limit,
            stale: u64::try_from(stale.as_millis()).unwrap_or(u64::MAX),
            evicted: 0,
            ttls: Vec::new(),
        }
    }

    /// Copies what is known to `out`, with the TTLs of now.
    pub(crate) fn copy(&mut self, key: &[u8], now: u64, out: &mut Vec<u8>) -> Option<Age> {
        let stale = self.stale;
        let &place = self.index.get(key)?;
        let entry = self.entries.get_mut(place)?.as_mut()?;
        let age = entry.age(now, stale)?;
        entry.asked_for = true;
        entry.copy(now, age, out);
        Some(age)
    }

    /// How long an entry is in its time yet, nothing if it is past that; for people who look.
    pub(crate) fn left(&self, key: &[u8], now: u64) -> Option<Duration> {
        let entry = self.entries.get(*self.index.get(key)?)?.as_ref()?;
        entry.age(now, self.stale)?;
        Some(Duration::from_millis(entry.ends.saturating_sub(now)))
    }

    /// Keeps a reply, if it is one to be kept and there is nothing better.
    pub(crate) fn keep(&mut self, key: &Arc<[u8]>, reply: &[u8], now: u64) {
        self.ttls.clear();
        let Some(shelf) = Shelf::of(reply, &mut self.ttls) else { return };
        let len = reply.len() + 2 * self.ttls.len();
        let cost = len + key.len() + OVERHEAD;
        if cost > self.limit / SHARE {
            return;
        }
        let known = self.index.get(key).copied();
        if shelf.error && known.is_some_and(|place| self.is_good(place, now)) {
            return;
        }
        let mut octets = Vec::with_capacity(len);
        octets.extend_from_slice(reply);
        octets.extend(self.ttls.iter().flat_map(|at| at.to_be_bytes()));
        let entry = Entry {
            key: Arc::clone(key),
            octets: octets.into_boxed_slice(),
            len: reply.len(),
            born: now,
            ends: now + u64::from(shelf.seconds) * 1000,
            rests_until: 0,
            asked_for: false,
            error: shelf.error,
        };
        if let Some(place) = known {
            self.remove(place);
        }
        while self.octets + cost > self.limit && self.make_room(now) {}
        self.octets += cost;
        let place = self.free.pop().unwrap_or(self.entries.len());
        match self.entries.get_mut(place) {
            Some(vacant) => *vacant = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.index.insert(Arc::clone(key), place);
    }

    /// Remembers that nobody has replied: what is past its time will do for a while.
    pub(crate) fn rest(&mut self, key: &[u8], now: u64) {
        if let Some(&place) = self.index.get(key)
            && let Some(Some(entry)) = self.entries.get_mut(place)
        {
            entry.rests_until = now + REST;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
        self.free.clear();
        (self.hand, self.octets) = (0, 0);
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Octets that they take.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// Entries that had to make room.
    pub(crate) fn evicted(&self) -> usize {
        self.evicted
    }

    /// Whether an entry may still be given, and is no error.
    fn is_good(&self, place: usize, now: u64) -> bool {
        let entry = self.entries.get(place).and_then(Option::as_ref);
        entry.is_some_and(|entry| !entry.error && entry.age(now, self.stale).is_some())
    }

    /// Gives up one entry; says whether there was one.
    fn make_room(&mut self, now: u64) -> bool {
        let mut spared = 0;
        for _ in 0..=self.entries.len() {
            self.hand = if self.hand + 1 < self.entries.len() { self.hand + 1 } else { 0 };
            let Some(Some(entry)) = self.entries.get_mut(self.hand) else { continue };
            let of_use = entry.age(now, self.stale).is_some();
            if of_use && entry.asked_for && spared < SPARED {
                entry.asked_for = false;
                spared += 1;
                continue;
            }
            self.evicted += usize::from(of_use);
            self.remove(self.hand);
            return true;
        }
        false
    }

    fn remove(&mut self, place: usize) {
        if let Some(entry) = self.entries.get_mut(place).and_then(Option::take) {
            self.octets =
                self.octets.saturating_sub(entry.octets.len() + entry.key.len() + OVERHEAD);
            self.index.remove(&entry.key);
            self.free.push(place);
        }
    }
}

impl Entry {
    fn age(&self, now: u64, stale: u64) -> Option<Age> {
        if now < self.ends {
            Some(Age::Fresh)
        } else if self.error || now >= self.ends.saturating_add(stale) {
            None
        } else if now < self.rests_until {
            Some(Age::Resting)
        } else {
            Some(Age::Stale)
        }
    }

    fn copy(&self, now: u64, age: Age, out: &mut Vec<u8>) {
        let (message, ttls) = self.octets.split_at_checked(self.len).unwrap_or_default();
        out.clear();
        out.extend_from_slice(message);
        let passed = u32::try_from(now.saturating_sub(self.born) / 1000).unwrap_or(u32::MAX);
        for at in ttls.as_chunks::<2>().0 {
            let at = usize::from(u16::from_be_bytes(*at));
            let Some(ttl) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) else {
                continue;
            };
            let left = match age {
                Age::Fresh => u32::from_be_bytes(*ttl).saturating_sub(passed),
                Age::Stale | Age::Resting => STALE_TTL,
            };
            *ttl = left.to_be_bytes();
        }
        // Nobody's identifier.
        set_number(out, 0, 0);
    }
}

#[cfg(test)]
mod tests;
