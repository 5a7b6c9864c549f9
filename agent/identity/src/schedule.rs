//! When to renew and how long to wait, as values: the caller brings clock and dice.
//!
//! All of it is in wall-clock time, because that is what certificates expire in.

use std::time::{Duration, SystemTime};

use hawser_pki::Identity;

use crate::Renewal;

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) begin: SystemTime,
    pub(crate) end: SystemTime,
}

impl Life {
    pub(crate) fn of(identity: &Identity) -> Self {
        Self { begin: identity.not_before(), end: identity.not_after() }
    }

    pub(crate) fn total(self) -> Duration {
        self.end.duration_since(self.begin).unwrap_or_default()
    }

    pub(crate) fn left(self, now: SystemTime) -> Duration {
        self.end.duration_since(now).unwrap_or_default()
    }

    /// The moment at which three quarters of it are over: whoever else renews has done so by then.
    pub(crate) fn three_quarters(self) -> SystemTime {
        self.end - self.total() / 4
    }
}

/// When a certificate that came `now`, for which `ttl` was asked, is to be followed by another.
///
/// That is when a part of what is left of its life now is left, but not before [`spacing`]: with
/// a clock that is ahead of the authority's every certificate looks old, and that must not be
/// answered with a storm of requests. Nor after most of what is left is over: while it is valid
/// by this clock it can be shown. With a clock that is behind nothing lives longer than it does.
pub(crate) fn renew_at(
    life: Life,
    now: SystemTime,
    ttl: Duration,
    renewal: Renewal,
    dice: f64,
) -> SystemTime {
    let left = life.left(now).min(life.total());
    let granted = ttl.min(life.total());
    let floor = spacing(granted).min(left.mul_f64(MOST)).max(LEAST.min(granted / 4));
    now + (left - left.mul_f64(part_left(renewal, dice))).max(floor)
}

/// When a certificate from an earlier run is to be followed by another. Counted from its
/// beginning: restarts must not put the renewal off.
pub(crate) fn resume_at(life: Life, renewal: Renewal, dice: f64) -> SystemTime {
    life.end - life.total().mul_f64(part_left(renewal, dice))
}

/// The least time between two certificates that live so long.
pub(crate) fn spacing(life: Duration) -> Duration {
    (life / 20).max(LEAST_SPACING).min(life / 4)
}

/// The longest wait between two attempts to follow a certificate that lives so long: a short life
/// is not to end between two of them.
pub(crate) fn longest_wait(life: Duration) -> Duration {
    (life / 20).max(Duration::from_secs(1))
}

/// How far a clock is from the authority's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// It shows a later time.
    Ahead(Duration),
    /// It shows an earlier time.
    Behind(Duration),
}

/// What a certificate that came `now` says of the clock: one for which `ttl` was asked, and that
/// was given that much and no more than the usual back-dating on top, ends `ttl` after the
/// authority's own time. None if it does not show.
pub(crate) fn skew(life: Life, now: SystemTime, ttl: Duration) -> Option<Skew> {
    let (total, left) = (life.total(), life.end.duration_since(now));
    if !(ttl..=ttl + MOST_BACKDATED).contains(&total) {
        return None;
    }
    let skew = match left {
        Ok(left) if left > ttl => Skew::Behind(left.saturating_sub(ttl)),
        Ok(left) => Skew::Ahead(ttl.saturating_sub(left)),
        Err(over) => Skew::Ahead(ttl + over.duration()),
    };
    let (Skew::Ahead(by) | Skew::Behind(by)) = skew;
    (by >= NOTICED).then_some(skew)
}

fn part_left(Renewal { ratio, jitter }: Renewal, dice: f64) -> f64 {
    // A NaN compares false with everything and would make `mul_f64` panic.
    let dice = if dice > 0.0 { dice.min(1.0) } else { 0.0 };
    let part = ratio + (dice * 2.0 - 1.0) * jitter;
    if part > 0.0 { part.min(1.0) } else { 0.0 }
}

const LEAST_SPACING: Duration = Duration::from_secs(30);
/// Closer together than this are no two requests, whatever the clock says.
const LEAST: Duration = Duration::from_secs(5);
const MOST: f64 = 0.75;
const MOST_BACKDATED: Duration = Duration::from_secs(3600);
/// Less than this may be the way there and back, or the time it takes to make a key.
const NOTICED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
