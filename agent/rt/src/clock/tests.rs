//! The clock that a hand moves, and the system's own.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::{Duration, UNIX_EPOCH},
};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Polls once: `None` while it waits.
async fn now<T>(future: &mut Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn the_default_is_the_systems_clock() {
    let before = SystemTime::now();

    let now = Clock::default().now();

    assert!(before <= now && now <= SystemTime::now());
}

#[tokio::test]
async fn what_is_over_is_due_at_once() {
    let (manual, _hand) = Clock::manual(start());
    for clock in [Clock::default(), manual] {
        let now = clock.now();
        for due in [now, now - HOUR, UNIX_EPOCH, UNIX_EPOCH - HOUR * 24 * 365 * 100] {
            assert_eq!(clock.wait(due).await, Woke::Due, "{due:?}");
        }
    }
}

#[tokio::test]
async fn the_systems_clock_wakes_when_it_is_due_and_not_before() {
    let clock = Clock::default();
    let due = clock.now() + Duration::from_millis(60);
    let mut polls = 0;
    let mut wait = pin!(clock.wait(due));

    let woke = poll_fn(|cx| {
        polls += 1;
        wait.as_mut().poll(cx)
    })
    .await;

    assert_eq!(woke, Woke::Due);
    assert!(clock.now() >= due);
    assert!(polls <= 3, "asked once, woken once, and perhaps early by the runtime: {polls}");
}

#[tokio::test]
async fn a_date_beyond_reckoning_is_waited_for() {
    let clock = Clock::default();
    let year_9999 = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let last = (0..64).rev().fold(UNIX_EPOCH, |time, bit| {
        time.checked_add(Duration::from_secs(1 << bit)).unwrap_or(time)
    });
    for due in [clock.now() + HOUR, year_9999, UNIX_EPOCH + HOUR * 24 * 365 * 293, last] {
        tokio::select! {
            biased;
            woke = clock.wait(due) => panic!("{woke:?} for {due:?}"),
            woke = clock.wait(clock.now() + Duration::from_millis(20)) => {
                assert_eq!(woke, Woke::Due);
            }
        }
    }
}

#[tokio::test]
async fn waits_on_one_clock_do_not_disturb_each_other() {
    let clock = Clock::default();
    let now = clock.now();
    let wait = |millis| {
        let clock = clock.clone();
        async move { clock.wait(now + Duration::from_millis(millis)).await }
    };

    let woke = tokio::join!(wait(30), wait(10), wait(20), wait(10));

    assert_eq!(woke, (Woke::Due, Woke::Due, Woke::Due, Woke::Due));
}

#[tokio::test]
async fn a_manual_clock_stands_until_it_is_moved() {
    let (clock, hand) = Clock::manual(start());
    let mut wait = pin!(clock.wait(start() + HOUR));

    assert_eq!(now(&mut wait).await, None);
    assert_eq!((clock.now(), hand.now()), (start(), start()));

    hand.advance(HOUR / 2);
    assert_eq!(now(&mut wait).await, None);
    assert_eq!(clock.now(), start() + HOUR / 2);

    hand.advance(HOUR / 2);
    assert_eq!(now(&mut wait).await, Some(Woke::Due));
}

#[tokio::test]
async fn a_clock_that_is_set_wakes_everybody() {
    let day = 24 * HOUR;
    let cases = [
        ("back by a day", start() - day, [Woke::Stepped, Woke::Stepped]),
        ("ahead, before both", start() + HOUR / 2, [Woke::Stepped, Woke::Stepped]),
        ("ahead, between them", start() + HOUR, [Woke::Due, Woke::Stepped]),
        ("ahead by a day", start() + day, [Woke::Due, Woke::Due]),
        ("to what it shows", start(), [Woke::Stepped, Woke::Stepped]),
    ];
    for (what, to, expected) in cases {
        let (clock, hand) = Clock::manual(start());
        let mut soon = pin!(clock.wait(start() + HOUR));
        let mut late = pin!(clock.wait(start() + 2 * HOUR));
        assert_eq!((now(&mut soon).await, now(&mut late).await), (None, None));

        hand.set(to);

        let woke = [now(&mut soon).await.unwrap(), now(&mut late).await.unwrap()];
        assert_eq!(woke, expected, "{what}");
        assert_eq!(clock.now(), to, "{what}");
    }
}

#[tokio::test]
async fn time_that_passes_wakes_only_whose_time_has_come() {
    let (clock, hand) = Clock::manual(start());
    let mut soon = pin!(clock.wait(start() + HOUR));
    let mut same = pin!(clock.wait(start() + HOUR));
    let mut late = pin!(clock.wait(start() + 2 * HOUR));
    assert_eq!(
        (now(&mut soon).await, now(&mut same).await, now(&mut late).await),
        (None, None, None)
    );

    hand.advance_to(start() + HOUR);

    assert_eq!(now(&mut soon).await, Some(Woke::Due));
    assert_eq!(now(&mut same).await, Some(Woke::Due));
    assert_eq!(now(&mut late).await, None);
    hand.advance_to(start());
    assert_eq!(hand.now(), start() + HOUR, "time does not pass backwards");
    hand.advance(Duration::MAX);
    assert_eq!(hand.now(), start() + HOUR, "nor beyond all time");
}

#[tokio::test]
async fn the_hand_learns_who_waits_and_forgets_who_stopped() {
    let (clock, hand) = Clock::manual(start());
    let mut awaited = pin!(hand.awaited());
    assert_eq!(now(&mut awaited).await, None);

    let mut late = pin!(clock.wait(start() + 2 * HOUR));
    assert_eq!(now(&mut late).await, None);
    assert_eq!(now(&mut awaited).await, Some(start() + 2 * HOUR));
    {
        let mut soon = pin!(clock.wait(start() + HOUR));
        assert_eq!(now(&mut soon).await, None);
        assert_eq!(hand.awaited().await, start() + HOUR);
    }
    assert_eq!(hand.awaited().await, start() + 2 * HOUR, "given up");

    hand.advance_to(start() + 2 * HOUR);
    assert_eq!(now(&mut pin!(hand.awaited())).await, None, "woken, though not yet run");
    assert_eq!(late.await, Woke::Due);
}

#[tokio::test]
async fn a_clock_without_hands_stands_and_harms_nobody() {
    let (clock, hand) = Clock::manual(start());
    let mut wait = pin!(clock.wait(start() + HOUR));
    assert_eq!(now(&mut wait).await, None);

    drop(hand);

    assert_eq!(now(&mut wait).await, None);
    assert_eq!(clock.now(), start());
}

/// Two months of renewals at half of a day's life, and a second waiter in between.
#[tokio::test]
async fn two_months_go_by_in_order_and_in_no_time() {
    const WAITS: u32 = 120;
    let (clock, hand) = Clock::manual(start());
    let every = |period: Duration, times: u32| {
        let clock = clock.clone();
        async move {
            let mut woken = Vec::new();
            for _ in 0..times {
                let due = clock.now() + period;
                assert_eq!(clock.wait(due).await, Woke::Due);
                woken.push(clock.now().duration_since(start()).unwrap());
            }
            woken
        }
    };
    let time = async {
        loop {
            hand.advance_to(hand.awaited().await);
        }
    };

    let (renewals, checks) = tokio::select! {
        done = async { tokio::join!(every(12 * HOUR, WAITS), every(18 * HOUR, WAITS / 2)) } => done,
        () = time => panic!("time has no end"),
    };

    assert!(renewals.iter().zip(1..).all(|(at, count)| *at == 12 * HOUR * count), "{renewals:?}");
    assert!(checks.iter().zip(1..).all(|(at, count)| *at == 18 * HOUR * count), "{checks:?}");
    assert_eq!(renewals.len(), 120);
}
