//! Configuration passes unchanged, and what Envoy says of it too.

use anyhow::{Result, ensure};
use hawser_proto::type_url;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_refuses_is_refused_at_istiod_and_the_rest_stays() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let _agent = rig.serving().await?;

    rig.mesh.istiod.world().change(|state| state.garbage(type_url::CLUSTER));

    let refused = |seen: &hawser_harness::istiod::Seen| !seen.nacks(type_url::CLUSTER).is_empty();
    rig.mesh.istiod.until("Envoy's refusal", refused).await?;
    assert_eq!(rig.status().await?["relay"]["types"][type_url::CLUSTER]["rejections"], 1);
    ensure!(rig.request().await?.status == 200, "and it serves on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_istiod_ends_is_opened_again() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let _agent = rig.serving().await?;
    let streams = rig.mesh.istiod.seen().streams.len();

    rig.mesh.istiod.goaway(std::time::Duration::ZERO);

    // Envoy's and the agent's own.
    rig.mesh.istiod.until("both streams again", |seen| seen.streams.len() >= streams + 2).await?;
    ensure!(rig.request().await?.status == 200, "and it serves on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn istiod_registers_the_machine_for_envoy_and_for_nobody_else() -> Result<()> {
    let mut rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    rig.names_known().await?;
    ensure!(rig.mesh.istiod.seen().registry.entries.is_empty(), "registered without an Envoy");
    agent.terminate().await?;

    rig.bring_envoy().await?;
    let _agent = rig.serving().await?;

    let registry = rig.mesh.istiod.seen().registry;
    let entries: Vec<_> = registry.entries.values().collect();
    ensure!(entries.len() == 1 && entries[0].streams.len() == 1, "{entries:?}");
    Ok(())
}
