//! Joining again, joining another mesh, and looking before joining.

use std::fs;

use anyhow::{Result, ensure};
use hawser_harness::{faketime::Faketime, mesh::Mesh, token::Claims, wait::wait_for};

use super::tree;
use crate::rig::{Rig, said, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bundle_again_changes_nothing_even_when_its_token_is_spent() -> Result<()> {
    let mut rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    agent.terminate().await?;
    let before = tree(rig.vm.root())?;
    // An hour and more later.
    let clock = Faketime::ahead(2 * 3600)?;
    rig.vm.env = clock.env();
    let dir = rig.mesh.bundle_dir.clone();

    for more in [&[][..], &["--plan"]] {
        let join: Vec<&str> = ["join", text(&dir)?].iter().chain(more).copied().collect();
        let output = rig.vm.hawser(&join).await?;
        ensure!(output.status.success(), "{}", said(&output));
        ensure!(said(&output).contains("nothing has changed"), "{}", said(&output));
        assert_eq!(tree(rig.vm.root())?, before);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity_or_mesh_is_told_and_taken_only_when_that_is_meant() -> Result<()> {
    let rig = Rig::joined().await?;
    let before = tree(&rig.file("etc"))?;
    let mut other = rig.mesh.bundle.clone();
    other.service_account = "db".to_owned();
    other.token = rig.mesh.istiod.tokens().mint(&Claims::new("vms", "db"))?;
    let name = rig.file("other-name");
    other.write(&name)?;
    let second = Mesh::start(&rig.file("second")).await?;

    for (dir, expected) in [
        (name.as_path(), "it is spiffe://cluster.local/ns/vms/sa/web and would be spiffe://"),
        (second.bundle_dir.as_path(), "and would be in that of "),
    ] {
        let output = rig.vm.hawser(&["join", text(dir)?]).await?;
        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        ensure!(told.contains(expected) && told.contains("`--replace` goes on"), "{told}");
        assert_eq!(tree(&rig.file("etc"))?, before);

        let planned = rig.vm.hawser(&["join", text(dir)?, "--plan"]).await?;
        ensure!(planned.status.success(), "{}", said(&planned));
        ensure!(said(&planned).contains(expected), "{}", said(&planned));
        assert_eq!(tree(&rig.file("etc"))?, before);
    }

    let replace = ["join", text(&second.bundle_dir)?, "--replace"];
    let output = rig.vm.hawser(&replace).await?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_moves_to_another_mesh_gets_its_certificate_there() -> Result<()> {
    let rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    agent.terminate().await?;
    let second = Mesh::start(&rig.file("second")).await?;
    let replace = ["join", text(&second.bundle_dir)?, "--replace"];
    let output = rig.vm.hawser(&replace).await?;
    ensure!(output.status.success(), "{}", said(&output));

    let mut agent = rig.vm.start().await?;

    wait_for("a certificate of the other mesh", async || {
        ensure!(!second.istiod.seen().issued().is_empty(), "none yet");
        Ok(())
    })
    .await?;
    agent.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_keys_and_no_secret_and_leaves_no_trace() -> Result<()> {
    let rig = Rig::new().await?;
    let bare = tree(rig.vm.root())?;
    let bundle = text(&rig.mesh.bundle_dir)?;
    let proxy = ["--set", "intercept.proxy_users=nobody"];
    let output = rig.vm.hawser(&["join", bundle, "--plan", proxy[0], proxy[1]]).await?;
    let told = said(&output);
    ensure!(output.status.success(), "{told}");
    ensure!(told.contains("as spiffe://cluster.local/ns/vms/sa/web"), "{told}");
    ensure!(told.contains("with       a token that is good for "), "{told}");
    ensure!(told.contains("+ mesh.yaml, "), "{told}");
    ensure!(told.contains("redirects  out: TCP to * goes to Envoy, port 15001"), "{told}");
    ensure!(told.contains("in: TCP to ports * goes to Envoy, port 15006"), "{told}");
    ensure!(told.ends_with("nothing was changed\n"), "{told}");
    assert_eq!(tree(rig.vm.root())?, bare);

    rig.vm.join(&rig.mesh.bundle_dir).await?;
    let joined = tree(rig.vm.root())?;
    let mut bundle = rig.mesh.bundle.clone();
    bundle.network = "vms".into();
    bundle.token = rig.mesh.istiod.tokens().mint(&Claims::new("vms", "web"))?;
    bundle.proxy_metadata.insert("XDS_HEADER_AUTHORIZATION".into(), "hush-hush".into());
    let dir = tempfile::tempdir()?;
    bundle.write(dir.path())?;

    let output = rig.vm.hawser(&["join", text(dir.path())?, "--plan"]).await?;

    let told = said(&output);
    ensure!(output.status.success(), "{told}");
    for expected in [
        "~ cluster.env ISTIO_META_NETWORK: '' -> vms",
        "~ mesh.yaml proxyMetadata.ISTIO_META_NETWORK: '' -> vms",
        "+ cluster.env XDS_HEADER_AUTHORIZATION: (not shown)",
        "~ istio-token: another, for system:serviceaccount:vms:web",
        "mesh.previous",
    ] {
        ensure!(told.contains(expected), "no {expected:?} in:\n{told}");
    }
    let token = fs::read_to_string(dir.path().join("istio-token"))?;
    let signature = token.rsplit('.').next().unwrap_or_default();
    ensure!(!told.contains("hush") && !told.contains(signature), "{told}");
    assert_eq!(tree(rig.vm.root())?, joined);
    Ok(())
}
