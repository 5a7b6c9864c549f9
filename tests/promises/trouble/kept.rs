//! What is on the disk: a pair that is no longer what it was, a disk in trouble, and an agent that
//! is killed while it writes.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Notified,
    ca::{Shape, TestCa},
    disk::Disk,
    istiod::{Reach, Seen},
    wait::wait_for,
};
use hawser_state::Store;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{HOUR, STATE, identity, in_log, past, renewed, troubled};
use crate::rig::Rig;

// What was kept is not what it was.

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_pair_that_is_of_no_use_is_set_aside_and_named() -> Result<()> {
    for (harm, reason) in [
        (Harm::Damaged, "its checksum is wrong"),
        (Harm::CutShort, "it is cut short"),
        (Harm::Foreign, "it is not a state file"),
        (Harm::Mismatched, "what it holds does not fit"),
        (Harm::Other, "it is for spiffe://cluster.local/ns/vms/sa/db, and this machine is"),
    ] {
        let rig = Rig::joined().await?;
        rig.vm.start().await?.terminate().await?;
        harm.happen(&rig).with_context(|| format!("{harm:?}"))?;

        let agent = rig.vm.start().await?;

        let log = fs::read_to_string(agent.log())?;
        ensure!(log.contains("state file set aside"), "{harm:?}: {log}");
        ensure!(log.contains(reason), "{harm:?} is not named by {reason:?}: {log}");
        let names = fs::read_dir(rig.file(STATE))?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<Result<Vec<_>>>()?;
        let aside = names.iter().filter_map(|name| name.to_str()?.strip_prefix("identity"));
        ensure!(aside.filter(|rest| !rest.is_empty()).count() == 1, "{harm:?}: {names:?}");
        let there = identity(&rig).await?;
        assert_eq!(there["spiffe_id"], rig.mesh.identity(), "{harm:?}");
        assert_eq!(there["at_rest"], "plain, for its owner alone", "{harm:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_kept_pair_is_not_served_and_the_next_one_is_obtained() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.start_with(&["--set", "identity.ttl=2s"], &[]).await?.terminate().await?;
    let csr = rig.mesh.istiod.seen().csrs.pop().context("no certificate was asked for")?;
    // The last second of a certificate is a whole one.
    past(csr.at + Duration::from_secs(3)).await?;
    rig.mesh.istiod.reach(Reach::Down).await?;

    let agent = rig.vm.spawn(&[], &[])?;
    assert_eq!(troubled(&rig).await?["spiffe_id"], Value::Null);
    // The machine is not held up by it, and is told; who waits for the mesh waits on.
    let says = |told: &str| told.contains("the certificate from before has expired");
    let done = |told: &Notified| told.ready && told.status.iter().any(|told| says(told));
    agent.until("the truth", done).await?;
    assert_eq!(rig.status().await?["state"], "starting");
    rig.mesh.istiod.reach(Reach::Up).await?;

    wait_for("the next by the token", async || {
        let status = rig.status().await?;
        ensure!(status["state"] == "ready", "{status}");
        Ok(())
    })
    .await?;
    Ok(())
}

// The disk.

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_fit_on_the_disk_is_served_and_the_old_file_stays_whole()
-> Result<()> {
    disk_in_trouble(Disk::fill, Disk::clear).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_may_not_be_written_is_served_and_the_old_file_stays_whole() -> Result<()>
{
    disk_in_trouble(Disk::read_only, Disk::writable).await
}

/// A disk in trouble while a certificate is renewed.
async fn disk_in_trouble(
    trouble: impl AsyncFn(&Disk, i32) -> Result<()>,
    end: impl AsyncFn(&Disk, i32) -> Result<()>,
) -> Result<()> {
    let mut rig = Rig::joined().await?;
    let disk = Disk::small(&rig.file(STATE), 64 * 1024).await?;
    rig.vm.under = disk.under();
    let agent = rig.vm.start().await?;
    let file = disk.file(agent.pid(), "identity");
    let (before, stored) = (identity(&rig).await?, fs::read(&file)?);
    trouble(&disk, agent.pid()).await?;

    renewed(&rig).await?;

    let during = identity(&rig).await?;
    let at_rest = during["at_rest"].as_str().unwrap_or_default();
    ensure!(at_rest.starts_with("not kept: write the state"), "{at_rest}");
    ensure!(during["obtained"]["credential"] != before["obtained"]["credential"], "{during}");
    assert_eq!(during["trouble"], Value::Null, "it is served all the same");
    assert_eq!(fs::read(&file)?, stored, "the old file is whole");
    assert_eq!(in_log(&agent, "certificate not kept, a restart will need a token")?, 1);

    end(&disk, agent.pid()).await?;
    renewed(&rig).await?;

    assert_eq!(identity(&rig).await?["at_rest"], "plain, for its owner alone");
    ensure!(fs::read(&file)? != stored, "the new one is kept");
    Ok(())
}

// Death.

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_while_it_renews_comes_back_with_an_identity() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.start().await?.terminate().await?;
    fs::remove_file(rig.file("etc/hawser/mesh/istio-token"))?;
    for round in 0..12 {
        let mut agent = rig.vm.start().await.with_context(|| format!("round {round}"))?;
        let asked = rig.mesh.istiod.seen().csrs.len();
        let stored = fs::read(rig.file(STATE).join("identity"))?;
        agent.signal(Signal::SIGUSR1)?;
        match round % 3 {
            0 => {}
            1 => {
                let began = |seen: &Seen| seen.csrs.len() > asked;
                rig.mesh.istiod.until("a renewal", began).await?;
            }
            _ => {
                wait_for("the file to change", async || {
                    ensure!(fs::read(rig.file(STATE).join("identity"))? != stored, "no change");
                    Ok(())
                })
                .await?;
            }
        }
        agent.kill().await?;
    }
    rig.mesh.istiod.reach(Reach::Down).await?;

    let _agent = rig.vm.start().await?;

    assert_eq!(identity(&rig).await?["spiffe_id"], rig.mesh.identity());
    Ok(())
}

/// What becomes of a file between two runs.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Damaged,
    CutShort,
    Foreign,
    /// The key is another's.
    Mismatched,
    /// It is for another service account.
    Other,
}

impl Harm {
    fn happen(self, rig: &Rig) -> Result<()> {
        let file = rig.file(STATE).join("identity");
        let mut bytes = fs::read(&file)?;
        match self {
            Self::Damaged => bytes.iter_mut().skip(200).take(1).for_each(|byte| *byte ^= 1),
            Self::CutShort => bytes.truncate(9),
            Self::Foreign => bytes = b"somebody else has put his notes here. ".repeat(9),
            Self::Mismatched => return self.forge(rig, &rig.mesh.identity()),
            Self::Other => return self.forge(rig, "spiffe://cluster.local/ns/vms/sa/db"),
        }
        Ok(hawser_state::write_file(&file, 0o600, &bytes)?)
    }

    /// A whole file with a pair of this mesh that is not this machine's.
    fn forge(self, rig: &Rig, id: &str) -> Result<()> {
        let ca = rig.mesh.istiod.ca();
        let mut pair = ca.workload(id, HOUR)?;
        if matches!(self, Self::Mismatched) {
            pair.key = TestCa::new(Shape::SelfSigned)?.workload(id, HOUR)?.key;
        }
        let mut body = Vec::new();
        for part in [&pair.key, &pair.chain, &ca.root_pem()] {
            body.extend_from_slice(&u32::try_from(part.len())?.to_be_bytes());
            body.extend_from_slice(part.as_bytes());
        }
        Ok(Store::open(&rig.file(STATE))?.write("identity", 1, &body)?)
    }
}
