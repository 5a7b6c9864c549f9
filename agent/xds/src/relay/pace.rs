//! When the next stream to whoever answers is opened.

use std::time::Duration;

use hawser_rt::Backoff;
use tokio::time::Instant;

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
    /// It was given up for another one, which may be opened after so long.
    Renewed(Duration),
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
            Went::Renewed(wait) => return wait,
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

/// How long a first message may take: each good piece of it has that time, and less is as good as
/// nothing.
#[derive(Debug)]
pub(super) struct First {
    pub(super) patience: Duration,
    due: Instant,
    came: usize,
}

impl First {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, due: Instant::now() + patience, came: 0 }
    }

    /// So many bytes of it came.
    pub(super) fn came(&mut self, bytes: usize) {
        self.came += bytes;
        if self.came >= PIECE {
            *self = Self::new(self.patience);
        }
    }

    /// For how much longer more of it may be waited for.
    pub(super) fn left(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }
}

/// When a stream that is well may be given up for another one: each is a full push, and a machine on
/// which containers come and go has another address every time.
#[derive(Debug)]
pub(super) struct Renewals {
    asked: bool,
    due: Instant,
    /// Between the next two.
    wait: Duration,
}

impl Renewals {
    pub(super) fn new() -> Self {
        Self { asked: false, due: Instant::now(), wait: SHORTEST_RENEWAL }
    }

    /// There is something to say that only a new stream can.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// A stream begins, and says it.
    pub(super) fn begin(&mut self) {
        self.asked = false;
    }

    /// When the present stream is to be given up, if it is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.asked.then_some(self.due)
    }

    /// A stream was given up; after how long the next may be opened.
    pub(super) fn renewed(&mut self) -> Duration {
        let now = Instant::now();
        if now >= self.due + self.wait {
            self.wait = SHORTEST_RENEWAL;
        }
        let wait = self.due.saturating_duration_since(now);
        self.due = now + wait + self.wait;
        self.wait = (self.wait * 2).min(LONGEST);
        wait
    }
}

const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
const SHORTEST_RENEWAL: Duration = Duration::from_secs(1);
const LONGEST_FLAPPING: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
/// A slow istiod is not made faster by asking it again.
const MOST_PATIENCE: Duration = Duration::from_secs(300);
/// Of a first message.
const PIECE: usize = 64 << 10;
/// There are fewer ways to show who one is.
const MOST_AT_ONCE: u32 = 8;

#[cfg(test)]
mod tests {
    use tokio::time::advance;

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

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_well_is_given_up_at_once_but_not_over_and_over() {
        let mut renewals = Renewals::new();
        assert_eq!(renewals.due(), None);
        for expected in [0, 1, 2, 4, 8, 16, 30, 30] {
            renewals.ask();
            let left = renewals.due().unwrap().saturating_duration_since(Instant::now());
            assert_eq!(left.as_secs(), expected);
            advance(left).await;
            assert_eq!(renewals.renewed(), Duration::ZERO);
            renewals.begin();
            assert_eq!(renewals.due(), None);
        }
        // What cannot wait for that waits before the next is opened.
        assert_eq!(renewals.renewed().as_secs(), 30);

        advance(LONGEST * 3).await;
        assert_eq!(renewals.renewed(), Duration::ZERO);
        assert_eq!(renewals.renewed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_message_that_comes_byte_by_byte_is_not_waited_for_without_end() {
        let mut first = First::new(PATIENCE);
        for left in (0..30).rev() {
            advance(Duration::from_secs(1)).await;
            first.came(1);
            assert_eq!(first.left().as_secs(), left);
        }
        first.came(PIECE);
        assert_eq!(first.left(), PATIENCE);
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
