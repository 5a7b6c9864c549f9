//! Whom to believe, through rotations and what the mesh pushes.

use std::sync::Arc;

use hawser_harness::{
    ca::{Root, Shape, TestCa},
    wait::until,
};
use hawser_pki::Bundle;

use super::rig::*;

fn foreign() -> Arc<Bundle> {
    bundle(&TestCa::new(Shape::SelfSigned).unwrap().root_pem())
}

fn bundle(pem: &str) -> Arc<Bundle> {
    Arc::new(Bundle::from_pem(pem).unwrap())
}

impl Running {
    async fn trusts(&mut self, count: usize) -> Arc<Bundle> {
        let all = |trusted: &Option<Arc<Bundle>>| {
            trusted.as_ref().is_some_and(|trusted| trusted.len() == count)
        };
        until("trust", &mut self.trusted, all).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn what_the_mesh_pushes_is_believed_besides_and_asks_for_no_certificate() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let own = running.identity().await.roots.clone();
    let pushed = foreign();

    running.mesh.send_replace(Some(Arc::clone(&pushed)));

    let trusted = running.trusts(2).await;
    assert_eq!(trusted.pem(), own.merge(&pushed).unwrap().pem());
    assert_eq!(running.learned.borrow().as_ref().unwrap().pem(), own.pem());
    assert_eq!(rig.istiod.seen().csrs.len(), 1);
}

#[tokio::test]
async fn what_is_pushed_again_in_another_order_is_not_published_again() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    running.identity().await;
    let (one, other) = (foreign(), foreign());
    running.mesh.send_replace(Some(Arc::new(one.merge(&other).unwrap())));
    let before = running.trusts(3).await;

    running.mesh.send_replace(Some(Arc::new(other.merge(&one).unwrap())));
    running.renew.notify_one();
    running.renewed(&running.served()).await;

    let after = running.trusted.borrow().clone().unwrap();
    assert!(Arc::ptr_eq(&before, &after));
}

/// The end of a rotation: the new root alone is in the answers, and the old one is still believed,
/// over a restart, until its last leaves are gone.
async fn retired(rig: &Rig, mut running: Running, old: &Bundle) {
    let last = running.served();
    assert_eq!(last.roots.len(), 1);
    let both = last.roots.merge(old).unwrap();
    assert_eq!(running.trusts(2).await.pem(), both.pem());
    assert_eq!(running.learned.borrow().as_ref().unwrap().pem(), both.pem());
    drop(running);

    let mut running = rig.start();
    assert_eq!(running.identity().await.chain.pem(), last.chain.pem());
    assert_eq!(running.trusts(2).await.pem(), both.pem());
    rig.live_until(rig.time.now() + 23 * HOUR, || {
        assert_eq!(running.trusted.borrow().as_ref().unwrap().pem(), both.pem());
    })
    .await;
    rig.live_until(rig.time.now() + 14 * HOUR, || {}).await;
    assert_eq!(running.trusts(1).await.pem(), last.roots.pem());
}

#[tokio::test]
async fn a_rotation_that_announces_its_root_first_costs_nothing() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    rig.no_token();
    let ca = rig.istiod.ca();
    ca.prepare().unwrap();
    let steps: [fn(&TestCa); 4] = [
        |ca| ca.announce(),
        |ca| ca.sign_with(Root::Newest),
        |ca| ca.serve_with(Root::Newest),
        |ca| ca.forget_old(),
    ];
    for step in steps {
        step(ca);
        let before = running.served();
        running.renew.notify_one();
        running.renewed(&before).await;
        running.well().await;
    }

    retired(&rig, running, &first.roots).await;
}

#[tokio::test]
async fn a_rotation_that_signs_first_is_followed_as_soon_as_its_answers_fit() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    rig.no_token();
    let ca = rig.istiod.ca();
    ca.prepare().unwrap();
    ca.sign_with(Root::Newest);
    running.renew.notify_one();
    let trouble = running.trouble().await;
    assert!(trouble.contains("does not chain to any"), "{trouble}");
    assert_eq!(running.served().chain.pem(), first.chain.pem());

    ca.announce();
    rig.hand.awaited().await;
    rig.pass(5 * MINUTE);
    let second = running.renewed(&first).await;
    running.well().await;
    assert_eq!(second.roots.len(), 2);

    ca.serve_with(Root::Newest);
    ca.forget_old();
    running.renew.notify_one();
    running.renewed(&second).await;

    retired(&rig, running, &first.roots).await;
}

#[tokio::test]
async fn a_root_that_changes_overnight_takes_a_new_root_file_and_a_token() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    let first = running.identity().await;
    rig.istiod.ca().rotate(hawser_harness::ca::OldRoot::Dropped).unwrap();
    running.renew.notify_one();
    let trouble = running.trouble().await;
    assert!(trouble.contains("does not chain to"), "{trouble}");

    rig.write_roots();
    rig.good_token();

    running.renewed(&first).await;
    retired(&rig, running, &first.roots).await;
}
