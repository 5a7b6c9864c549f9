//! A rotated root needs nobody: the roots that come with certificates are believed beside the
//! file that was joined with. Where they came too late, it is said what to do, and nothing is
//! taken away.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    ca::{OldRoot, Root, Shape, TestCa},
    wait::wait_for,
};
use hawser_pki::{Bundle, Identity, PrivateKey};
use serde_json::Value;

use crate::{certificates::served, rig::Rig};

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_in_the_good_order_needs_nobody_and_a_restart_in_it_does_no_harm() -> Result<()>
{
    let rig = Rig::joined().await?;
    let ca = rig.mesh.istiod.ca();
    let file = rig.file("etc/hawser/mesh/root-cert.pem");
    let (old, written) = (fs::read_to_string(&file)?, fs::metadata(&file)?.mtime_nsec());
    let flags = ["--set", "identity.ttl=4s"];
    let mut agent = rig.vm.start_with(&flags, &[]).await?;

    let new = ca.prepare()?;
    ca.announce();
    until_served(&rig, "both roots", |served| served.roots.len() == 2).await?;
    ca.sign_with(Root::Newest);
    let fresh = Bundle::from_pem(&new)?;
    until_served(&rig, "a certificate under the new root", |served| under(served, &fresh)).await?;

    agent.terminate().await?;
    let mut agent = rig.vm.start_with(&flags, &[]).await?;
    ca.serve_with(Root::Newest);
    rig.mesh.istiod.reset();
    renewed_and_connected(&rig).await?;
    ca.forget_old();
    rig.mesh.istiod.reset();
    renewed_and_connected(&rig).await?;

    // What the bundle says is long out of date, and the next start does not mind either.
    agent.terminate().await?;
    let _agent = rig.vm.start_with(&flags, &[]).await?;
    renewed_and_connected(&rig).await?;
    assert_eq!(fs::read_to_string(&file)?, old);
    assert_eq!(fs::metadata(&file)?.mtime_nsec(), written, "nobody has touched it");
    ensure!(rig.mesh.istiod.ca().root_pem() == new, "istiod knows the new root alone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_istiod_does_not_take_any_more_is_replaced_at_once() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;

    // The operator brings the new root with the rotation, so that only our certificate is old.
    rig.mesh.istiod.ca().rotate(OldRoot::Dropped)?;
    let fresh = rig.mesh.istiod.ca().root_pem();
    let file = rig.file("etc/hawser/mesh/root-cert.pem");
    hawser_state::write_file(&file, 0o644, fresh.as_bytes())?;
    rig.mesh.istiod.reset();

    let fresh = Bundle::from_pem(&fresh)?;
    until_served(&rig, "a certificate under the new root", |served| under(served, &fresh)).await?;
    wait_for("everything to be well", async || well(&rig).await).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_in_the_bad_order_takes_nothing_away_and_heals_with_the_root_file() -> Result<()>
{
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    let before = served(&rig).await?;

    rig.mesh.istiod.ca().rotate(OldRoot::Dropped)?;
    rig.mesh.istiod.reset();
    let failed = rig.vm.identity(&["renew"]).await?;

    assert_eq!(failed.status.code(), Some(1), "{}", crate::rig::said(&failed));
    let told = wait_for("the trouble in the status", async || {
        let status = rig.status().await?;
        let trouble = status["istiod"]["trouble"].as_str().unwrap_or_default();
        ensure!(trouble.contains("does not chain to"), "{trouble}");
        Ok(status)
    })
    .await?;
    for told in [&told["identity"]["trouble"], &told["istiod"]["trouble"]] {
        let told = told.as_str().context("no trouble")?;
        ensure!(told.contains("does not chain to"), "{told}");
        ensure!(told.contains("replace it by the mesh's present root-cert.pem"), "{told}");
        ensure!(told.contains("etc/hawser/mesh/root-cert.pem"), "it does not say which: {told}");
    }
    assert_eq!(told["state"], "degraded", "it works, and is not as it should be");
    assert_eq!(told["waits_for"], serde_json::json!([]));
    assert_eq!(served(&rig).await?.chain.ders(), before.chain.ders());

    let fresh = rig.mesh.istiod.ca().root_pem();
    let file = rig.file("etc/hawser/mesh/root-cert.pem");
    hawser_state::write_file(&file, 0o644, fresh.as_bytes())?;

    let fresh = Bundle::from_pem(&fresh)?;
    until_served(&rig, "a certificate under the new root", |served| under(served, &fresh)).await?;
    wait_for("everything to be well", async || well(&rig).await).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_that_istiod_pushes_are_trusted_beside_the_own_and_cost_no_certificate() -> Result<()>
{
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    let own = served(&rig).await?;
    let other = Bundle::from_pem(&TestCa::new(Shape::SelfSigned)?.root_pem())?;

    rig.mesh.istiod.world().change(|state| state.trust(&[other.pem()]));

    let served = until_served(&rig, "two roots", |served| served.roots.len() == 2).await?;
    let roots: BTreeSet<&[u8]> = served.roots.ders().iter().map(AsRef::as_ref).collect();
    let both = own.roots.ders().iter().chain(other.ders()).map(AsRef::as_ref);
    assert_eq!(roots, both.collect());
    assert_eq!(served.chain.ders(), own.chain.ders(), "the pair stays");
    assert_eq!(rig.status().await?["identity"]["roots"]["count"], 2);
    assert_eq!(rig.mesh.istiod.seen().csrs.len(), 1);
    Ok(())
}

/// Waits until what Envoy is served is as wanted.
async fn until_served(
    rig: &Rig,
    what: &str,
    wanted: impl Fn(&Identity) -> bool,
) -> Result<Identity> {
    wait_for(what, async || {
        let served = served(rig).await?;
        ensure!(wanted(&served), "served is {served:?}");
        Ok(served)
    })
    .await
}

/// Whether it leads to one of these roots.
fn under(served: &Identity, roots: &Bundle) -> bool {
    PrivateKey::from_pem(served.key.pem())
        .and_then(|key| Identity::new(key, served.chain.clone(), roots.clone()))
        .is_ok()
}

/// Waits for a certificate that was asked for after this, and for configuration.
async fn renewed_and_connected(rig: &Rig) -> Result<Value> {
    let istiod = &rig.mesh.istiod;
    let before = istiod.seen().csrs.len();
    istiod.until("a renewal", |seen| seen.csrs.len() > before).await?;
    wait_for("everything to be well", async || well(rig).await).await
}

async fn well(rig: &Rig) -> Result<Value> {
    let status = rig.status().await?;
    ensure!(status["istiod"]["connected"] == true, "not connected: {status}");
    ensure!(status["identity"]["trouble"].is_null(), "not renewed: {status}");
    Ok(status)
}
