//! When to renew and how long to wait, as values: the caller brings clock and dice.
//!
//! All of it is in wall-clock time, because that is what certificates expire in. Whoever waits
//! looks at the clock again at least every [`LOOK_AGAIN`], so that a suspended machine or a
//! stepped clock is noticed.

use std::time::{Duration, SystemTime};

/// Renewal falls due when half of the life that is left at `now` has passed, give or take a
/// hundredth: a fleet that was started together does not renew together.
pub(crate) fn renew_at(now: SystemTime, not_after: SystemTime, dice: f64) -> SystemTime {
    let left = not_after.duration_since(now).unwrap_or_default();
    // A NaN compares false with everything and would make `mul_f64` panic.
    let dice = if dice > 0.0 { dice.min(1.0) } else { 0.0 };
    let jitter = (dice * 2.0 - 1.0) * JITTER;
    now + left.mul_f64(HALF + jitter)
}

/// The least time between two certificates when `ttl` is asked for. A clock that is ahead of the
/// CA's makes every new certificate look old; it must not be answered with a storm of requests.
pub(crate) fn spacing(ttl: Duration) -> Duration {
    (ttl / 4).min(LEAST_SPACING)
}

/// How long to sleep before the clock is looked at again on the way to `due`.
pub(crate) fn nap(now: SystemTime, due: SystemTime) -> Option<Duration> {
    let left = due.duration_since(now).ok().filter(|left| !left.is_zero())?;
    Some(left.min(LOOK_AGAIN))
}

const HALF: f64 = 0.5;
const JITTER: f64 = 0.01;
const LEAST_SPACING: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + 12 * HOUR
    }

    #[test]
    fn renewal_falls_due_at_half_of_the_life_left() {
        let due = |dice| renew_at(noon(), noon() + 24 * HOUR, dice).duration_since(noon()).unwrap();
        assert_eq!(due(0.5), 12 * HOUR);
        assert_eq!(due(0.0), Duration::from_secs(42_336));
        assert_eq!(due(1.0), Duration::from_secs(44_064));
        assert_eq!(due(f64::NAN), due(0.0), "a bad dice is no panic");
    }

    #[test]
    fn an_expired_certificate_is_due_at_once() {
        assert_eq!(renew_at(noon(), noon() - HOUR, 0.7), noon());
    }

    #[test]
    fn requests_are_spaced_even_for_short_lives() {
        let table = [(24 * HOUR, 30), (Duration::from_secs(60), 15), (Duration::from_secs(4), 1)];
        for (ttl, seconds) in table {
            assert_eq!(spacing(ttl), Duration::from_secs(seconds), "{ttl:?}");
        }
    }

    #[test]
    fn the_clock_is_looked_at_again_twice_a_minute() {
        assert_eq!(nap(noon(), noon() + 12 * HOUR), Some(Duration::from_secs(30)));
        assert_eq!(nap(noon(), noon() + Duration::from_secs(3)), Some(Duration::from_secs(3)));
        assert_eq!(nap(noon(), noon()), None);
        assert_eq!(nap(noon() + 24 * HOUR, noon()), None, "the clock jumped ahead, or we slept");
    }
}
