//! Clocks that are wrong, or put right.

use super::rig::*;

#[tokio::test]
async fn a_clock_set_back_before_the_certificate_is_told_at_once_and_heals_by_itself() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    let right = rig.hand.awaited().await;
    rig.hand.set(rig.hand.now() - DAY);

    let trouble = running.trouble().await;
    assert!(trouble.contains("before the beginning of its certificate"), "{trouble}");
    assert!(trouble.contains("timedatectl"), "{trouble}");

    rig.hand.awaited().await;
    rig.hand.set(rig.hand.now() + DAY);

    running.well().await;
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    assert_eq!(rig.istiod.seen().csrs.len(), 1);
    assert!(right.duration_since(rig.hand.awaited().await).unwrap() < 2 * MINUTE);
}

#[tokio::test]
async fn a_clock_set_forward_past_the_renewal_is_noticed_at_once() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    rig.hand.awaited().await;

    rig.hand.set(rig.hand.now() + 13 * HOUR);

    running.renewed(&first).await;
}

#[tokio::test]
async fn a_clock_that_is_hours_ahead_makes_no_storm_and_needs_no_token() {
    let rig = Rig::new().await;
    rig.hand.set(rig.time.now() + 20 * HOUR);
    let mut running = rig.start();
    running.identity().await;
    rig.no_token();

    rig.live_until(rig.hand.now() + 2 * DAY, || {}).await;

    running.well().await;
    let asked = rig.istiod.seen().csrs.len();
    assert!((20..30).contains(&asked), "{asked} in two days");
}

#[tokio::test]
async fn a_clock_that_is_ahead_of_all_certificates_is_named_and_makes_no_storm() {
    let rig = Rig::new().await;
    rig.hand.set(rig.time.now() + 9 * HOUR);
    rig.good_for(20 * DAY);
    let mut running = rig.start_as(Plan { ttl: HOUR, ..Plan::default() });

    rig.live_until(rig.hand.now() + HOUR, || {}).await;

    let trouble = running.trouble().await;
    assert!(trouble.contains("this machine's clock is 9 h 0 min ahead"), "{trouble}");
    let asked = rig.istiod.seen().csrs.len();
    assert!(asked < 30, "{asked} in an hour");
}

#[tokio::test]
async fn a_clock_that_was_wrong_for_a_while_leaves_no_trouble_behind() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    rig.hand.awaited().await;
    rig.no_token();
    rig.hand.set(rig.hand.now() + 2 * DAY);
    running.trouble().await;
    rig.hand.awaited().await;

    rig.hand.set(rig.hand.now() - 2 * DAY);

    running.well().await;
    assert_eq!(running.served().chain.pem(), first.chain.pem());
}

#[tokio::test]
async fn a_boot_in_1970_serves_what_was_kept_as_soon_as_the_clock_is_right() {
    let rig = Rig::new().await;
    let first = rig.start().identity().await;
    rig.no_token();
    let right = rig.hand.now();
    rig.hand.set(std::time::SystemTime::UNIX_EPOCH + HOUR);

    let mut running = rig.start();
    let trouble = running.trouble().await;
    assert!(trouble.contains("clock"), "{trouble}");
    assert!(running.identity.borrow().is_none());
    assert_eq!(aside(&rig.state()), 0);
    rig.hand.awaited().await;
    rig.hand.set(right + HOUR);

    assert_eq!(running.identity().await.chain.pem(), first.chain.pem());
    running.well().await;
}
