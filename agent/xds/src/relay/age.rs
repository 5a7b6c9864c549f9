//! How old what Envoy runs on is: of all streams, the oldest is shown.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hawser_rt::Throttle;
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::{Seen, Stale};

/// The streams whose configuration nobody confirms.
#[derive(Debug)]
pub(crate) struct Ages {
    stale: Mutex<Streams>,
    last: AtomicU64,
    throttle: Throttle,
}

#[derive(Debug, Default)]
struct Streams {
    of: BTreeMap<u64, Stale>,
    /// It was said that there are such.
    told: bool,
}

/// What is to be said of them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turned {
    Stale(u64),
    Fresh,
    /// What it was; or it turns so often that it is not said each time.
    Neither,
}

impl Streams {
    /// Whether there are any.
    fn put(&mut self, seen: &Seen, number: u64, stale: Option<Stale>) -> bool {
        match stale {
            Some(stale) => drop(self.of.insert(number, stale)),
            None => drop(self.of.remove(&number)),
        }
        let oldest = self.of.values().min_by_key(|stale| stale.of).cloned();
        let any = oldest.is_some();
        // Not after another one has noted something else.
        seen.change(|standing| standing.stale = oldest);
        any
    }
}

impl Default for Ages {
    fn default() -> Self {
        Self { stale: Mutex::default(), last: AtomicU64::new(0), throttle: Throttle::new(PERIOD) }
    }
}

impl Ages {
    /// A number for one more stream.
    pub(super) fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }

    /// How it stands with that stream; none if it is fresh.
    pub(super) fn note(&self, seen: &Seen, number: u64, stale: Option<Stale>) {
        match self.turned(seen, number, stale) {
            Turned::Stale(suppressed) => warn!(
                flow = "xds",
                suppressed, "configuration is stale: envoy runs on what it took last"
            ),
            Turned::Fresh => info!(flow = "xds", "configuration is fresh again"),
            Turned::Neither => {}
        }
    }

    /// A stream is over, which makes nothing fresh: the next one will say.
    pub(super) fn over(&self, seen: &Seen, number: u64) {
        self.stale.lock().put(seen, number, None);
    }

    fn turned(&self, seen: &Seen, number: u64, stale: Option<Stale>) -> Turned {
        let mut all = self.stale.lock();
        match (all.put(seen, number, stale), all.told) {
            (true, false) => match self.throttle.allow() {
                Some(suppressed) => {
                    all.told = true;
                    Turned::Stale(suppressed)
                }
                None => Turned::Neither,
            },
            (false, true) => {
                all.told = false;
                Turned::Fresh
            }
            _ => Turned::Neither,
        }
    }
}

const PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_all_streams_is_shown_until_the_last_is_fresh_or_over() {
        let (ages, seen) = (Ages::default(), Seen::default());
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let stale = |second| Some(Stale { of: at(second), since: at(100) });
        let [old, new, never] = [ages.number(), ages.number(), ages.number()];
        assert_eq!(ages.turned(&seen, new, stale(7)), Turned::Stale(0));
        assert_eq!(ages.turned(&seen, old, stale(5)), Turned::Neither);
        assert_eq!(seen.standing().stale, stale(5));
        assert_eq!(ages.turned(&seen, never, None), Turned::Neither);
        assert_eq!(ages.turned(&seen, old, None), Turned::Neither);
        assert_eq!(seen.standing().stale, stale(7));
        assert_eq!(ages.turned(&seen, new, None), Turned::Fresh);
        assert_eq!(seen.standing().stale, None);

        // Somebody comes and goes all the time: it is shown, and not said each time.
        for _ in 0..9 {
            assert_eq!(ages.turned(&seen, new, stale(7)), Turned::Neither);
            assert_eq!(seen.standing().stale, stale(7));
            assert_eq!(ages.turned(&seen, new, None), Turned::Neither);
        }
        advance(PERIOD).await;
        assert_eq!(ages.turned(&seen, new, stale(7)), Turned::Stale(9));
        // With another stream, all is as it was said.
        ages.over(&seen, new);
        assert_eq!(seen.standing().stale, None);
        assert_eq!(ages.turned(&seen, old, stale(7)), Turned::Neither);
        ages.over(&seen, old);
        assert_eq!(ages.turned(&seen, new, None), Turned::Fresh);
    }
}
