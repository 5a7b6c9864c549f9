//! How old what Envoy runs on is: of all streams, the oldest is shown.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::{Seen, Stale};

/// The streams whose configuration nobody confirms.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    stale: Mutex<BTreeMap<u64, Stale>>,
    last: AtomicU64,
}

/// What has become of them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    Stale,
    Fresh,
    /// What it was.
    Neither,
}

impl Ages {
    /// A number for one more stream.
    pub(super) fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }

    /// How it stands with that stream; none if it is fresh, or over.
    pub(super) fn note(&self, seen: &Seen, number: u64, stale: Option<Stale>) -> Turned {
        let mut all = self.stale.lock();
        let before = all.is_empty();
        match stale {
            Some(stale) => drop(all.insert(number, stale)),
            None => drop(all.remove(&number)),
        }
        let oldest = all.values().min_by_key(|stale| stale.of).cloned();
        // Not after another one has noted something else.
        seen.change(|standing| standing.stale = oldest);
        match (before, all.is_empty()) {
            (true, false) => Turned::Stale,
            (false, true) => Turned::Fresh,
            _ => Turned::Neither,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_oldest_of_all_streams_is_shown_until_the_last_is_fresh_or_over() {
        let (ages, seen) = (Ages::default(), Seen::default());
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let stale = |second| Some(Stale { of: at(second), since: at(100) });
        let [old, new, never] = [ages.number(), ages.number(), ages.number()];
        assert_eq!(ages.note(&seen, new, stale(7)), Turned::Stale);
        assert_eq!(ages.note(&seen, old, stale(5)), Turned::Neither);
        assert_eq!(seen.standing().stale, stale(5));
        assert_eq!(ages.note(&seen, never, None), Turned::Neither);
        assert_eq!(ages.note(&seen, old, None), Turned::Neither);
        assert_eq!(seen.standing().stale, stale(7));
        assert_eq!(ages.note(&seen, new, None), Turned::Fresh);
        assert_eq!(seen.standing().stale, None);
    }
}
