//! The questions that are out, whichever worker sent them.
//!
//! A query that comes in under the identifier of one of them, and asks the same, is a question of
//! our own: the resolver's address is redirected here. One of somebody else's has it once in 65,536
//! times that he asks what is being asked.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// One place for every sixteen identifiers: of two that share it the later is known.
const PLACES: usize = 4096;

/// The questions that are out.
#[derive(Debug)]
pub(crate) struct Out {
    key: RandomState,
    places: Box<[AtomicU64]>,
}

/// A question that is out: what it asks (40 bits), its identifier (16), the number of its resolver,
/// which is not 0 (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Out {
    /// A question goes out.
    pub(crate) fn put(&self, id: u16, question: &[u8], resolver: u8) -> Mark {
        let mark = Mark(self.asks(id, question) | u64::from(resolver));
        if let Some(place) = self.place(id) {
            place.store(mark.0, Ordering::Relaxed);
        }
        mark
    }

    /// It is answered, or given up.
    pub(crate) fn clear(&self, mark: Mark) {
        let id = u16::try_from(mark.0 >> 8 & 0xffff).unwrap_or_default();
        if let Some(place) = self.place(id) {
            // Another one may be there by now.
            let order = Ordering::Relaxed;
            let _other = place.compare_exchange(mark.0, 0, order, order);
        }
    }

    /// The number of the resolver that is asked this now, under this identifier.
    pub(crate) fn resolver(&self, id: u16, question: &[u8]) -> Option<u8> {
        let there = self.place(id)?.load(Ordering::Relaxed);
        // Nothing is hashed for those who ask something else, which is nearly everybody.
        let same = there != 0 && there >> 8 & 0xffff == u64::from(id);
        let same = same && there & !0xff == self.asks(id, question);
        same.then(|| u8::try_from(there & 0xff).ok()).flatten()
    }

    fn asks(&self, id: u16, question: &[u8]) -> u64 {
        self.key.hash_one(question) << 24 | u64::from(id) << 8
    }

    fn place(&self, id: u16) -> Option<&AtomicU64> {
        self.places.get(usize::from(id) % PLACES)
    }
}

impl Default for Out {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { key: RandomState::new(), places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_known_by_its_identifier_and_what_it_asks_while_it_is_out() {
        let out = Out::default();
        for id in [0, 1, 4096, 40_000, u16::MAX] {
            assert_eq!(out.resolver(id, b"a"), None);
            let mark = out.put(id, b"a", 3);
            assert_eq!(out.resolver(id, b"a"), Some(3));
            assert_eq!(out.resolver(id, b"b"), None, "somebody else asks something else");
            assert_eq!(out.resolver(id ^ 1, b"a"), None, "somebody else asks the same");
            assert_eq!(out.resolver(id ^ 0x1000, b"a"), None, "from the same place");
            out.clear(mark);
            assert_eq!(out.resolver(id, b"a"), None);
        }
    }

    #[test]
    fn of_two_in_one_place_the_later_is_known_and_not_cleared_with_the_other() {
        let out = Out::default();
        let first = out.put(7, b"a", 1);
        out.put(7 + 4096, b"a", 2);
        out.clear(first);
        assert_eq!((out.resolver(7, b"a"), out.resolver(7 + 4096, b"a")), (None, Some(2)));
    }
}
