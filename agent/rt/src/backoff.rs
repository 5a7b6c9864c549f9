//! How long to wait before the next attempt.
//!
//! The ceiling doubles with each attempt; the wait lies between half of it and all of it, so a
//! crowd that failed together does not come back together. To be reset by the first *good
//! answer*, not by a mere connection: a server that accepts and then drops would be hammered.

use std::time::Duration;

/// A wait that grows with each failure.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// The first ceiling is `min`, the last `max` (at least `min`).
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), ceiling: min }
    }

    /// The wait before the next attempt; `dice` is a random number in `0..1`.
    pub fn next(&mut self, dice: f64) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.max);
        // A NaN compares false with everything and would make `mul_f64` panic.
        let dice = if dice > 0.0 { dice.min(1.0) } else { 0.0 };
        let half = ceiling / 2;
        half.saturating_add(half.mul_f64(dice)).min(self.max)
    }

    /// Starts again at the smallest wait.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_ceiling_doubles_up_to_the_limit() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);

        let waits: Vec<_> = (0..5).map(|_| backoff.next(1.0).as_secs()).collect();

        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn the_dice_choose_between_half_and_whole() {
        let cases = [
            (0.0, 500),
            (0.5, 750),
            (1.0, 1000),
            (-3.0, 500),
            (7.0, 1000),
            (f64::NAN, 500),
            (f64::INFINITY, 1000),
        ];
        for (dice, millis) in cases {
            let wait = Backoff::new(SECOND, 8 * SECOND).next(dice);

            assert_eq!(wait, Duration::from_millis(millis), "dice {dice}");
        }
    }

    #[test]
    fn a_reset_starts_at_the_smallest_wait() {
        let mut backoff = Backoff::new(SECOND, 60 * SECOND);
        for _ in 0..9 {
            backoff.next(1.0);
        }

        backoff.reset();

        assert_eq!(backoff.next(1.0), SECOND);
    }

    #[test]
    fn limits_out_of_order_or_out_of_reach_are_harmless() {
        assert_eq!(Backoff::new(2 * SECOND, SECOND).next(1.0), 2 * SECOND);
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).next(1.0), Duration::ZERO);
        let mut endless = Backoff::new(Duration::MAX / 2, Duration::MAX);
        for _ in 0..3 {
            assert!(endless.next(1.0) >= Duration::MAX / 4);
        }
    }
}
