//! What has changed on a machine is in its journal under ids that never change, however little else
//! is logged; and the journal's catalogue knows them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use hawser_audit::{
    ALL, CERTIFICATE_OBTAINED, CONFIGURATION_ACCEPTED, CONFIGURATION_READ, CONFIGURATION_REFUSED,
    CONFIGURATION_WRONG, DRAINED, JOINED, Kind, LEFT, LEVEL_CHANGED, RENEWAL_ASKED, STARTED,
    UNDRAINED,
};
use hawser_harness::{
    istiod::Flavour,
    wait::wait_for,
    xds::{Answer, XdsClient},
};
use hawser_proto::type_url::CLUSTER;
use nix::sys::signal::Signal;
use tokio::process::Command;

use super::journal::{Entry, Journal};
use crate::rig::{Rig, said};

#[tokio::test(flavor = "multi_thread")]
async fn a_life_from_join_to_leave_leaves_a_trail_in_the_journal() -> Result<()> {
    let rig = Rig::new().await?;
    let journal = Journal::under(rig.vm.root())?;
    rig.vm.join(&rig.mesh.bundle_dir).await?;
    let joined = told(&journal, JOINED, 1).await?;
    ensure!(joined["ID"] == rig.mesh.identity(), "{joined:?}");
    ensure!(joined["SYSLOG_IDENTIFIER"] == "hawser" && joined["PRIORITY"] == "6", "{joined:?}");

    // Nothing but errors is to be logged, and the trail is.
    let toml = rig.vm.toml()?;
    let quiet = "[log]\nformat = \"journal\"\nlevel = \"error\"\n";
    rig.vm.settings(&format!("{toml}\n{quiet}"))?;
    let mut agent = rig.vm.start().await?;
    told(&journal, STARTED, 1).await?;
    let obtained = told(&journal, CERTIFICATE_OBTAINED, 1).await?;
    ensure!(obtained["ID"] == rig.mesh.identity(), "{obtained:?}");
    ensure!(obtained["CREDENTIAL"].starts_with("token"), "{obtained:?}");
    ensure!(!obtained["MESSAGE"].contains(CERTIFICATE_OBTAINED.id), "{obtained:?}");
    ensure!(journal.entries().iter().all(|entry| entry.contains_key("MESSAGE_ID")), "not quiet");

    let renew = rig.vm.identity(&["renew"]).await?;
    ensure!(renew.status.success(), "{}", said(&renew));
    told(&journal, RENEWAL_ASKED, 1).await?;
    let renewed = told(&journal, CERTIFICATE_OBTAINED, 2).await?;
    ensure!(!renewed["CREDENTIAL"].starts_with("token"), "{renewed:?}");

    rig.vm.hawser(&["log", "dns=debug", "--for", "10m"]).await?;
    let level = told(&journal, LEVEL_CHANGED, 1).await?;
    ensure!(level["LEVEL"] == "hawser_dns=debug", "{level:?}");
    reloads(&rig, &agent, &journal, &toml).await?;
    refuses(&rig, &journal).await?;

    agent.terminate().await?;
    let left = rig.vm.hawser(&["leave", "--yes"]).await?;
    ensure!(left.status.success(), "{}", said(&left));
    told(&journal, LEFT, 1).await?;
    Ok(())
}

async fn reloads(
    rig: &Rig,
    agent: &hawser_harness::agent::Agent,
    journal: &Journal,
    toml: &str,
) -> Result<()> {
    let log = "[log]\nformat = \"journal\"\nlevel";
    rig.vm.settings(&format!("{toml}\n{log} = \"warn\"\n"))?;
    agent.signal(Signal::SIGHUP)?;
    let read = told(journal, CONFIGURATION_READ, 1).await?;
    ensure!(read["CHANGED"] == "log.level", "{read:?}");
    rig.vm.settings(&format!("{toml}\n{log} = \"loud\"\n"))?;
    agent.signal(Signal::SIGHUP)?;
    let wrong = told(journal, CONFIGURATION_WRONG, 1).await?;
    ensure!(wrong["PRIORITY"] == "3", "{wrong:?}");
    Ok(())
}

/// Said when it begins and when it ends, and not for each push in between.
async fn refuses(rig: &Rig, journal: &Journal) -> Result<()> {
    let client = XdsClient::envoy(&rig.file("run/hawser/xds.sock"), Flavour::SotW).await?;
    client.answers(CLUSTER, Answer::Nack("no such filter".to_owned()))?;
    client.subscribe(CLUSTER, &[])?;
    let refused = told(journal, CONFIGURATION_REFUSED, 1).await?;
    ensure!(refused["TYPE_URL"] == CLUSTER, "{refused:?}");
    ensure!(refused["ERROR"].contains("no such filter"), "{refused:?}");
    for _ in 0..3 {
        let had = client.held().responses(CLUSTER);
        rig.mesh.istiod.world().push_again();
        client.until("another push", |held| held.responses(CLUSTER) > had).await?;
    }
    client.answers(CLUSTER, Answer::Judge)?;
    rig.mesh.istiod.world().push_again();
    told(journal, CONFIGURATION_ACCEPTED, 1).await?;
    ensure!(journal.of(CONFIGURATION_REFUSED).len() == 1, "{:?}", journal.entries());
    for (path, kind) in [("drain", DRAINED), ("undrain", UNDRAINED)] {
        let asked = curl(&rig.file("run/hawser/admin.sock"), path).await?;
        told(journal, kind, 1).await.with_context(|| asked)?;
    }
    Ok(())
}

async fn curl(socket: &Path, path: &str) -> Result<String> {
    let url = format!("http://localhost/{path}");
    let mut curl = Command::new("curl");
    let curl = curl.args(["-sSX", "POST", "--unix-socket"]).arg(socket).arg(url);
    Ok(said(&curl.output().await.context("run curl")?))
}

/// Waits until so many of a kind are there; the last of them.
async fn told(journal: &Journal, kind: Kind, count: usize) -> Result<Entry> {
    wait_for(kind.name, async || {
        let entries = journal.of(kind);
        ensure!(entries.len() >= count, "{:#?}", journal.entries());
        entries.into_iter().nth(count - 1).context("none")
    })
    .await
}

#[tokio::test]
async fn the_catalogue_is_one_that_the_journal_understands() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = dir.path().join("usr/lib/systemd/catalog");
    fs::create_dir_all(&place)?;
    let catalogue = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/hawser.catalog");
    fs::copy(catalogue, place.join("hawser.catalog"))?;
    let root = format!("--root={}", dir.path().display());
    for argument in ["--update-catalog", "--list-catalog"] {
        let output = Command::new("journalctl").args([&root, argument]).output().await?;
        let printed = said(&output);
        ensure!(output.status.success(), "{printed}");
        if argument == "--list-catalog" {
            ensure!(printed.lines().count() == ALL.len(), "{printed}");
            for kind in ALL {
                let line = format!("{} hawser: {}", kind.id, kind.sentence);
                ensure!(printed.contains(&line), "{line} is missing:\n{printed}");
            }
        }
    }
    Ok(())
}
