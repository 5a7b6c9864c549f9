//! An agent that restarts drops nothing: an Envoy of its own serves on, and finds the agent again.

mod dropped;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{envoy::Envoy, wait::wait_for};

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn requests_pass_while_the_agent_is_away_and_envoy_finds_the_next_one() -> Result<()> {
    let rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    let bootstrap = serde_json::from_slice(&std::fs::read(rig.file("run/hawser/envoy.json"))?)?;
    let admin = rig.vm.status().await?.envoy.admin;
    let envoy = Envoy::start(&bootstrap, admin, rig.vm.root()).await?;
    let pid = envoy.pid().context("Envoy has no pid")?;
    rig.envoy_ready().await?;
    ensure!(rig.request().await?.status == 200);

    agent.terminate().await?;
    ensure!(rig.request().await?.status == 200, "requests pass without an agent");

    let _agent = rig.vm.start().await?;
    wait_for("Envoy to find the agent again", async || {
        let status = rig.status().await?;
        ensure!(status["secrets"]["accepted"].as_u64() >= Some(2), "{status}");
        ensure!(status["relay"]["joined"] == 1, "{status}");
        Ok(())
    })
    .await?;
    ensure!(rig.request().await?.status == 200);
    ensure!(envoy.pid() == Some(pid), "and it is the same Envoy");
    Ok(())
}
