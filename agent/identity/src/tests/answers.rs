//! Answers of the authority that are not good enough.

use hawser_harness::istiod::{Refuse, Wrong};
use tonic::Code;

use super::rig::*;

/// A machine whose authority has answered well once, and does so no more.
async fn spoiled(wrong: Wrong) -> (Rig, Running) {
    let rig = Rig::new().await;
    let mut running = rig.start();
    running.told(|progress| progress.obtained.is_some()).await;
    rig.istiod.faults(|faults| faults.ca = Some(wrong));
    running.renew.notify_one();
    (rig, running)
}

#[tokio::test]
async fn what_is_not_good_enough_is_named_counted_and_takes_nothing_away() {
    let other = "spiffe://cluster.local/ns/ns/sa/other".to_owned();
    let table = [
        (Wrong::Empty, "without a certificate chain", true),
        (Wrong::Short, "without a certificate chain", true),
        (Wrong::NotPem, "with a certificate that cannot be used: no certificate found", true),
        (Wrong::Identity(other), "has issued spiffe://cluster.local/ns/ns/sa/other", true),
        (Wrong::Key, "private key does not fit", true),
        (Wrong::Root, "does not chain to any of the 1 trusted roots", true),
        (Wrong::Expired(3 * DAY), "has expired 3 d 0 h ago", true),
        (Wrong::NotYetValid(3 * HOUR), "valid in 2 h 5", true),
        (Wrong::Undecodable, "refuses", false),
        (Wrong::Truncated, "refuses", false),
        (Wrong::Cut, "refuses", false),
    ];
    for (wrong, expected, answered) in table {
        let (_rig, mut running) = spoiled(wrong.clone()).await;
        let before = running.served();

        let progress = running.failures(1).await;

        let trouble = progress.trouble().unwrap();
        assert!(trouble.contains(expected), "{wrong:?}: {trouble}");
        assert_eq!(running.served().chain.pem(), before.chain.pem());
        assert_eq!((progress.asked, progress.failed), (2, 1));
        assert_eq!(progress.rejected.is_some(), answered, "{wrong:?}");
    }
}

#[tokio::test]
async fn an_authority_that_never_answers_is_given_up_and_asked_again() {
    let (rig, mut running) = spoiled(Wrong::Silence).await;
    let before = running.served();
    rig.istiod.until("a request", |seen| seen.csrs.len() == 2).await.unwrap();

    // Nothing happens any more until somebody's patience is at an end.
    tokio::time::pause();
    let trouble = running.trouble().await;
    tokio::time::resume();

    assert!(trouble.contains("does not answer within 10 s"), "{trouble}");
    assert_eq!(running.served().chain.pem(), before.chain.pem());
    rig.istiod.faults(|faults| faults.ca = None);
    rig.hand.awaited().await;
    rig.pass(MINUTE);
    running.renewed(&before).await;
}

#[tokio::test]
async fn one_key_serves_all_attempts_of_a_series_and_no_other() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    let refuse = Refuse::new(Code::Internal, "not ready");
    rig.istiod.faults(|faults| faults.refuse_ca = Some(refuse));
    running.renew.notify_one();
    for count in 1..4 {
        running.failures(count).await;
        rig.hand.awaited().await;
        rig.pass(MINUTE);
    }
    running.failures(4).await;
    rig.istiod.faults(|faults| faults.refuse_ca = None);
    rig.hand.awaited().await;
    rig.pass(MINUTE);

    running.renewed(&first).await;

    let seen = rig.istiod.seen();
    let key = |csr: &hawser_harness::istiod::Csr| csr.request.clone().unwrap().public_key;
    let keys: Vec<_> = seen.csrs.iter().map(key).collect();
    let (before, series) = keys.split_first().unwrap();
    assert_eq!(series.len(), 5);
    assert!(series.iter().all(|key| key == &series[0]));
    assert_ne!(before, &series[0]);
}

#[tokio::test]
async fn a_certificate_that_begins_later_is_served_when_the_clock_comes_to_it() {
    let rig = Rig::new().await;
    rig.istiod.faults(|faults| faults.ca = Some(Wrong::NotYetValid(6 * MINUTE)));
    let mut running = rig.start();
    let trouble = running.trouble().await;
    assert!(trouble.contains("valid in 5 min only"), "{trouble}");
    assert!(trouble.contains("clock is behind"), "{trouble}");
    assert!(running.identity.borrow().is_none());

    rig.live_until(rig.hand.now() + 7 * MINUTE, || {}).await;

    running.identity().await;
    running.well().await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_of_once_while_that_is_harmless() {
    let log = Log::start();
    let rig = Rig::new().await;
    rig.hand.set(rig.time.now() + 5 * HOUR);
    rig.good_for(DAY);
    let mut running = rig.start();
    let first = running.identity().await;
    running.renew.notify_one();
    running.renewed(&first).await;

    assert_eq!(log.lines("clock is ahead of the authority's by=5 h 0 min"), 1);
}
