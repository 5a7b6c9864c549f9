//! What a restart finds.

use hawser_state::write_file;

use super::rig::*;
use crate::{AtRest, FILE};

const OTHER: &str = "spiffe://cluster.local/ns/ns/sa/other";

#[tokio::test]
async fn what_was_kept_for_somebody_else_is_set_aside() {
    let rig = Rig::new().await;
    rig.start().identity().await;
    let claims = hawser_harness::token::Claims { service_account: "other".into(), ..rig.claims() };
    rig.token(&rig.istiod.tokens().mint(&claims).unwrap());

    let identity = rig.start_as(Plan { id: OTHER, ..Plan::default() }).identity().await;

    assert_eq!(identity.spiffe_id().unwrap().service_account(), "other");
    assert_eq!(aside(&rig.state()), 1);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_another_certificate_obtained() {
    let rig = Rig::new().await;
    rig.start().identity().await;
    let file = rig.state().join(FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write_file(&file, 0o600, &bytes).unwrap();

    rig.start().identity().await;

    assert_eq!(rig.istiod.seen().csrs.len(), 2);
    assert_eq!(aside(&rig.state()), 1);
}

#[tokio::test]
async fn an_expired_pair_is_not_served_and_its_roots_are_believed() {
    let rig = Rig::new().await;
    let first = rig.start().identity().await;
    rig.pass(2 * DAY);
    rig.no_token();

    let mut running = rig.start();

    running.trouble().await;
    assert!(running.identity.borrow().is_none());
    assert_eq!(running.learned.borrow().as_ref().unwrap().pem(), first.roots.pem());
    assert_eq!(aside(&rig.state()), 0);
}

#[tokio::test]
async fn it_is_sealed_from_the_start_that_has_a_key_on() {
    let rig = Rig::new().await;
    let first = rig.start().identity().await;

    let mut sealed = rig.start_as(Plan { seal: Some(7), ..Plan::default() });
    assert_eq!(sealed.identity().await.chain.pem(), first.chain.pem());
    sealed.at_rest(|at_rest| *at_rest == AtRest::Sealed).await;
    drop(sealed);

    let mut again = rig.start_as(Plan { seal: Some(7), ..Plan::default() });
    assert_eq!(again.identity().await.chain.pem(), first.chain.pem());
    assert_eq!(rig.istiod.seen().csrs.len(), 1);
}

#[tokio::test]
async fn a_seal_that_is_lost_costs_a_certificate_and_destroys_nothing() {
    let rig = Rig::new().await;
    let first = rig.start_as(Plan { seal: Some(7), ..Plan::default() }).identity().await;

    let mut plain = rig.start();
    let second = plain.identity().await;

    assert_ne!(second.chain.pem(), first.chain.pem());
    plain.at_rest(|at_rest| *at_rest == AtRest::Plain).await;
    assert_eq!(aside(&rig.state()), 1);
}

#[tokio::test]
async fn what_cannot_be_kept_is_served_from_memory_and_tried_again() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    // A directory that is gone can be written to by nobody, not even by root.
    let away = rig.path("away");
    std::fs::rename(rig.state(), &away).unwrap();
    running.renew.notify_one();
    let second = running.renewed(&first).await;
    let why = running.at_rest(|at_rest| matches!(at_rest, AtRest::NotKept(_))).await;
    assert!(matches!(why, AtRest::NotKept(why) if why.contains("No such file")), "");

    rig.pass(5 * MINUTE);
    running.at_rest(|at_rest| matches!(at_rest, AtRest::NotKept(_))).await;
    std::fs::rename(&away, rig.state()).unwrap();
    rig.hand.awaited().await;
    rig.pass(5 * MINUTE);

    running.at_rest(|at_rest| *at_rest == AtRest::Plain).await;
    assert_eq!(rig.start().identity().await.chain.pem(), second.chain.pem());
    assert_eq!(rig.istiod.seen().csrs.len(), 2);
}
