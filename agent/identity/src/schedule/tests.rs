//! Dates as tables: what the clock shows, and what follows from it.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const BACKDATED: Duration = Duration::from_secs(120);
const EXACT: Renewal = Renewal { ratio: 0.5, jitter: 0.0 };

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + 1000 * DAY + 12 * HOUR
}

/// A certificate as istiod gives it at noon by its own clock.
fn given(ttl: Duration) -> Life {
    Life { begin: noon() - BACKDATED, end: noon() + ttl }
}

fn after_noon(due: SystemTime) -> Duration {
    due.duration_since(noon()).unwrap()
}

#[test]
fn renewal_falls_due_when_the_wanted_part_is_left() {
    let table = [
        (Renewal::default(), 0.5, 12 * HOUR),
        (Renewal::default(), 0.0, Duration::from_secs(44_064)),
        (Renewal::default(), 1.0, Duration::from_secs(42_336)),
        (Renewal { ratio: 0.25, jitter: 0.0 }, 0.3, 18 * HOUR),
        (Renewal { ratio: 7.0, jitter: 0.0 }, 0.3, 72 * MINUTE),
        (Renewal { ratio: 0.0, jitter: 0.5 }, 0.0, 24 * HOUR),
    ];
    for (renewal, dice, expected) in table {
        let due = renew_at(given(DAY), noon(), DAY, renewal, dice);
        assert_eq!(after_noon(due), expected, "{renewal:?} {dice}");
    }
}

#[test]
fn numbers_that_are_none_are_no_panic() {
    let odd = Renewal { ratio: f64::NAN, jitter: f64::INFINITY };
    assert_eq!(renew_at(given(DAY), noon(), DAY, odd, f64::NAN), noon() + DAY);
    let due = renew_at(given(DAY), noon(), DAY, EXACT, f64::NAN);
    assert_eq!(after_noon(due), 12 * HOUR);
}

#[test]
fn certificates_are_spaced_by_a_twentieth_but_never_by_more_than_a_quarter() {
    let table = [(24 * HOUR, 4320), (HOUR, 180), (MINUTE, 15), (Duration::from_secs(4), 1)];
    for (life, seconds) in table {
        assert_eq!(spacing(life), Duration::from_secs(seconds), "{life:?}");
    }
}

#[test]
fn a_clock_that_is_ahead_makes_no_storm_and_misses_no_renewal() {
    // By how much the clock is ahead, and after how many minutes by it the next one is due.
    let table = [(0, 720), (6, 540), (20, 120), (22, 72), (23, 45)];
    for (ahead, minutes) in table {
        let now = noon() + ahead * HOUR;
        let due = renew_at(given(DAY), now, DAY, EXACT, 0.5);
        assert_eq!(due.duration_since(now).unwrap(), minutes * MINUTE, "{ahead} h ahead");
        assert!(due < noon() + DAY, "it can still be shown then");
    }
    let now = noon() + 25 * HOUR;
    assert_eq!(renew_at(given(DAY), now, DAY, EXACT, 0.5), now + Duration::from_secs(5));
}

#[test]
fn a_clock_that_is_behind_puts_no_renewal_off() {
    let now = noon() - 3 * DAY;
    let due = renew_at(given(DAY), now, DAY, EXACT, 0.5);
    assert_eq!(due.duration_since(now).unwrap(), (DAY + BACKDATED) / 2);
}

#[test]
fn a_life_cut_short_by_the_authority_is_what_counts() {
    let due = renew_at(given(5 * MINUTE), noon(), DAY, EXACT, 0.5);
    assert_eq!(after_noon(due), 150 * Duration::from_secs(1));
}

#[test]
fn a_short_life_is_renewed_in_time() {
    for seconds in [2_u64, 6, 60] {
        let ttl = Duration::from_secs(seconds);
        let due = after_noon(renew_at(given(ttl), noon(), ttl, EXACT, 0.5));
        assert_eq!(due, ttl / 2, "{seconds}");
    }
}

#[test]
fn after_a_restart_the_beginning_counts() {
    let life = Life { begin: noon(), end: noon() + DAY };
    assert_eq!(after_noon(resume_at(life, EXACT, 0.5)), 12 * HOUR);
    assert_eq!(life.three_quarters(), noon() + 18 * HOUR);
}

#[test]
fn attempts_are_never_so_far_apart_that_a_short_life_ends_in_between() {
    let table =
        [(24 * HOUR, 72 * MINUTE), (HOUR, 3 * MINUTE), (MINUTE, 3 * Duration::from_secs(1))];
    for (life, expected) in table {
        assert_eq!(longest_wait(life), expected);
    }
    assert_eq!(longest_wait(Duration::from_secs(4)), Duration::from_secs(1));
}

#[test]
fn a_certificate_tells_how_far_the_clock_is_off() {
    let table = [
        (given(DAY), noon() + 30 * Duration::from_secs(1), None),
        (given(DAY), noon() + 3 * HOUR, Some(Skew::Ahead(3 * HOUR))),
        (given(DAY), noon() + 30 * HOUR, Some(Skew::Ahead(30 * HOUR))),
        (given(DAY), noon() - 90 * Duration::from_secs(1), Some(Skew::Behind(MINUTE * 3 / 2))),
        (given(DAY), noon() - 40 * DAY, Some(Skew::Behind(40 * DAY))),
        // Another life than was asked for says nothing.
        (given(HOUR), noon() + 3 * HOUR, None),
        (given(9 * DAY), noon() - DAY, None),
    ];
    for (life, now, expected) in table {
        assert_eq!(skew(life, now, DAY), expected, "{:?}", now.duration_since(noon()));
    }
}
