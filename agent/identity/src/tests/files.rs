//! Files that somebody else keeps up to date.

use std::{os::unix::fs::symlink, sync::Arc};

use hawser_harness::ca::{Certified, OldRoot, Shape, TestCa, spiffe_id};

use super::rig::*;
use crate::{AtRest, Files, Hand, Source};

fn plan(rig: &Rig) -> Plan {
    let files = Files {
        key: rig.path("pair/key.pem"),
        chain: rig.path("pair/cert-chain.pem"),
        roots: rig.path("pair/root-cert.pem"),
        hand: Hand::Same,
    };
    Plan { source: Source::Files(files), ..Plan::default() }
}

fn pair(ca: &TestCa) -> Certified {
    ca.workload(&spiffe_id("ns", "vm"), DAY).unwrap()
}

/// A whole set, in a directory of its own.
fn write(rig: &Rig, dir: &str, ca: &TestCa, pair: &Certified) {
    std::fs::create_dir_all(rig.path(dir)).unwrap();
    rig.write(&format!("{dir}/key.pem"), &pair.key);
    rig.write(&format!("{dir}/cert-chain.pem"), &pair.chain);
    rig.write(&format!("{dir}/root-cert.pem"), &ca.root_pem());
}

#[tokio::test]
async fn a_set_of_files_is_served_and_nobody_is_asked() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::Intermediate);
    let given = pair(&ca);
    write(&rig, "pair", &ca, &given);

    let mut running = rig.start_as(plan(&rig));

    let identity = running.identity().await;
    assert_eq!(identity.chain.pem(), given.chain);
    running.gates.all_open().await;
    let progress = running.told(|progress| progress.at_rest == AtRest::NotOurs).await;
    assert_eq!(progress.source, "files");
    assert_eq!(running.trusted.borrow().as_ref().unwrap().pem(), ca.root_pem());
    assert!(!rig.state().join(crate::FILE).exists());
    assert!(rig.istiod.seen().csrs.is_empty());
}

#[tokio::test]
async fn a_set_that_is_switched_is_served_at_once() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    write(&rig, "one", &ca, &pair(&ca));
    ca.rotate(OldRoot::Dropped).unwrap();
    write(&rig, "two", &ca, &pair(&ca));
    symlink("one", rig.path("pair")).unwrap();
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;

    symlink("two", rig.path("next")).unwrap();
    std::fs::rename(rig.path("next"), rig.path("pair")).unwrap();

    running.renewed(&first).await;
    running.well().await;
}

#[tokio::test]
async fn half_of_a_set_keeps_the_old_and_is_told_until_the_other_half_comes() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    write(&rig, "pair", &ca, &pair(&ca));
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;
    let next = pair(&ca);

    rig.write("pair/key.pem", &next.key);
    let trouble = running.trouble().await;
    assert!(trouble.contains("are not of one set"), "{trouble}");
    assert!(trouble.contains("private key does not fit"), "{trouble}");
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    rig.write("pair/cert-chain.pem", &next.chain);

    running.renewed(&first).await;
    running.well().await;
    let text = running.metrics.render();
    assert!(text.contains("istio_agent_num_file_secret_failures_total 1"), "{text}");
}

#[tokio::test]
async fn files_that_are_not_there_yet_are_waited_for() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    let mut running = rig.start_as(plan(&rig));
    let trouble = running.trouble().await;
    assert!(trouble.contains("pair/key.pem: No such file"), "{trouble}");
    assert_eq!(running.gates.closed(), ["identity"]);

    write(&rig, "pair", &ca, &pair(&ca));

    running.identity().await;
    running.well().await;
}

#[tokio::test]
async fn an_expired_set_is_told_and_one_that_expires_too() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    let given = pair(&ca);
    write(&rig, "pair", &ca, &given);
    let mut running = rig.start_as(plan(&rig));
    running.identity().await;
    rig.hand.awaited().await;

    rig.pass(2 * DAY);

    let trouble = running.trouble().await;
    assert!(trouble.contains("has expired; whoever writes it has to renew it"), "{trouble}");
    assert_eq!(running.served().chain.pem(), given.chain);
}

