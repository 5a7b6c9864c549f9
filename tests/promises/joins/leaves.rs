//! What a machine that leaves is rid of: what was there before it joined is there after.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Result, ensure};

use super::tree;
use crate::rig::{Rig, said};

#[tokio::test(flavor = "multi_thread")]
async fn leave_and_purge_give_the_machine_back_as_it_was() -> Result<()> {
    let rig = Rig::new().await?;
    // Istio's own, and somebody's: nobody's business here.
    for (path, text) in [
        ("var/lib/istio/envoy/sidecar.env", "ISTIO_LOG_DIR=/var/log/istio\n"),
        ("etc/certs/root-cert.pem.bak", "theirs"),
        ("var/lib/other/file", "theirs"),
    ] {
        let path = rig.file(path);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        hawser_state::write_file(&path, 0o640, text.as_bytes())?;
    }
    for directory in ["run", "var/cache"] {
        fs::create_dir_all(rig.file(directory))?;
    }
    let toml = rig.vm.toml()?;
    rig.vm.settings(&format!("{toml}\n[export]\ndirectory = \"./etc/certs\"\n"))?;
    let before = whole(rig.vm.root())?;
    rig.vm.join(&rig.mesh.bundle_dir).await?;
    let again = rig.mesh.bundle_dir.with_file_name("again");
    let mut bundle = rig.mesh.bundle.clone();
    bundle.network = "vms".into();
    bundle.write(&again)?;
    rig.vm.join(&again).await?;
    let mut agent = rig.vm.start().await?;
    let exported = rig.file("etc/certs/..data");
    hawser_harness::wait::wait_for("exported certificates", async || {
        ensure!(exported.exists(), "none yet");
        Ok(())
    })
    .await?;

    // Not below one that runs.
    let refused = rig.vm.hawser(&["leave", "--yes"]).await?;
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    ensure!(said(&refused).contains("the agent still runs (pid "), "{}", said(&refused));
    ensure!(rig.file("etc/hawser/mesh").exists(), "{}", said(&refused));
    agent.terminate().await?;

    // Nobody to ask.
    let asked = rig.vm.hawser(&["leave"]).await?;
    assert_eq!(asked.status.code(), Some(64), "{}", said(&asked));
    ensure!(rig.file("etc/hawser/mesh").exists(), "{}", said(&asked));

    let left = rig.vm.hawser(&["leave", "--yes"]).await?;
    ensure!(left.status.success(), "{}", said(&left));
    ensure!(said(&left).contains("--purge removes it"), "{}", said(&left));
    ensure!(!rig.file("etc/hawser/mesh").exists());
    ensure!(!rig.file("etc/hawser/mesh.previous").exists());
    ensure!(rig.file("var/lib/hawser/identity").exists(), "its certificate is kept");
    let again = rig.vm.hawser(&["leave", "--yes"]).await?;
    ensure!(again.status.success(), "{}", said(&again));
    ensure!(said(&again).contains("has not joined a mesh: nothing to do"), "{}", said(&again));

    let purged = rig.vm.hawser(&["leave", "--purge", "--yes"]).await?;
    ensure!(purged.status.success(), "{}", said(&purged));
    // The harness's own.
    fs::remove_file(rig.file("agent.log"))?;
    let after = whole(rig.vm.root())?;
    assert_eq!(difference(&before, &after), [""; 0]);
    let again = rig.vm.hawser(&["leave", "--purge", "--yes"]).await?;
    ensure!(again.status.success(), "{}", said(&again));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_somebody_elses_stay() -> Result<()> {
    let rig = Rig::joined().await?;
    let hour = std::time::Duration::from_secs(3600);
    rig.vm.provision("etc/certs", &rig.mesh.istiod.ca().workload("spiffe://a/ns/b/sa/c", hour)?)?;
    fs::create_dir(rig.file("etc/certs/..2026_01_01"))?;
    std::os::unix::fs::symlink("..2026_01_01", rig.file("etc/certs/..data"))?;
    let before = tree(&rig.file("etc/certs"))?;

    let purged = rig.vm.hawser(&["leave", "--purge", "--yes"]).await?;

    ensure!(purged.status.success(), "{}", said(&purged));
    assert_eq!(tree(&rig.file("etc/certs"))?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_has_joined_and_left_joins_again_with_the_certificate_it_has() -> Result<()>
{
    let rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    agent.terminate().await?;
    let issued = rig.mesh.istiod.seen().issued().len();
    ensure!(rig.vm.hawser(&["leave", "--yes"]).await?.status.success());

    rig.vm.join(&rig.mesh.bundle_dir).await?;
    let mut agent = rig.vm.start().await?;

    assert_eq!(rig.mesh.istiod.seen().issued().len(), issued, "another was asked for");
    agent.terminate().await?;
    Ok(())
}

/// Every name below a directory with its kind, mode, owner and content.
fn whole(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let owner = format!("{:o} {}:{}", found.mode(), found.uid(), found.gid());
        if found.is_dir() {
            let below = whole(&path)?.into_iter();
            all.extend(below.map(|(file, what)| (format!("{name}/{file}"), what)));
            all.insert(name, owner);
        } else if found.is_symlink() {
            all.insert(name, format!("{owner} -> {}", fs::read_link(&path)?.display()));
        } else {
            let content = fs::read(&path)?;
            all.insert(name, format!("{owner} {}", String::from_utf8_lossy(&content)));
        }
    }
    Ok(all)
}

/// What is in one and not the same in the other.
fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let gone = before.iter().filter(|(name, what)| after.get(*name) != Some(what));
    let new = after.keys().filter(|name| !before.contains_key(*name));
    let gone = gone.map(|(name, _)| format!("- {name}"));
    gone.chain(new.map(|name| format!("+ {name}"))).collect()
}
