//! Another program of the machine as the only source.

use std::path::PathBuf;

use hawser_harness::{
    ca::{Certified, OldRoot, Shape, TestCa, spiffe_id},
    spire::{FakeSpire, Manner},
};

use super::rig::*;
use crate::{AtRest, Source, Speaks};

/// A provider, and the authority that it has its certificates from.
pub(super) struct Given {
    pub(super) spire: FakeSpire,
    pub(super) ca: TestCa,
}

pub(super) fn socket(rig: &Rig) -> PathBuf {
    rig.path("spire/socket")
}

impl Given {
    pub(super) fn start(rig: &Rig) -> Self {
        let ca = rig.other_ca(Shape::Intermediate);
        let given = Self { spire: FakeSpire::start(&socket(rig)).unwrap(), ca };
        given.give();
        given
    }

    pub(super) fn pair(&self) -> Certified {
        self.ca.workload(&spiffe_id("ns", "vm"), HOUR).unwrap()
    }

    /// Another pair, with all roots.
    pub(super) fn give(&self) {
        self.spire.give(&self.pair(), &self.ca.root_pem());
    }
}

fn plan(rig: &Rig) -> Plan {
    Plan {
        source: Source::Provider { socket: socket(rig), speaks: Speaks::Either },
        ..Plan::default()
    }
}

/// Time passes until somebody looks again.
async fn next(rig: &Rig) {
    rig.settled().await;
    rig.pass(MINUTE);
    rig.settled().await;
}

#[tokio::test]
async fn what_the_provider_gives_is_served_and_nobody_else_is_asked() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);

    let mut running = rig.start_as(plan(&rig));

    let identity = running.identity().await;
    assert_eq!(identity.name().to_owned(), VM);
    running.gates.all_open().await;
    let progress = running.told(|progress| progress.at_rest == AtRest::NotOurs).await;
    assert_eq!((progress.source.as_str(), progress.wrong), ("SPIFFE provider", None));
    assert_eq!(running.trusted.borrow().as_ref().unwrap().pem(), given.ca.root_pem());
    assert!(!rig.state().join(crate::FILE).exists());
    assert!(rig.istiod.seen().csrs.is_empty());
    let seen = given.spire.until("an answer", |seen| seen.acks() > 0).await.unwrap();
    assert_eq!(seen.asked[0].names, ["default", "ROOTCA"]);
    assert!(seen.nacks().is_empty());
}

#[tokio::test]
async fn a_push_is_served_at_once() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let mut running = rig.start_as(plan(&rig));
    for _ in 0..3 {
        let before = running.identity().await;
        given.give();
        running.renewed(&before).await;
    }
    assert_eq!(given.spire.seen().streams, 1);
    assert_eq!(running.progress.borrow().wrong, None);
}

#[tokio::test]
async fn a_provider_that_is_not_there_yet_is_waited_for() {
    let rig = Rig::new().await;
    let mut running = rig.start_as(plan(&rig));
    let trouble = running.trouble().await;
    assert!(trouble.contains("nobody serves certificates at "), "{trouble}");
    assert_eq!(running.gates.closed(), ["identity"]);

    let _given = Given::start(&rig);

    running.identity().await;
    running.well().await;
}

#[tokio::test]
async fn a_provider_that_dies_is_found_again_and_its_socket_left_alone() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;

    given.spire.die().await;
    running.trouble().await;
    assert!(socket(&rig).exists());
    next(&rig).await;
    running.trouble().await;
    assert!(socket(&rig).exists());
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    given.give();
    given.spire.come_back().unwrap();

    running.renewed(&first).await;
    running.well().await;
}

#[tokio::test]
async fn one_that_takes_connections_and_says_nothing_is_given_up_and_asked_again() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    given.spire.manner(Manner::Silent);
    let mut running = rig.start_as(plan(&rig));
    given.spire.until("a connection", |seen| seen.connections == 1).await.unwrap();

    tokio::time::pause();
    let trouble = running.trouble().await;
    tokio::time::resume();

    assert!(trouble.contains("has not given anything within 10 s"), "{trouble}");
    assert!(socket(&rig).exists());
    given.spire.manner(Manner::Serves);
    next(&rig).await;
    running.identity().await;
    running.well().await;
}

