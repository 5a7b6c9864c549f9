//! One log line a period, and a count of those left out.
//!
//! Made to be a `static` beside the log line it guards and to be asked on hot paths: no lock,
//! no allocation, two atomics.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Lets one event a period pass.
#[derive(Debug)]
pub struct Throttle {
    period_ms: u64,
    /// When the next event may pass, in milliseconds of [`monotonic_ms`].
    next_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl Throttle {
    /// The first event always passes.
    pub const fn new(period: Duration) -> Self {
        let millis = period.as_millis();
        #[expect(clippy::cast_possible_truncation, reason = "checked against the limit")]
        let period_ms = if millis > u64::MAX as u128 { u64::MAX } else { millis as u64 };
        Self { period_ms, next_ms: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// `Some` with the number of events held back since the last one that passed, if this one
    /// may pass.
    pub fn allow(&self) -> Option<u64> {
        self.allow_at(monotonic_ms())
    }

    fn allow_at(&self, now_ms: u64) -> Option<u64> {
        let next = self.next_ms.load(Ordering::Relaxed);
        // Of several threads that see the period over, the one that moves `next_ms` speaks.
        let passes = now_ms >= next
            && self
                .next_ms
                .compare_exchange(
                    next,
                    now_ms.saturating_add(self.period_ms),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if passes {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// Milliseconds since the process first asked. tokio's clock, so that a test can move it; not
/// the wall clock, which an NTP step would turn back and silence the log with.
fn monotonic_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    let elapsed = Instant::now().saturating_duration_since(start);
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    #[test]
    fn one_event_a_period_passes_and_the_others_are_counted() {
        let throttle = Throttle::new(Duration::from_secs(10));
        let cases = [
            (0, Some(0)),
            (1, None),
            (9_999, None),
            (10_000, Some(2)),
            (10_001, None),
            (90_000, Some(1)),
            (99_999, None),
            (100_000, Some(1)),
        ];
        for (now, expected) in cases {
            assert_eq!(throttle.allow_at(now), expected, "at {now}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_period_is_one_of_the_clock_that_tests_can_move() {
        let throttle = Throttle::new(Duration::from_secs(10));
        assert_eq!(throttle.allow(), Some(0));
        assert_eq!(throttle.allow(), None);

        tokio::time::advance(Duration::from_secs(11)).await;

        assert_eq!(throttle.allow(), Some(1));
    }

    #[test]
    fn of_many_threads_one_speaks_and_none_is_lost() {
        const THREADS: u64 = 8;
        const EVENTS: u64 = 1000;
        let throttle = Throttle::new(Duration::from_secs(1));
        let start = Barrier::new(8);

        let reports: Vec<u64> = thread::scope(|scope| {
            let ask = || {
                start.wait();
                (0..EVENTS).filter_map(|_| throttle.allow_at(5_000)).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });

        let rest = throttle.allow_at(6_000).unwrap();
        assert_eq!(reports.len(), 1);
        assert_eq!(1 + reports[0] + rest, THREADS * EVENTS);
    }

    #[test]
    fn a_period_beyond_all_time_lets_one_pass() {
        let throttle = Throttle::new(Duration::MAX);

        assert_eq!(throttle.allow_at(7), Some(0));
        assert_eq!(throttle.allow_at(u64::MAX - 1), None);
    }
}
