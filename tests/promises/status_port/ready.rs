//! Ready is said of what is so now, and not of what was so once.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{istiod::Reach, wait::wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_does_not_live_is_not_ready_any_more() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let agent = rig.vm.start().await?;
    rig.becomes(200, "").await.with_context(|| agent.tail())?;
    let envoy = rig.vm.status().await?.envoy.pid.context("no pid")?;

    kill(Pid::from_raw(envoy), Signal::SIGSTOP)?;
    let stopped = rig.says("/healthz/ready", &[]).await?;
    kill(Pid::from_raw(envoy), Signal::SIGCONT)?;
    ensure!(stopped.status == 503 && !stopped.body.is_empty(), "{stopped:?}");
    rig.becomes(200, "").await?;

    kill(Pid::from_raw(envoy), Signal::SIGKILL)?;
    rig.becomes(503, "connect").await?;
    rig.becomes(200, "").await.with_context(|| agent.tail())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_names_is_not_ready() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let mut agent = rig.serving().await?;
    agent.terminate().await?;
    fs::remove_dir_all(rig.file("var/lib/hawser/names")).context("forget the names")?;
    rig.mesh.istiod.reach(Reach::Down).await?;

    let agent = rig.vm.start().await?;
    rig.becomes(503, "istiod has sent no names yet").await.with_context(|| agent.tail())?;
    rig.mesh.istiod.reach(Reach::Up).await?;
    rig.becomes(200, "").await.with_context(|| agent.tail())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_makes_a_machine_unready_again() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    rig.mesh.istiod.faults(|faults| faults.ttl_cap = Some(Duration::from_secs(15)));
    let agent = rig.vm.start().await?;
    rig.becomes(200, "").await.with_context(|| agent.tail())?;

    rig.mesh.istiod.reach(Reach::Down).await?;

    rig.becomes(503, "the certificate has expired").await.with_context(|| agent.tail())
}

impl Rig {
    /// Waits until the port says so.
    async fn becomes(&self, status: u16, reason: &str) -> Result<()> {
        wait_for("another state of the machine", async || {
            let ready = self.says("/healthz/ready", &[]).await?;
            ensure!(ready.status == status && ready.body.contains(reason), "{ready:?}");
            Ok(())
        })
        .await
    }
}
