//! The provider while it answers, else the authority.

use super::{
    provider::{Given, socket},
    rig::*,
};
use crate::{AtRest, Source, Speaks};

fn plan(rig: &Rig) -> Plan {
    Plan { source: Source::Auto { socket: socket(rig), speaks: Speaks::Either }, ..Plan::default() }
}

#[tokio::test]
async fn without_a_provider_the_authority_is_asked_and_nothing_is_wrong() {
    let rig = Rig::new().await;

    let mut running = rig.start_as(plan(&rig));

    running.identity().await;
    let progress = running.told(|progress| progress.at_rest == AtRest::Plain).await;
    assert_eq!((progress.source.as_str(), progress.wrong), ("istiod", None));
}

#[tokio::test]
async fn a_provider_that_answers_is_the_source() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);

    let mut running = rig.start_as(plan(&rig));

    let identity = running.identity().await;
    assert_eq!(identity.roots.pem(), given.ca.root_pem());
    running.told(|progress| progress.source == "SPIFFE provider").await;
    assert!(rig.istiod.seen().csrs.is_empty());
}

#[tokio::test]
async fn a_socket_that_nobody_listens_at_does_not_hold_the_authority_up() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    given.spire.die().await;

    let mut running = rig.start_as(plan(&rig));

    running.identity().await;
    running.told(|progress| progress.source == "istiod").await;
    assert!(socket(&rig).exists());
}

#[tokio::test]
async fn a_provider_that_appears_takes_over() {
    let rig = Rig::new().await;
    let mut running = rig.start_as(plan(&rig));
    let own = running.identity().await;

    let given = Given::start(&rig);

    let identity = running.renewed(&own).await;
    assert_eq!(identity.roots.pem(), given.ca.root_pem());
    running.told(|progress| progress.source == "SPIFFE provider").await;
}

#[tokio::test]
async fn one_that_is_gone_is_waited_for_until_three_quarters_of_its_pair_are_over() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;
    given.spire.vanish().await.unwrap();
    running.trouble().await;

    rig.live_until(rig.time.now() + 44 * MINUTE, || {}).await;
    assert!(rig.istiod.seen().csrs.is_empty());
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    rig.live_until(rig.time.now() + 3 * MINUTE, || {}).await;

    let second = running.renewed(&first).await;
    assert_eq!(second.roots.pem(), rig.istiod.ca().root_pem());
    running.told(|progress| progress.source == "istiod" && progress.wrong.is_none()).await;

    given.give();
    given.spire.come_back().unwrap();
    let third = running.renewed(&second).await;
    assert_eq!(third.roots.pem(), given.ca.root_pem());
    running.told(|progress| progress.source == "SPIFFE provider").await;
    assert_eq!(rig.istiod.seen().csrs.len(), 1);
}

#[tokio::test]
async fn a_pair_of_our_own_is_served_when_provider_and_authority_are_gone() {
    let rig = Rig::new().await;
    let mut running = rig.start_as(plan(&rig));
    let own = running.identity().await;
    let given = Given::start(&rig);
    let theirs = running.renewed(&own).await;
    given.spire.vanish().await.unwrap();
    rig.istiod.reach(hawser_harness::istiod::Reach::Down).await.unwrap();

    rig.live_until(rig.time.now() + 50 * MINUTE, || {}).await;

    let again = running.renewed(&theirs).await;
    assert_eq!(again.chain.pem(), own.chain.pem());
}

#[tokio::test]
async fn what_was_kept_is_served_until_the_provider_answers() {
    let rig = Rig::new().await;
    let own = rig.start().identity().await;
    rig.no_token();
    let given = Given::start(&rig);
    given.spire.manner(hawser_harness::spire::Manner::Silent);

    let mut running = rig.start_as(plan(&rig));
    assert_eq!(running.identity().await.chain.pem(), own.chain.pem());
    given.spire.manner(hawser_harness::spire::Manner::Serves);

    let theirs = running.renewed(&own).await;
    assert_eq!(theirs.roots.pem(), given.ca.root_pem());
}

#[tokio::test]
async fn one_that_only_repeats_itself_gives_way_to_the_authority() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let mut running = rig.start_as(plan(&rig));
    let theirs = running.identity().await;

    rig.live_until(rig.time.now() + 50 * MINUTE, || {}).await;
    let own = running.renewed(&theirs).await;
    rig.live_until(rig.time.now() + 5 * HOUR, || {}).await;
    assert_eq!(running.served().chain.pem(), own.chain.pem());
    assert!(given.spire.seen().streams > 5);
    assert_eq!(running.progress.borrow().wrong, None);

    given.give();
    rig.settled().await;
    rig.pass(MINUTE);
    let theirs = running.renewed(&own).await;
    assert_eq!(theirs.roots.pem(), given.ca.root_pem());
}
