//! A provider that speaks the SPIFFE Workload API.

use hawser_harness::{
    ca::{OldRoot, spiffe_id},
    spire::Manner,
};

use super::{
    provider::{Given, socket},
    rig::*,
};
use crate::{AtRest, Source, Speaks};

fn plan(rig: &Rig, speaks: Speaks) -> Plan {
    Plan { source: Source::Provider { socket: socket(rig), speaks }, ..Plan::default() }
}

#[tokio::test]
async fn where_sds_is_not_known_the_workload_api_is_spoken() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    given.spire.manner(Manner::WithoutSds);

    let mut running = rig.start_as(plan(&rig, Speaks::Either));

    let first = running.identity().await;
    assert_eq!(first.name(), VM);
    assert_eq!(first.roots.pem(), given.ca.root_pem());
    let progress = running.told(|progress| progress.at_rest == AtRest::NotOurs).await;
    assert_eq!((progress.source.as_str(), progress.wrong), ("SPIFFE provider", None));
    given.give();
    let second = running.renewed(&first).await;
    given.ca.rotate(OldRoot::Dropped).unwrap();
    given.give();
    let third = running.renewed(&second).await;
    assert_eq!(third.roots.pem(), given.ca.root_pem());
    let seen = given.spire.seen();
    assert_eq!((seen.streams, seen.fetches, seen.connections), (0, 1, 1));
}

#[tokio::test]
async fn what_is_spoken_can_be_said() {
    for (speaks, seen) in
        [(Speaks::Workload, (0, 1)), (Speaks::Sds, (1, 0)), (Speaks::Either, (1, 0))]
    {
        let rig = Rig::new().await;
        let given = Given::start(&rig);
        let mut running = rig.start_as(plan(&rig, speaks));
        running.identity().await;
        let found = given.spire.seen();
        assert_eq!((found.streams, found.fetches), seen, "{speaks:?}");
    }
}

#[tokio::test]
async fn who_is_not_registered_is_told_what_to_do_and_served_later() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    given.spire.manner(Manner::Unregistered);

    let mut running = rig.start_as(plan(&rig, Speaks::Workload));

    let trouble = running.trouble().await;
    assert!(trouble.contains("make an entry for it (spire-server entry create"), "{trouble}");
    given.spire.manner(Manner::Serves);
    rig.settled().await;
    rig.pass(MINUTE);
    running.identity().await;
    running.well().await;
}

#[tokio::test]
async fn the_configured_identity_is_taken_of_several_and_without_istiod_the_first() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let other = given.ca.workload("spiffe://vms.example/web/7", HOUR).unwrap();
    given.spire.give(&other, &given.ca.root_pem());
    given.spire.give_another(&given.pair());

    let mut running = rig.start_as(plan(&rig, Speaks::Workload));
    assert_eq!(running.identity().await.name(), VM);
    drop(running);

    let mut running = rig.start_as(Plan { mesh: false, ..plan(&rig, Speaks::Workload) });
    assert_eq!(running.identity().await.name(), "spiffe://vms.example/web/7");
    let progress = running.told(|progress| progress.at_rest == AtRest::NotOurs).await;
    assert_eq!((progress.wrong, progress.remark), (None, None));
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_leaves_the_one_before() {
    let rig = Rig::new().await;
    let given = Given::start(&rig);
    let mut running = rig.start_as(plan(&rig, Speaks::Workload));
    let first = running.identity().await;
    let foreign = rig.other_ca(hawser_harness::ca::Shape::SelfSigned);

    given.spire.give(&given.pair(), &foreign.root_pem());

    let trouble = running.trouble().await;
    let told = format!("sends {}, which cannot be used", spiffe_id("ns", "vm"));
    assert!(trouble.contains(&told), "{trouble}");
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    given.give();
    running.renewed(&first).await;
    running.well().await;
    assert_eq!(given.spire.seen().fetches, 1, "the stream goes on");
}
