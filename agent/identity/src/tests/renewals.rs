//! What a renewal does and does not do.

use hawser_harness::{
    istiod::{Reach, Refuse},
    wait::until,
};
use tonic::Code;

use super::rig::*;
use crate::{AtRest, kept};
use hawser_pki::SpiffeId;
use hawser_state::Store;

#[tokio::test]
async fn a_token_becomes_an_identity_that_is_kept() {
    let rig = Rig::new().await;

    let mut running = rig.start();

    let identity = running.identity().await;
    assert_eq!(identity.name().to_owned(), VM);
    running.gates.all_open().await;
    let progress = running.told(|progress| progress.obtained.is_some()).await;
    assert_eq!((progress.trouble(), progress.asked, progress.failed), (None, 1, 0));
    assert_eq!((progress.source.as_str(), progress.at_rest), ("istiod", AtRest::Plain));
    assert!(progress.obtained.unwrap().credential.starts_with("token file "));
    let store = Store::open(&rig.state()).unwrap();
    let kept = kept(&store, None, &SpiffeId::parse(VM).unwrap()).unwrap().unwrap();
    assert_eq!(kept.identity.chain.pem(), identity.chain.pem());
    let seen = rig.istiod.seen();
    assert_eq!((seen.csrs.len(), seen.csrs[0].code), (1, Code::Ok));
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_old_pair_and_is_told_once_at_both_ends() {
    let log = Log::start();
    let rig = Rig::new().await;
    rig.good_for(MINUTE);
    let mut running = rig.start_as(Plan { ttl: HOUR, ..Plan::default() });
    let first = running.identity().await;
    let end = first.not_after();
    rig.istiod.faults(|faults| {
        faults.refuse_ca = Some(Refuse::new(Code::Unavailable, "not now"));
    });

    rig.live_until(end, || {
        assert_eq!(running.served().chain.pem(), first.chain.pem());
    })
    .await;

    let progress = running.failures(20).await;
    let trouble = progress.trouble().unwrap();
    assert!(trouble.contains("not now"), "{trouble}");
    assert!(trouble.contains("there is nothing else to show"), "{trouble}");
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    assert_eq!(log.lines("no new certificate"), 1);
    assert_eq!(log.lines("certificate obtained again"), 0);

    rig.istiod.faults(|faults| faults.refuse_ca = None);
    running.renew.notify_one();

    running.renewed(&first).await;
    running.well().await;
    assert_eq!(log.lines("no new certificate"), 1);
    assert_eq!(log.lines("certificate obtained again"), 1);
}

#[tokio::test]
async fn a_renewal_that_somebody_asks_for_is_made_at_once() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;

    running.renew.notify_one();

    let second = running.renewed(&first).await;
    assert_eq!(second.spiffe_id(), first.spiffe_id());
    assert_eq!(rig.istiod.seen().csrs.len(), 2);
}

#[tokio::test]
async fn what_was_kept_is_served_without_anybody_being_asked() {
    let rig = Rig::new().await;
    let first = rig.start().identity().await;
    rig.istiod.reach(Reach::Down).await.unwrap();
    rig.no_token();

    let mut running = rig.start();

    let second = running.identity().await;
    assert_eq!(second.chain.pem(), first.chain.pem());
    running.gates.all_open().await;
    assert_eq!(rig.istiod.seen().csrs.len(), 1);
    assert_eq!(running.learned.borrow().as_ref().unwrap().pem(), first.roots.pem());
}

#[tokio::test]
async fn what_was_kept_is_renewed_behind_it_when_that_is_due() {
    let rig = Rig::new().await;
    let first = rig.start().identity().await;
    rig.pass(13 * HOUR);

    let mut running = rig.start();

    let served = running.identity().await;
    assert_eq!(served.chain.pem(), first.chain.pem());
    running.renewed(&first).await;
}

#[tokio::test]
async fn restarts_do_not_put_a_renewal_off() {
    let rig = Rig::new().await;
    let first = rig.start().identity().await;
    rig.pass(11 * HOUR);
    let mut running = rig.start();
    assert_eq!(running.identity().await.chain.pem(), first.chain.pem());

    let due = rig.hand.awaited().await;

    let life = first.not_after().duration_since(first.not_before()).unwrap();
    assert_eq!(due, first.not_before() + life / 2);
}

#[tokio::test]
async fn istiod_away_is_waited_for_and_counted() {
    let rig = Rig::new().await;
    rig.istiod.reach(Reach::Down).await.unwrap();
    let mut running = rig.start();
    let trouble = running.trouble().await;
    assert!(trouble.contains("cannot connect to istiod.istio-system.svc"), "{trouble}");
    assert_eq!(running.gates.closed(), ["identity"]);
    rig.istiod.reach(Reach::Up).await.unwrap();

    rig.pass(MINUTE);

    running.identity().await;
    running.well().await;
    let text = running.metrics.render();
    for line in [
        "istio_agent_num_outgoing_requests{request_type=\"csr\"} 2",
        "istio_agent_num_failed_outgoing_requests{request_type=\"csr\"} 1",
        "istio_agent_num_outgoing_retries{request_type=\"csr\"} 0",
        "istio_agent_cert_expiry_seconds{resource_name=\"default\"} 863",
        "hawser_token_expiry_seconds 35",
        "hawser_roots_expiry_seconds 3",
        "istio_agent_num_file_watcher_failures_total 0",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line} in\n{text}");
    }
    until("no trouble", &mut running.progress, |p| p.wrong.is_none()).await.unwrap();
}
