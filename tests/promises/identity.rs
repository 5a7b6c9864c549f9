//! The token is needed once. The certificate survives a restart, and is renewed with the
//! certificate.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{token::Claims, wait::wait_for};

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn the_token_becomes_a_certificate_that_is_kept_for_its_owner_alone() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;

    let seen = rig.mesh.istiod.seen();
    assert_eq!(seen.csrs.len(), 1);
    ensure!(seen.csrs[0].shown.token && !seen.csrs[0].shown.certificate, "{:?}", seen.csrs[0]);
    let status = rig.status().await?;
    assert_eq!(status["state"], "ready");
    assert_eq!(status["identity"]["spiffe_id"], rig.mesh.identity());
    ensure!(status["identity"]["expires_in"].as_i64() > Some(23 * 3600), "{status}");
    let state = rig.file("var/lib/hawser");
    assert_eq!(fs::metadata(&state)?.permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&state)? {
        let found = entry?.metadata()?;
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(found.permissions().mode() & 0o777, mode);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_certificate_is_there_without_token_and_without_istiod() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.start().await?.terminate().await?;
    fs::remove_file(rig.file("etc/hawser/mesh/istio-token"))?;
    let signed = rig.mesh.istiod.seen().csrs.len();

    let _agent = rig.vm.start().await?;

    assert_eq!(rig.status().await?["identity"]["spiffe_id"], rig.mesh.identity());
    assert_eq!(rig.mesh.istiod.seen().csrs.len(), signed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_renews_itself_when_the_token_is_gone() -> Result<()> {
    let rig = Rig::joined().await?;
    let flags = ["--set", "identity.ttl=4s"];
    let _agent = rig.vm.start_with(&flags, &[]).await?;
    fs::remove_file(rig.file("etc/hawser/mesh/istio-token"))?;

    let seen = rig.mesh.istiod.until("a renewal", |seen| seen.csrs.len() > 1).await?;

    ensure!(seen.csrs[1].shown.certificate, "{:?}", seen.csrs[1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_told_and_a_new_one_is_used() -> Result<()> {
    let rig = Rig::joined().await?;
    let token = rig.file("etc/hawser/mesh/istio-token");
    let good = fs::read(&token)?;
    // Signed by somebody whom istiod does not know.
    let stranger = hawser_harness::token::TokenSigner::new()?;
    let forged = stranger.mint(&Claims::new("vms", "web"))?;
    hawser_state::write_file(&token, 0o600, forged.as_bytes())?;
    let mut agent = rig.vm.spawn(&[], &[])?;
    let told = wait_for("the trouble in the status", async || {
        let status = rig.status().await?;
        let trouble = status["identity"]["trouble"].as_str().context("no trouble yet")?;
        Ok(trouble.to_owned())
    })
    .await?;
    ensure!(told.contains("request authenticate failure"), "{told}");
    ensure!(!agent.notified().ready, "ready without an identity");

    hawser_state::write_file(&token, 0o600, &good)?;

    agent.until("ready with the new token", |told| told.ready).await?;
    agent.terminate().await?;
    Ok(())
}