#[tokio::test]
async fn one_that_does_not_know_us_is_named() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    given.spire.manner(Manner::Unregistered);
    let mut running = rig.start_as(plan(&rig));

    let trouble = running.trouble().await;

    assert!(trouble.contains("breaks off"), "{trouble}");
    given.spire.manner(Manner::Serves);
    next(&rig).await;
    running.identity().await;
    running.well().await;
}

#[tokio::test]
async fn half_of_a_set_is_not_served_before_the_other_half() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;

    given.ca.rotate(OldRoot::Dropped).unwrap();
    given.spire.give_pair(&given.pair());
    given.spire.until("a second answer", |seen| seen.acks() > 1).await.unwrap();
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    assert_eq!(running.progress.borrow().wrong, None);
    given.spire.give_roots(&given.ca.root_pem());

    let second = running.renewed(&first).await;
    assert_eq!(second.roots.pem(), given.ca.root_pem());
    assert_eq!(given.spire.seen().streams, 1);
    assert_eq!(running.progress.borrow().wrong, None);
}

#[tokio::test]
async fn a_set_that_never_fits_is_named() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;
    given.ca.rotate(OldRoot::Dropped).unwrap();
    given.spire.give_pair(&given.pair());
    given.spire.until("a second answer", |seen| seen.acks() > 1).await.unwrap();

    tokio::time::pause();
    let trouble = running.trouble().await;
    tokio::time::resume();

    assert!(trouble.contains("does not fit together"), "{trouble}");
    assert_eq!(running.served().chain.pem(), first.chain.pem());
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_the_reason() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;

    given.spire.give_roots("no certificate");

    let trouble = running.trouble().await;
    assert!(trouble.contains("sends ROOTCA, which cannot be used"), "{trouble}");
    let seen = given.spire.until("a refusal", |seen| !seen.nacks().is_empty()).await.unwrap();
    assert!(seen.nacks()[0].contains("no certificate found"), "{:?}", seen.nacks());
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    given.give();
    running.renewed(&first).await;
    running.well().await;
}

#[tokio::test]
async fn one_that_does_not_renew_in_time_is_asked_anew_and_told_once() {
    let log = Log::start();
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;
    assert_eq!(given.spire.seen().streams, 1);

    rig.live_until(rig.hand.now() + 59 * MINUTE, || {}).await;

    let trouble = running.trouble().await;
    assert!(trouble.contains("has not renewed a certificate that is due"), "{trouble}");
    assert!(given.spire.seen().streams > 5);
    assert_eq!(log.lines("no new certificate"), 1);
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    given.give();
    next(&rig).await;
    running.renewed(&first).await;
    running.well().await;
}

#[tokio::test]
async fn an_expired_certificate_is_not_served() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    rig.pass(2 * HOUR);

    let mut running = rig.start_as(plan(&rig));

    let trouble = running.trouble().await;
    assert!(trouble.contains("gives a certificate that is not valid at this time"), "{trouble}");
    assert!(running.identity.borrow().is_none());
    given.give();
    running.identity().await;
    running.well().await;
}

#[tokio::test]
async fn somebody_elses_name_is_served_and_told() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let other = given.ca.workload(&spiffe_id("ns", "other"), HOUR).unwrap();
    given.spire.give(&other, &given.ca.root_pem());

    let mut running = rig.start_as(plan(&rig));

    let trouble = running.trouble().await;
    assert!(trouble.contains("gives spiffe://cluster.local/ns/ns/sa/other"), "{trouble}");
    assert_eq!(running.served().spiffe_id().unwrap().service_account(), "other");
}

#[tokio::test]
async fn whoever_asks_once_gets_the_set() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);

    let identity = crate::fetch(&socket(&rig)).await.unwrap();

    assert_eq!(identity.roots.pem(), given.ca.root_pem());
    let nobody = crate::fetch(&rig.path("nobody")).await.unwrap_err();
    assert!(nobody.to_string().contains("nobody serves certificates at "), "{nobody}");
}
