//! Addresses and what was met with at them, on a clock of the test's own.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn spot(endpoint: usize, last: u8) -> Spot {
    Spot { endpoint, address: SocketAddr::from(([10, 0, 0, last], 15012)) }
}

/// Two endpoints with two addresses each.
fn all() -> Vec<Candidate> {
    let spots = [spot(1, 4), spot(0, 1), spot(1, 3), spot(0, 2)];
    spots.into_iter().zip(0..).map(|(spot, lot)| Candidate { spot, lot }).collect()
}

/// The last octets in the order in which they are tried.
fn order(health: &Health, now: Instant) -> Vec<u8> {
    let mut left = all();
    let mut order = Vec::new();
    while let Some(place) = health.first(&left, now) {
        let spot = left.remove(place).spot;
        let last = (1..10).find(|last| spot.address == self::spot(spot.endpoint, *last).address);
        order.push(last.unwrap());
    }
    order
}

#[test]
fn endpoints_go_in_the_given_order_and_their_addresses_by_lot() {
    assert_eq!(order(&Health::default(), Instant::now()), [1, 2, 4, 3]);
}

#[test]
fn what_has_failed_lately_goes_behind_and_is_never_left_out() {
    let (mut health, now) = (Health::default(), Instant::now());

    health.failed(spot(0, 1), now, 0.0);
    assert_eq!(order(&health, now), [2, 4, 3, 1]);
    health.failed(spot(0, 2), now + SECOND, 0.0);
    assert_eq!(order(&health, now + SECOND), [4, 3, 1, 2], "the one that waits longest first");
    for (endpoint, last) in [(1, 4), (1, 3)] {
        health.failed(spot(endpoint, last), now + 2 * SECOND, 0.0);
    }
    assert_eq!(order(&health, now + 2 * SECOND), [1, 2, 4, 3]);
    assert_eq!(order(&health, now + 6 * SECOND), [1, 2, 4, 3], "all but the first two wait");
}

#[test]
fn the_time_behind_grows_to_four_minutes_and_is_cut_by_chance() {
    let (mut health, mut now) = (Health::default(), Instant::now());
    let mut behind = |dice| {
        health.failed(spot(0, 1), now, dice);
        let until = health.avoided(spot(0, 1), now).unwrap();
        let behind = until - now;
        now = until;
        behind.as_secs()
    };

    let times: Vec<u64> = (0..8).map(|_| behind(0.0)).collect();
    assert_eq!(times, [5, 10, 20, 40, 80, 160, 240, 240]);
    assert_eq!((behind(0.5), behind(1.0), behind(f64::INFINITY)), (180, 120, 120));
}

#[test]
fn an_answer_makes_up_for_all_failures() {
    let (mut health, now) = (Health::default(), Instant::now());
    for _ in 0..9 {
        health.failed(spot(0, 1), now, 0.0);
    }

    health.accepted(spot(0, 1), now);

    assert_eq!(order(&health, now), [1, 2, 4, 3]);
    health.failed(spot(0, 1), now, 0.0);
    assert_eq!(health.avoided(spot(0, 1), now), Some(now + SHORTEST));
}

#[test]
fn failures_of_long_ago_do_not_count() {
    let (mut health, now) = (Health::default(), Instant::now());
    health.failed(spot(0, 1), now, 0.0);
    health.failed(spot(0, 1), now, 0.0);

    let later = now + 10 * SECOND + FORGOTTEN + SECOND;
    health.failed(spot(0, 1), later, 0.0);

    assert_eq!(health.avoided(spot(0, 1), later), Some(later + SHORTEST));
}

#[test]
fn the_addresses_that_have_worked_are_known_last_one_first() {
    let (mut health, now) = (Health::default(), Instant::now());
    health.accepted(spot(0, 1), now);
    health.accepted(spot(1, 3), now + SECOND);
    health.accepted(spot(0, 2), now + 2 * SECOND);
    health.failed(spot(0, 2), now + 3 * SECOND, 0.0);
    health.failed(spot(0, 9), now + 3 * SECOND, 0.0);

    assert_eq!(health.good(0), [spot(0, 2).address, spot(0, 1).address]);
    assert!(health.good(2).is_empty());
}

#[test]
fn addresses_that_come_and_go_take_no_more_room() {
    let (mut health, now) = (Health::default(), Instant::now());
    for port in 1..2000 {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        let later = now + Duration::from_millis(u64::from(port));
        health.failed(Spot { endpoint: 0, address }, later, 0.0);
    }

    assert_eq!(health.0.len(), MOST_RECORDS);
    let last = Spot { endpoint: 0, address: SocketAddr::from(([10, 0, 0, 1], 1999)) };
    assert!(health.avoided(last, now).is_some());
}
