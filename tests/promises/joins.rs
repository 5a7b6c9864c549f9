//! One command joins, with istioctl's files unchanged. A bad bundle changes nothing and says what
//! to do.

mod again;
mod examples;
mod forms;
mod leaves;
mod machine;
mod oldest;
mod web;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Result, ensure};
use hawser_harness::{bundle::Damage, istiod::Reach, token::Claims};

use crate::rig::{Rig, said, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_joins_and_leaves_the_files_as_istioctl_wrote_them() -> Result<()> {
    let rig = Rig::new().await?;

    let output = rig.vm.hawser(&["join", text(&rig.mesh.bundle_dir)?]).await?;

    ensure!(output.status.success(), "{}", said(&output));
    ensure!(said(&output).contains("next: hawser run"), "{}", said(&output));
    assert_eq!(tree(&rig.file("etc/hawser/mesh"))?, tree(&rig.mesh.bundle_dir)?);
    let check = rig.vm.hawser(&["check"]).await?;
    ensure!(check.status.success(), "{}", said(&check));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tar_joins_as_a_directory_does() -> Result<()> {
    let rig = Rig::new().await?;
    let tar = rig.file("bundle.tar");
    rig.mesh.bundle.write_tar(&tar)?;

    let output = rig.vm.hawser(&["join", text(&tar)?]).await?;

    ensure!(output.status.success(), "{}", said(&output));
    assert_eq!(tree(&rig.file("etc/hawser/mesh"))?, tree(&rig.mesh.bundle_dir)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_bundle_gets_one_message_and_changes_nothing() -> Result<()> {
    let rig = Rig::joined().await?;
    let before = tree(&rig.file("etc/hawser"))?;
    let table = [
        (Damage::Missing("istio-token"), "istio-token: missing; write the bundle again"),
        (Damage::Missing("hosts"), "hosts: missing; write the bundle again"),
        (Damage::Empty("root-cert.pem"), "root-cert.pem: empty; write the bundle again"),
        (Damage::Empty("cluster.env"), "cluster.env: empty; write the bundle again"),
        (Damage::Unknown("notes.txt"), "notes.txt: not a file of a bundle"),
        (Damage::TokenTruncated, "istio-token: not a JWT"),
        (Damage::TokenGarbage, "istio-token: not a JWT"),
        (Damage::TokenExpired, "istio-token: expired 60 min ago; write a fresh one"),
        (Damage::TokenAudience, "istio-token: made for audience https://kubernetes.default.svc"),
        (Damage::RootGarbage, "root-cert.pem: "),
        (Damage::EnvSyntax, "cluster.env:"),
        (Damage::MeshSyntax, "mesh.yaml: not usable"),
    ];
    for (n, (damage, expected)) in table.into_iter().enumerate() {
        let dir = rig.file(&format!("bad-{n}"));
        rig.mesh.bundle.write_damaged(&rig.mesh.istiod, damage, &dir)?;

        let output = rig.vm.hawser(&["join", text(&dir)?]).await?;

        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{damage:?}: {said}");
        let told: Vec<&str> = said.lines().collect();
        ensure!(told.len() == 2, "{damage:?} takes one message and what became of it:\n{said}");
        ensure!(told[0].contains(expected), "{damage:?}: {said}");
        ensure!(told[0].contains(text(&dir)?), "{damage:?} does not say where: {said}");
        assert_eq!(told[1], "hawser: nothing was changed");
        assert_eq!(tree(&rig.file("etc/hawser"))?, before, "{damage:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_somebody_else_is_told_before_istiod_is_asked() -> Result<()> {
    let rig = Rig::new().await?;
    let dir = rig.file("other");
    let mut bundle = rig.mesh.bundle.clone();
    bundle.token = rig.mesh.istiod.tokens().mint(&Claims::new("vms", "db"))?;
    bundle.write(&dir)?;

    let output = rig.vm.hawser(&["join", text(&dir)?]).await?;

    assert_eq!(output.status.code(), Some(1));
    let told = "it is for service account db in namespace vms, and this machine is spiffe://";
    ensure!(said(&output).contains(told), "{}", said(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_istiod_that_cannot_be_reached_is_told_and_changes_nothing() -> Result<()> {
    let rig = Rig::new().await?;
    let before = tree(&rig.file("etc/hawser"))?;
    rig.mesh.istiod.reach(Reach::Down).await?;

    let output = rig.vm.hawser(&["join", text(&rig.mesh.bundle_dir)?]).await?;

    assert_eq!(output.status.code(), Some(1));
    let port = rig.mesh.istiod.addr().port().to_string();
    ensure!(said(&output).contains(&port), "{}", said(&output));
    ensure!(said(&output).contains("`--offline` joins"), "{}", said(&output));
    assert_eq!(tree(&rig.file("etc/hawser"))?, before);

    let output = rig.vm.hawser(&["join", "--offline", text(&rig.mesh.bundle_dir)?]).await?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_cannot_be_run_is_told_and_keeps_no_traffic_away() -> Result<()> {
    let rig = Rig::new().await?;
    let dir = rig.file("probed");
    let mut bundle = rig.mesh.bundle.clone();
    bundle.readiness_probe = Some(serde_json::json!({ "httpGet": { "port": 0 } }));
    bundle.write(&dir)?;

    let output = rig.vm.hawser(&["join", text(&dir)?]).await?;
    ensure!(said(&output).contains("note: readinessProbe"), "{}", said(&output));
    let mut agent = rig.vm.start().await?;

    ensure!(agent.tail().contains("the mesh takes this machine for healthy"), "{}", agent.tail());
    let bootstrap = fs::read_to_string(rig.file("run/hawser/envoy.json"))?;
    ensure!(!bootstrap.contains("readinessProbe"), "istiod is told of it");
    agent.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_join_keeps_what_was_there_before() -> Result<()> {
    let rig = Rig::joined().await?;
    let before = tree(&rig.file("etc/hawser/mesh"))?;
    let again = rig.file("again");
    let mut bundle = rig.mesh.bundle.clone();
    bundle.network = "vms".into();
    bundle.write(&again)?;

    let output = rig.vm.hawser(&["join", text(&again)?]).await?;

    ensure!(output.status.success(), "{}", said(&output));
    assert_eq!(tree(&rig.file("etc/hawser/mesh"))?, tree(&again)?);
    assert_eq!(tree(&rig.file("etc/hawser/mesh.previous"))?, before);
    Ok(())
}

/// Every file below a directory, by its name.
fn tree(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let below = tree(&path)?.into_iter();
            files.extend(below.map(|(file, content)| (format!("{name}/{file}"), content)));
        } else {
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(files)
}
