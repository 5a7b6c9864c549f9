//! A running node does not notice that istiod is gone; a restarted one serves the identity it has.

use anyhow::{Result, ensure};
use hawser_harness::{
    dig::Dig,
    istiod::Reach,
    mesh::{OUTSIDE, OUTSIDE_IP},
    wait::wait_for,
};

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_goes_on() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let _agent = rig.serving().await?;
    rig.names_known().await?;
    let dns = rig.dns().await?;
    ensure!(rig.request().await?.status == 200);

    rig.mesh.istiod.reach(Reach::Down).await?;
    wait_for("the agent to notice", async || {
        ensure!(rig.status().await?["istiod"]["connected"] == false, "not yet");
        Ok(())
    })
    .await?;

    ensure!(rig.request().await?.status == 200, "requests pass without istiod");
    let host = rig.mesh.service.host();
    let answer = Dig::a(&host).ask(dns).await?;
    assert_eq!(answer.addresses(), [rig.mesh.service.vip.ip()]);
    assert_eq!(rig.waits_for().await?, serde_json::json!([]));
    let lacking = rig.vm.hawser(&["status", "--wait-ready", "1s"]).await?;
    ensure!(lacking.status.success(), "programs can rely on the mesh all the same");

    rig.mesh.istiod.reach(Reach::Up).await?;
    wait_for("the agent to come back", async || {
        ensure!(rig.status().await?["istiod"]["connected"] == true, "not yet");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_is_ready_with_what_it_has() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.start().await?.terminate().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;

    let _agent = rig.vm.start().await?;

    let status = rig.status().await?;
    assert_eq!(status["identity"]["spiffe_id"], rig.mesh.identity());
    assert_eq!(status["istiod"]["connected"], false);
    let answer = Dig::a(OUTSIDE).ask(rig.dns().await?).await?;
    assert_eq!(answer.addresses(), [std::net::IpAddr::from(OUTSIDE_IP)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_istiod_that_accepts_and_never_answers_holds_nothing_up() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.start().await?.terminate().await?;
    rig.mesh.istiod.reach(Reach::HalfOpen).await?;

    let mut agent = rig.vm.start().await?;

    let answer = Dig::a(OUTSIDE).ask(rig.dns().await?).await?;
    assert_eq!(answer.addresses(), [std::net::IpAddr::from(OUTSIDE_IP)]);
    assert_eq!(agent.terminate().await?.code(), Some(0));
    Ok(())
}
