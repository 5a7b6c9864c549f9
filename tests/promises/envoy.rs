//! A real Envoy accepts the bootstrap, and requests carry the mesh identity both ways.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{envoy::validate, service::PEER_HEADER, wait::wait_for, workload::Answer};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_by_a_workload_that_saw_who_asked() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    for delta in ["true", "false"] {
        let flag = format!("xds.delta={delta}");
        let mut agent = rig.vm.start_with(&["--set", &flag], &[]).await?;
        rig.envoy_ready().await?;

        let reply = rig.request().await?;

        assert_eq!(reply.status, 200, "delta {delta}: {}", reply.body);
        let answer: Answer = reply.json()?;
        assert_eq!(answer.caller, rig.mesh.identity(), "delta {delta}");
        let peer = reply.headers.get(PEER_HEADER).context("no peer header")?;
        assert_eq!(peer, rig.mesh.hello.identity(), "delta {delta}");
        let status = rig.status().await?;
        ensure!(status["secrets"]["accepted"].as_u64() >= Some(2), "{status}");
        assert_eq!(agent.terminate().await?.code(), Some(0));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_of_every_kind_of_machine_is_accepted() -> Result<()> {
    let rig = Rig::joined().await?;
    let table = [
        ["node.ip=192.0.2.1", "xds.delta=true", "envoy.dual_stack=false"],
        ["node.ip=192.0.2.1", "xds.delta=false", "envoy.dual_stack=false"],
        ["node.ip=2001:db8::1", "xds.delta=true", "envoy.dual_stack=false"],
        ["node.ip=2001:db8::1", "xds.delta=true", "envoy.dual_stack=true"],
        ["node.ip=192.0.2.1", "xds.delta=true", "envoy.dual_stack=true"],
    ];
    for settings in table {
        let flags: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let mut agent = rig.vm.start_with(&flags, &[]).await?;
        let bootstrap = std::fs::read(rig.file("run/hawser/envoy.json"))?;
        validate(&serde_json::from_slice(&bootstrap)?).context(settings.join(" "))?;
        agent.terminate().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_dies_is_started_again() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let _agent = rig.serving().await?;
    let pid = |status: &serde_json::Value| status["envoy"]["pid"].as_i64();
    let first = pid(&rig.status().await?).context("no pid")?;

    kill(Pid::from_raw(i32::try_from(first)?), Signal::SIGKILL)?;

    wait_for("another Envoy", async || {
        let status = rig.status().await?;
        ensure!(pid(&status).is_some_and(|pid| pid != first), "{status}");
        Ok(())
    })
    .await?;
    rig.envoy_ready().await?;
    assert_eq!(rig.request().await?.status, 200);
    assert_eq!(rig.status().await?["envoy"]["restarts"], 1);
    Ok(())
}
