//! What is kept of one type: an index of its log. No names, no bodies.
//!
//! The log that is written and the log that is read go through the same two steps, [`Kept::record`]
//! and [`Kept::accept`]: what a restart finds is what was there.

use std::{
    collections::{BTreeMap, VecDeque},
    time::SystemTime,
};

use crate::{
    format::{Accepted, HEAD, Hash, TRAILER},
    hashes::ByHash,
};

/// Where a resource is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    // Two halves, so that an entry of the index is as small as its parts.
    at: [u32; 2],
    length: u32,
    crc: u32,
}

impl Place {
    /// Of a record that begins `at`, with a body of `length` bytes and a value with that checksum.
    pub(crate) fn new(at: u64, length: u32, crc: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let halves = [at as u32, (at >> 32) as u32];
        Self { at: halves, length, crc }
    }

    pub(crate) fn at(self) -> u64 {
        let [low, high] = self.at;
        u64::from(low) | (u64::from(high) << 32)
    }

    /// Where the body begins.
    pub(crate) fn body(self) -> u64 {
        self.at() + HEAD as u64
    }

    /// Where the trailer begins.
    pub(crate) fn trailer(self) -> u64 {
        self.body() + u64::from(self.length)
    }

    /// Of the body.
    pub(crate) fn length(self) -> u32 {
        self.length
    }

    /// Of the value: others have mostly another.
    pub(crate) fn crc(self) -> u32 {
        self.crc
    }

    /// About what the record takes on disk.
    fn cost(self) -> u64 {
        u64::from(self.length) + (HEAD + TRAILER + 64) as u64
    }
}

/// An accepted version.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: u64,
    pub(crate) draft: u32,
    /// Where its acceptance ends in the log.
    pub(crate) end: u64,
}

/// What is kept of one type.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) index: ByHash<Place>,
    /// What came with drafts that are not accepted yet.
    pub(crate) staged: BTreeMap<u32, ByHash<Place>>,
    pub(crate) number: u64,
    pub(crate) version: String,
    pub(crate) at: SystemTime,
    /// Bytes of what is in the index.
    pub(crate) live: u64,
    /// The latest, in order.
    pub(crate) versions: VecDeque<Version>,
    /// The number of the next draft.
    pub(crate) next: u32,
    /// An acceptance is missing: nothing after it is believed but one that says all.
    pub(crate) broken: bool,
    /// How many resources that were accepted are damaged.
    pub(crate) lost: usize,
    keep: usize,
}

impl Kept {
    /// Nothing, with a memory of that many versions.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            index: ByHash::default(),
            staged: BTreeMap::new(),
            number: 0,
            version: String::new(),
            at: SystemTime::UNIX_EPOCH,
            live: 0,
            versions: VecDeque::new(),
            next: 1,
            broken: false,
            lost: 0,
            keep: keep.max(1),
        }
    }

    /// A resource came with a draft.
    pub(crate) fn record(&mut self, draft: u32, hash: Hash, place: Place) {
        self.next = self.next.max(draft.saturating_add(1));
        self.staged.entry(draft).or_default().insert(hash, place);
    }

    /// A draft was accepted, and `end` is where the log says so. False if that is not believed.
    pub(crate) fn accept(&mut self, draft: u32, accepted: &Accepted, end: u64) -> bool {
        self.next = self.next.max(draft.saturating_add(1));
        let mut own = self.staged.remove(&draft).unwrap_or_default();
        let first = self.number == 0 && (accepted.whole || accepted.number == 1);
        self.broken |= !first && accepted.number != self.number + 1;
        if self.broken && !accepted.whole {
            return false;
        }
        if accepted.whole {
            let before = std::mem::take(&mut self.index);
            self.live = 0;
            // Reckoned from a state that is not known, "as it was" says nothing.
            let trusted = !self.broken;
            for hash in &accepted.same {
                match before.get(hash).filter(|_| trusted) {
                    Some(place) => self.put(*hash, *place),
                    None => self.lost += 1,
                }
            }
            self.broken = false;
        }
        for hash in &accepted.own {
            match own.remove(hash) {
                Some(place) => self.put(*hash, place),
                None => {
                    self.lost += 1;
                    self.take(hash);
                }
            }
        }
        for hash in &accepted.gone {
            self.take(hash);
        }
        self.number = accepted.number;
        self.version.clone_from(&accepted.version);
        self.at = accepted.at;
        self.versions.push_back(Version { number: accepted.number, draft, end });
        while self.versions.len() > self.keep {
            self.versions.pop_front();
        }
        true
    }

    /// Counts what the acceptance of a draft would add, change and remove. What came with the same
    /// value is none of that.
    pub(crate) fn weigh(&self, draft: u32, accepted: &mut Accepted) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let staged = self.staged.get(&draft);
        let (mut known, mut changed) = (0, 0);
        for hash in &accepted.own {
            let Some(before) = self.index.get(hash) else { continue };
            let now = staged.and_then(|staged| staged.get(hash));
            known += 1;
            changed += usize::from(now.is_none_or(|now| now.crc() != before.crc()));
        }
        let removed = if accepted.whole {
            self.index.len().saturating_sub(known + accepted.same.len())
        } else {
            accepted.gone.iter().filter(|hash| self.index.contains_key(*hash)).count()
        };
        accepted.added = count(accepted.own.len() - known);
        accepted.changed = count(changed);
        accepted.removed = count(removed);
    }

    /// Whether anything was ever accepted.
    pub(crate) fn any(&self) -> bool {
        self.number > 0
    }

    /// The oldest version that is kept: of `versions` the latest, while what was written since
    /// is not more than `bytes`.
    pub(crate) fn oldest(&self, end: u64, bytes: u64) -> Option<&Version> {
        let newest = self.versions.back()?;
        let kept = |version: &&Version| end.saturating_sub(version.end) <= bytes;
        Some(self.versions.iter().find(kept).unwrap_or(newest))
    }

    fn put(&mut self, hash: Hash, place: Place) {
        self.live += place.cost();
        if let Some(before) = self.index.insert(hash, place) {
            self.live = self.live.saturating_sub(before.cost());
        }
    }

    fn take(&mut self, hash: &Hash) {
        if let Some(before) = self.index.remove(hash) {
            self.live = self.live.saturating_sub(before.cost());
        }
    }
}
