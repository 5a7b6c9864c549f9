//! When the next stream to whoever answers is opened.

use std::time::Duration;

use hawser_rt::Backoff;

/// How the last streams went.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between streams on which nothing was heard.
    unheard: Backoff,
    /// Between streams that do not live long.
    flapping: Backoff,
    /// Whether the last stream did not live long.
    flaps: bool,
    /// How long a stream may stay silent.
    patience: Duration,
    /// How often in a row it was tried again without waiting.
    at_once: u32,
}

/// How a stream went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// It was heard, and lived so long after that.
    Heard(Duration),
    /// Nothing good was heard; the next attempt is made in another way.
    Otherwise,
    /// Nothing good was heard.
    Unheard,
    /// Nothing at all was heard for as long as there was patience.
    Silent,
    /// It was given up for another one.
    Renewed,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            unheard: Backoff::new(SHORTEST, LONGEST),
            flapping: Backoff::new(SHORTEST, LONGEST_FLAPPING),
            flaps: false,
            patience: PATIENCE,
            at_once: 0,
        }
    }

    /// How long a stream may stay silent.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// How long to wait after a stream that went like this; `dice` is a random number in `0..1`.
    pub(super) fn after(&mut self, went: Went, dice: f64) -> Duration {
        match went {
            Went::Renewed => return Duration::ZERO,
            Went::Otherwise if self.at_once < MOST_AT_ONCE => {
                self.at_once += 1;
                return Duration::ZERO;
            }
            Went::Silent => self.patience = (self.patience * 2).min(MOST_PATIENCE),
            Went::Heard(_) => {
                self.patience = PATIENCE;
                self.unheard.reset();
            }
            Went::Unheard | Went::Otherwise => {}
        }
        self.at_once = 0;
        let Went::Heard(lived) = went else {
            return self.unheard.next(1.0).mul_f64(dice);
        };
        // istiod ends each stream now and then, and answers the next one; but one that answers and
        // ends, over and over, pushes everything each time.
        let first = !std::mem::replace(&mut self.flaps, lived < LONG);
        if first || lived >= LONG {
            self.flapping.reset();
            return Duration::ZERO;
        }
        self.flapping.next(1.0).mul_f64(dice)
    }
}

const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
const LONGEST_FLAPPING: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
/// A slow istiod is not made faster by asking it again.
const MOST_PATIENCE: Duration = Duration::from_secs(300);
/// There are fewer ways to show who one is.
const MOST_AT_ONCE: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pace: &mut Pace, went: Went) -> u64 {
        u64::try_from(pace.after(went, 1.0).as_millis()).unwrap()
    }

    #[test]
    fn attempts_that_are_not_heard_grow_rarer_and_a_good_message_ends_that() {
        let mut pace = Pace::new();
        let waits: Vec<_> = (0..9).map(|_| after(&mut pace, Went::Unheard)).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);

        assert_eq!(after(&mut pace, Went::Heard(Duration::ZERO)), 0);
        assert_eq!(after(&mut pace, Went::Unheard), 250);
    }

    #[test]
    fn a_stream_that_was_heard_is_reopened_at_once_and_then_with_pauses() {
        let mut pace = Pace::new();
        let short = Went::Heard(Duration::from_millis(5));
        let waits: Vec<_> = (0..6).map(|_| after(&mut pace, short)).collect();
        assert_eq!(waits, [0, 250, 500, 1000, 2000, 2000]);

        assert_eq!(after(&mut pace, Went::Heard(LONG)), 0);
        assert_eq!(after(&mut pace, short), 0);
        assert_eq!(after(&mut pace, short), 250);
    }

    #[test]
    fn what_can_be_tried_in_another_way_is_tried_at_once_but_not_for_ever() {
        let mut pace = Pace::new();
        let waits: Vec<_> = (0..10).map(|_| after(&mut pace, Went::Otherwise)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 250, 0]);
    }

    #[test]
    fn patience_grows_with_silence_and_is_back_once_somebody_speaks() {
        let mut pace = Pace::new();
        for expected in [30, 60, 120, 240, 300, 300] {
            assert_eq!(pace.patience().as_secs(), expected);
            after(&mut pace, Went::Silent);
        }
        after(&mut pace, Went::Heard(LONG));
        assert_eq!(pace.patience().as_secs(), 30);
    }
}
