//! Vault as the authority: what istiod's would have signed is judged, kept and renewed alike.

use std::time::Duration;

use hawser_harness::{
    ca::{Shape, TestCa},
    vault::{FakeVault, MOUNT, ROLE, ROLE_ID, SECRET_ID},
};
use hawser_vault::{Login, Options};

use super::rig::*;
use crate::Source;

/// A machine whose Vault signs under the mesh's root, and the double.
async fn vaulted() -> (Rig, FakeVault, Plan) {
    vaulted_under(None).await
}

/// The same where a file has the roots of the mesh.
async fn vaulted_under(roots: Option<&str>) -> (Rig, FakeVault, Plan) {
    let rig = Rig::new().await;
    // Its own certificate is as long-lived as the tests.
    let own = TestCa::at(Shape::SelfSigned, &rig.time).unwrap();
    let vault = FakeVault::start(rig.istiod.ca(), &own).await.unwrap();
    rig.write("vault-ca.pem", &own.root_pem());
    rig.write("role-id", ROLE_ID);
    rig.write("secret-id", SECRET_ID);
    let role = Options {
        address: vault.address().parse().unwrap(),
        ca: Some(rig.path("vault-ca.pem")),
        namespace: String::new(),
        mount: MOUNT.to_owned(),
        role: ROLE.to_owned(),
        login: Login::AppRole {
            mount: "approle".to_owned(),
            role_id: rig.path("role-id"),
            secret_id: rig.path("secret-id"),
        },
        patience: Duration::from_secs(20),
    };
    let source = Source::Vault { role: Box::new(role), roots: roots.map(|roots| rig.path(roots)) };
    let plan = Plan { source, mesh: false, ttl: 4 * HOUR, ..Plan::default() };
    (rig, vault, plan)
}

#[tokio::test]
async fn vault_signs_and_istiod_is_not_even_called() {
    let (rig, vault, plan) = vaulted().await;
    let mut running = rig.start_as(plan);

    let first = running.identity().await;

    assert_eq!(first.name(), VM);
    assert_eq!(first.roots.pem(), rig.istiod.ca().root_pem());
    let progress = running.told(|progress| progress.obtained.is_some()).await;
    assert_eq!(progress.source, "Vault");
    assert_eq!(progress.obtained.unwrap().credential, "the AppRole login at auth/approle");
    assert_eq!(vault.count("auth/approle/login"), 1);
    // One life after the other, on one login whose token is renewed.
    let mut before = first;
    for _ in 0..3 {
        let due = running.told(|progress| progress.next.is_some()).await.next.unwrap();
        rig.live_until(due, || {}).await;
        before = running.renewed(&before).await;
    }
    assert_eq!(vault.count("auth/approle/login"), 1);
    assert!(vault.count("auth/token/renew-self") >= 5, "{:?}", vault.asked());
    assert_eq!(rig.istiod.seen().csrs.len(), 0);
}

#[tokio::test]
async fn a_sealed_vault_takes_nothing_away_and_is_told_once() {
    let (rig, vault, plan) = vaulted().await;
    let log = Log::start();
    let mut running = rig.start_as(plan);
    let before = running.identity().await;
    vault.faults(|faults| faults.sealed = true);

    running.renew.notify_one();
    for count in 1..4 {
        running.failures(count).await;
        rig.hand.awaited().await;
        rig.pass(MINUTE);
    }

    let trouble = running.trouble().await;
    assert!(trouble.contains("is sealed: it signs nothing until"), "{trouble}");
    assert_eq!(running.served().chain.pem(), before.chain.pem());
    assert_eq!(log.lines("no new certificate"), 1);
    vault.faults(|faults| faults.sealed = false);
    running.renew.notify_one();
    running.renewed(&before).await;
    running.well().await;
    assert_eq!(log.lines("certificate obtained again"), 1);
    assert_eq!(log.lines(SECRET_ID) + log.lines("s.token"), 0);
}

#[tokio::test]
async fn a_login_that_is_refused_is_asked_rarely_and_at_once_when_its_file_has_changed() {
    let (rig, vault, plan) = vaulted().await;
    rig.write("secret-id", "of-yesterday");
    let mut running = rig.start_as(plan);

    let trouble = running.trouble().await;

    assert!(trouble.contains("identity.vault.secret_id"), "{trouble}");
    let next = running.progress.borrow().next.unwrap();
    assert!(next.duration_since(rig.hand.now()).unwrap() >= 2 * MINUTE, "it is settled");
    let asked = vault.count("auth/approle/login");
    rig.write("secret-id", SECRET_ID);
    running.identity().await;
    assert!(vault.count("auth/approle/login") > asked);
    running.well().await;
}

#[tokio::test]
async fn what_vault_signs_is_judged_as_anything_else() {
    let (rig, vault, plan) = vaulted().await;
    let other = "spiffe://cluster.local/ns/ns/sa/other".to_owned();
    vault.rules(|rules| rules.signs_for = Some(other));
    let mut running = rig.start_as(plan);
    let trouble = running.trouble().await;
    assert!(trouble.contains("has issued spiffe://cluster.local/ns/ns/sa/other"), "{trouble}");
    assert!(trouble.contains("identity.vault.role"), "{trouble}");
    assert!(running.identity.borrow().is_none());

    let (rig, _vault, plan) = vaulted_under(Some("roots.pem")).await;
    let stranger = TestCa::at(Shape::SelfSigned, &rig.time).unwrap();
    rig.write("roots.pem", &stranger.root_pem());
    let mut running = rig.start_as(plan);
    let trouble = running.trouble().await;
    assert!(trouble.contains("does not chain to any of the 1 trusted roots"), "{trouble}");
}

#[tokio::test]
async fn an_intermediate_without_its_root_needs_the_roots_of_the_mesh() {
    let (rig, vault, plan) = vaulted_under(Some("roots.pem")).await;
    vault.rules(|rules| rules.with_root = false);
    rig.write("roots.pem", &rig.istiod.ca().root_pem());
    let mut running = rig.start_as(plan);
    assert_eq!(running.identity().await.roots.pem(), rig.istiod.ca().root_pem());
    drop(running);

    let (rig, vault, plan) = vaulted().await;
    vault.rules(|rules| rules.with_root = false);
    let mut running = rig.start_as(plan);
    let trouble = running.trouble().await;
    assert!(trouble.contains("name the roots of the mesh in identity.roots"), "{trouble}");
}