#[tokio::test]
async fn an_expired_set_does_not_take_the_place_of_a_valid_one() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    write(&rig, "pair", &ca, &ca.workload(VM, 9 * DAY).unwrap());
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;
    let stale = pair(&ca);
    rig.pass(2 * DAY);

    write(&rig, "pair", &ca, &stale);

    running.told(|progress| progress.trouble().is_some_and(|it| it.contains("has expired"))).await;
    assert_eq!(running.served().chain.pem(), first.chain.pem());
}

#[tokio::test]
async fn somebody_elses_name_is_served_and_told() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    let foreign = ca.workload(&spiffe_id("ns", "other"), DAY).unwrap();
    write(&rig, "pair", &ca, &foreign);

    let mut running = rig.start_as(plan(&rig));

    let trouble = running.trouble().await;
    assert!(trouble.contains("is for spiffe://cluster.local/ns/ns/sa/other"), "{trouble}");
    assert!(trouble.contains("istiod will refuse it"), "{trouble}");
    assert_eq!(running.served().spiffe_id().unwrap().service_account(), "other");
}

#[tokio::test]
async fn what_the_mesh_pushes_is_believed_besides_the_file() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    write(&rig, "pair", &ca, &pair(&ca));
    let mut running = rig.start_as(plan(&rig));
    let own = running.identity().await.roots.clone();
    let other = rig.other_ca(Shape::SelfSigned).root_pem();
    let other = hawser_pki::Bundle::from_pem(&other).unwrap();

    running.mesh.send_replace(Some(Arc::new(other.clone())));

    let both = own.merge(&other).unwrap();
    let trusted = |trusted: &Option<Arc<hawser_pki::Bundle>>| {
        trusted.as_ref().is_some_and(|trusted| trusted.pem() == both.pem())
    };
    hawser_harness::wait::until("both", &mut running.trusted, trusted).await.unwrap();
}

#[tokio::test]
async fn a_pair_of_another_authority_is_served_with_the_roots_of_the_mesh_and_remarked_upon() {
    let log = Log::start();
    let rig = Rig::new().await;
    let (acme, mesh) = (rig.other_ca(Shape::Intermediate), rig.other_ca(Shape::SelfSigned));
    let write = |pair: &Certified| {
        rig.write("pair/privkey.pem", &pair.key);
        rig.write("pair/fullchain.pem", &pair.chain);
    };
    std::fs::create_dir_all(rig.path("pair")).unwrap();
    rig.write("mesh.pem", &mesh.root_pem());
    write(&acme.serving(&["vm.example.org"]).unwrap());
    let files = Files {
        key: rig.path("pair/privkey.pem"),
        chain: rig.path("pair/fullchain.pem"),
        roots: rig.path("mesh.pem"),
        hand: Hand::Other,
    };
    let plan = Plan { source: Source::Files(files), mesh: false, ..Plan::default() };

    let mut running = rig.start_as(plan);

    let first = running.identity().await;
    assert_eq!((first.name(), first.spiffe_id()), ("vm.example.org", None));
    assert_eq!(running.trusted.borrow().as_ref().unwrap().pem(), mesh.root_pem());
    let progress = running.told(|progress| progress.remark.is_some()).await;
    let remark = progress.remark.unwrap();
    assert!(remark.starts_with("it is for vm.example.org, without a SPIFFE id"), "{remark}");
    assert_eq!((progress.wrong, log.lines("is not one of the mesh")), (None, 1));

    write(&acme.workload(VM, DAY).unwrap());
    let second = running.renewed(&first).await;
    let progress = running.told(|progress| {
        progress.remark.as_ref().is_some_and(|remark| remark.contains("meshConfig.caCertificates"))
    });
    assert_eq!(progress.await.wrong, None);
    write(&mesh.workload(VM, DAY).unwrap());
    running.renewed(&second).await;
    running.told(|progress| progress.remark.is_none() && progress.wrong.is_none()).await;
}

#[tokio::test]
async fn without_istiod_the_machine_is_whom_its_pair_names() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    write(&rig, "pair", &ca, &ca.workload(&spiffe_id("ns", "other"), DAY).unwrap());

    let mut running = rig.start_as(Plan { mesh: false, ..plan(&rig) });

    assert_eq!(running.identity().await.name(), spiffe_id("ns", "other"));
    let progress = running.told(|progress| progress.at_rest == AtRest::NotOurs).await;
    assert_eq!((progress.wrong, progress.remark), (None, None));
}
