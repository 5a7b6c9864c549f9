//! What is shown, and what becomes of it.

use hawser_harness::token::{Claims, TokenSigner};
use tonic::Code;

use super::rig::*;

#[tokio::test]
async fn a_refused_token_waits_for_another_which_is_used_at_once() {
    let rig = Rig::new().await;
    let stranger = TokenSigner::new().unwrap();
    rig.token(&stranger.mint(&rig.claims()).unwrap());
    let mut running = rig.start();
    let trouble = running.trouble().await;
    assert!(trouble.contains("request authenticate failure"), "{trouble}");
    assert!(trouble.contains("`hawser join`"), "{trouble}");
    assert_eq!(running.gates.closed(), ["identity"]);

    rig.good_token();

    running.identity().await;
    running.well().await;
}

#[tokio::test]
async fn without_a_token_the_remedy_is_named() {
    let rig = Rig::new().await;
    rig.no_token();

    let trouble = rig.start().trouble().await;

    assert!(trouble.contains("token file "), "{trouble}");
    assert!(trouble.contains("not there"), "{trouble}");
    assert!(trouble.contains("`hawser join`"), "{trouble}");
}

#[tokio::test]
async fn an_expired_token_is_named_although_istiod_does_not_say_so() {
    let rig = Rig::new().await;
    let claims = Claims { expires: rig.time.now() - 3 * HOUR, ..rig.claims() };
    rig.token(&rig.istiod.tokens().mint(&claims).unwrap());

    let trouble = rig.start().trouble().await;

    assert!(trouble.contains("expired 3 h"), "{trouble}");
}

#[tokio::test]
async fn a_token_that_comes_while_the_pair_has_expired_is_used_at_once() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    rig.no_token();
    rig.pass(30 * DAY);
    let trouble = running.failures(1).await.trouble().unwrap();
    assert!(trouble.contains("own certificate: expired"), "{trouble}");

    rig.good_token();

    running.renewed(&first).await;
    running.well().await;
}

#[tokio::test]
async fn a_valid_certificate_wins_over_a_token_of_somebody_else() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    let other = Claims { service_account: "other".to_owned(), ..rig.claims() };
    rig.token(&rig.istiod.tokens().mint(&other).unwrap());
    running.renew.notify_one();

    let second = running.renewed(&first).await;

    assert_eq!(second.spiffe_id(), first.spiffe_id());
    running.well().await;
}

#[tokio::test]
async fn where_certificates_are_ignored_the_token_is_shown_in_the_same_attempt() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    rig.istiod.faults(|faults| faults.ignores_certificates = true);
    rig.good_token();
    running.renew.notify_one();

    running.renewed(&first).await;

    let progress = running.told(|progress| progress.asked == 2).await;
    assert_eq!(progress.failed, 0);
    rig.no_token();
    running.renew.notify_one();
    let trouble = running.trouble().await;
    assert!(trouble.contains("ignored by istiod.istio-system.svc"), "{trouble}");
    assert!(trouble.contains("a token has to be kept fresh"), "{trouble}");
    rig.good_token();
    running.well().await;
}

#[tokio::test]
async fn a_certificate_that_tls_rejects_falls_back_to_the_token_in_the_same_attempt() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    rig.istiod.faults(|faults| faults.rejects_certificates = true);
    running.renew.notify_one();

    running.renewed(&first).await;

    let progress = running.told(|progress| progress.asked == 2).await;
    assert_eq!(progress.failed, 0);
    assert!(progress.obtained.unwrap().credential.starts_with("token file "));
}

#[tokio::test]
async fn with_nothing_that_is_believed_it_is_told_early_what_the_machine_lives_on() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    running.identity().await;
    rig.istiod.faults(|faults| faults.rejects_certificates = true);
    rig.no_token();
    running.renew.notify_one();

    let trouble = running.trouble().await;

    assert!(trouble.contains("certificate is valid for 23 h 59 min more"), "{trouble}");
    assert!(trouble.contains("nothing else to show"), "{trouble}");
    assert!(trouble.contains("`hawser join`"), "{trouble}");
}

#[tokio::test]
async fn an_identity_of_somebody_else_is_not_served() {
    let rig = Rig::new().await;

    let mut running =
        rig.start_as(Plan { id: "spiffe://cluster.local/ns/ns/sa/other", ..Plan::default() });

    let trouble = running.trouble().await;
    assert!(trouble.contains("has issued spiffe://cluster.local/ns/ns/sa/vm"), "{trouble}");
    assert!(running.identity.borrow().is_none());
    let progress = running.told(|progress| progress.rejected.is_some()).await;
    assert!(progress.rejected.unwrap().contains("has issued"));
    assert_eq!(rig.istiod.seen().csrs[0].code, Code::Ok);
}

#[tokio::test]
async fn what_can_be_shown_is_counted() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    running.identity().await;
    let text = running.metrics.render();
    assert!(text.contains("hawser_token_expiry_seconds"), "{text}");
    assert!(!text.contains("hawser_provisioned_expiry_seconds "), "{text}");
}

#[tokio::test]
async fn a_token_of_somebody_else_does_not_stand_before_a_good_one() {
    let rig = Rig::new().await;
    let other = Claims { service_account: "other".to_owned(), ..rig.claims() };
    rig.token(&rig.istiod.tokens().mint(&other).unwrap());
    rig.write("spare", &rig.istiod.tokens().mint(&rig.claims()).unwrap());

    let mut running = rig.start();

    assert_eq!(running.identity().await.name().to_owned(), VM);
    assert_eq!(running.progress.borrow().failed, 0);
    assert_eq!(rig.istiod.seen().csrs.len(), 2);
}
