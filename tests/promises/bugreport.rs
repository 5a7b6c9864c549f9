//! A report holds what helps, and nothing secret, whatever state the machine is in.

mod planted;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::free;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    HAWSER,
    rig::{Rig, said, text},
};
use planted::{Admin, Planted};

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_machine_full_of_secrets_holds_none_of_them_and_all_that_helps() -> Result<()>
{
    let rig = Rig::joined().await?;
    let mut planted = Planted::default();
    planted.on(&rig)?;
    let port = free::port(std::net::Ipv4Addr::LOCALHOST.into())?;
    let _envoy = Admin::at(port, planted.config_dump()).await?;
    let admin = format!("envoy.admin_port={port}");
    let agent = rig.vm.start_with(&["--set", &admin], &[("DB_PASSWORD", planted.shell())]).await?;
    rig.names_known().await?;
    planted.state(&rig)?;

    let to = rig.file("report.tar.gz");
    let output =
        rig.vm.hawser(&["bugreport", "--yes", "--output", text(&to)?, "--set", &admin]).await?;
    let told = said(&output);
    ensure!(output.status.success(), "{told}");
    ensure!(fs::metadata(&to)?.permissions().mode() & 0o7777 == 0o600, "anybody may read it");
    let files = unpacked(&to).await?;

    for secret in planted.all() {
        ensure!(!told.contains(secret), "it was printed: {secret}");
        for (path, bytes) in &files {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            ensure!(!found, "{} has {secret:?}", path.display());
        }
    }
    helps(&files, &told)?;
    drop(agent);

    // Nothing is written over.
    let before = fs::read(&to)?;
    let again = rig.vm.hawser(&["bugreport", "--yes", "--output", text(&to)?]).await?;
    ensure!(again.status.code() == Some(1) && fs::read(&to)? == before, "{}", said(&again));
    Ok(())
}

/// What somebody who helps would look for.
fn helps(files: &[(PathBuf, Vec<u8>)], told: &str) -> Result<()> {
    let file = |name: &str| {
        let found = files.iter().find(|(path, _)| path.ends_with(name));
        let bytes = found.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
        bytes.with_context(|| format!("{name} is missing:\n{told}"))
    };
    let manifest = file("manifest.txt")?;
    ensure!(told.contains(manifest.trim_end()), "{told}\n{manifest}");
    let configuration = file("configuration.txt")?;
    ensure!(configuration.contains("ISTIO_META_NETWORK"), "{configuration}");
    ensure!(configuration.contains("cluster.env:"), "no source:\n{configuration}");
    let status: Value = serde_json::from_str(&file("status.json")?)?;
    ensure!(status["identity"]["spiffe_id"].as_str().is_some(), "{status}");
    let events = file("events.jsonl")?;
    for line in events.lines() {
        serde_json::from_str::<Value>(line).with_context(|| line.to_owned())?;
    }
    ensure!(events.contains("hawser starts"), "{events}");
    let doctor: Value = serde_json::from_str(&file("doctor.json")?)?;
    ensure!(doctor["checks"].as_array().is_some_and(|checks| checks.len() >= 40), "{doctor}");
    let dump: Value = serde_json::from_str(&file("envoy/config_dump.json")?)?;
    ensure!(dump.to_string().contains("outbound|9080||reviews"), "{dump}");
    let journal = file("journal.txt")?;
    ensure!(journal.contains("ready") && journal.contains("access logs left out"), "{journal}");
    ensure!(file("directories.txt")?.contains("var/lib/hawser/identity"), "no directories");
    ensure!(file("versions.txt")?.contains(env!("CARGO_PKG_VERSION")), "no versions");
    // What was planted was there to be taken out.
    for name in ["journal.txt", "units.txt", "configuration.txt", "envoy/bootstrap.json"] {
        ensure!(file(name)?.contains("[redacted]"), "{name} has nothing that was taken out");
    }
    ensure!(dump.to_string().matches("[redacted]").count() >= 6, "{dump}");
    for name in ["units.txt", "envoy/clusters.txt", "envoy/stats.txt", "network/resolv.conf"] {
        file(name)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_has_not_joined_and_whose_settings_are_wrong_has_one_too() -> Result<()> {
    let rig = Rig::new().await?;
    let toml = rig.vm.toml()?;
    rig.vm.settings(&format!("{toml}\n[istiod]\ntokne = \"in-the-wrong-place\"\n"))?;
    let to = rig.file("report.tar.gz");

    let shown = rig.vm.hawser(&["bugreport", "--show", "--output", text(&to)?]).await?;
    let told = said(&shown);
    ensure!(shown.status.success() && !to.exists(), "{told}");
    ensure!(told.contains("status.json") && told.contains("the agent does not answer"), "{told}");

    let written = ["bugreport", "--no-journal", "--output", text(&to)?];
    let output = rig.vm.hawser(&written).await?;
    ensure!(output.status.success(), "{}", said(&output));
    let files = unpacked(&to).await?;
    let configuration = files.iter().find(|(path, _)| path.ends_with("configuration.txt"));
    let configuration = String::from_utf8_lossy(&configuration.context("missing")?.1).into_owned();
    ensure!(configuration.contains("wrong: istiod.tokne: no such setting"), "{configuration}");
    ensure!(configuration.contains("has not joined a mesh"), "{configuration}");
    ensure!(files.iter().all(|(path, _)| !path.ends_with("journal.txt")), "a journal");
    let found = |bytes: &[u8]| bytes.windows(18).any(|window| window == b"in-the-wrong-place");
    ensure!(files.iter().all(|(_, bytes)| !found(bytes)), "it has what was misspelt");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_root_has_what_they_may_see_and_is_told_the_rest() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "this test becomes another user and needs root");
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let program = dir.path().join("hawser");
    fs::copy(HAWSER, &program)?;
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--root", text(dir.path())?, "bugreport", "--show", "--no-journal"])
        .output()
        .await?;
    let told = said(&output);
    ensure!(output.status.success() && told.contains("not as root"), "{told}");
    ensure!(told.contains("versions.txt") && told.contains("doctor.json"), "{told}");
    Ok(())
}

/// All files of it, with their paths.
async fn unpacked(report: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let dir = tempfile::tempdir()?;
    let unpack = Command::new("tar").arg("-xzf").arg(report).arg("-C").arg(dir.path()).output();
    let output = unpack.await?;
    ensure!(output.status.success(), "{}", said(&output));
    let mut files = Vec::new();
    let mut left = vec![dir.path().to_owned()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.push((path.clone(), fs::read(&path)?));
            }
        }
    }
    ensure!(files.len() > 10, "{files:?}");
    Ok(files)
}
