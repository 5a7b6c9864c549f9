//! The mesh sends traffic to a machine only while it is well: by the probes of its operator too, with
//! a valid certificate, and while nobody has taken it out.

mod booted;
mod certificate;
mod drained;
mod maintained;
mod probed;
mod servers;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    http1::{self, Reply},
    istiod::Seen,
};
use http::Method;

use crate::rig::Rig;

/// A machine with an Envoy, in a group that has no probe.
async fn unprobed() -> Result<Rig> {
    Rig::with_envoy().await
}

/// Starts its agent with settings, and waits until Envoy serves.
async fn started(rig: &Rig, settings: &[&str]) -> Result<Agent> {
    let flags: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let agent = rig.vm.start_with(&flags, &[]).await?;
    rig.envoy_ready().await.with_context(|| agent.tail())?;
    Ok(agent)
}

/// Waits until istiod was told last that the machine is well, or why it is not.
async fn told(rig: &Rig, wanted: impl Fn(Option<&str>) -> bool) -> Result<String> {
    let last =
        |seen: &Seen| seen.health.last().is_some_and(|health| wanted(health.problem.as_deref()));
    let seen = rig.mesh.istiod.until("what istiod is to be told", last).await;
    let seen = seen.with_context(|| format!("{:?}", rig.mesh.istiod.seen().health))?;
    Ok(seen.health.last().and_then(|health| health.problem.clone()).unwrap_or_default())
}

/// Waits until it was told that the machine is well, and gets traffic.
async fn well(rig: &Rig) -> Result<()> {
    told(rig, |problem| problem.is_none()).await?;
    let serving = rig.mesh.istiod.seen().registry.serving("vms/web");
    ensure!(serving.len() == 1, "{serving:?}");
    Ok(())
}

/// Waits until it was told that it is not, with a reason that has this in it.
async fn unwell(rig: &Rig, reason: &str) -> Result<()> {
    told(rig, |problem| problem.is_some_and(|problem| problem.contains(reason))).await?;
    let serving = rig.mesh.istiod.seen().registry.serving("vms/web");
    ensure!(serving.is_empty(), "{serving:?}");
    Ok(())
}

/// What the agent says at its status port.
async fn ready(rig: &Rig) -> Result<Reply> {
    let settings: toml::Table = rig.vm.toml()?.parse()?;
    let address = settings["status"]["listen"].as_str().context("no status.listen")?;
    http1::call(address.parse()?, &Method::GET, "/healthz/ready", &[]).await
}
