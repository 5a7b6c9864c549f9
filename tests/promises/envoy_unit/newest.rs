//! An Envoy that is started while istiod says something that no Envoy takes.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    istiod::Flavour,
    service::{Secrets, Service},
    wait::wait_for,
};
use hawser_proto::{envoy::envoy::config::listener::v3::Listener, type_url::LISTENER};

use super::meshed::{Started, named};
use crate::{
    last_good::{ONE_SERVICE, has_taken},
    outages::watched::delta,
    rig::{Rig, said},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_envoy_that_refuses_the_newest_serves_what_was_taken_last_in_delta() -> Result<()> {
    serves_what_was_taken_last(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_envoy_that_refuses_the_newest_serves_what_was_taken_last_in_sotw() -> Result<()> {
    serves_what_was_taken_last(Flavour::SotW).await
}

async fn serves_what_was_taken_last(flavour: Flavour) -> Result<()> {
    let rig = Rig::joined().await?;
    let named = named()?;
    let flags = ["--set", &named, "--set", delta(flavour)];
    let agent = rig.vm.start_with(&flags, &[]).await?;
    let mut first = Started::of(&rig).await?;
    has_taken(&rig, ONE_SERVICE).await?;
    let service = rig.mesh.service.clone();
    let name = format!("{}_{}", service.vip.ip(), service.vip.port());
    rig.mesh.istiod.world().change(|state| {
        // A listener that listens nowhere.
        state.set([Listener { name, ..Listener::default() }]);
    });
    let refused = |seen: &hawser_harness::istiod::Seen| !seen.nacks(LISTENER).is_empty();
    rig.mesh.istiod.until("the first Envoy's refusal", refused).await?;
    ensure!(rig.request().await?.status == 200, "it has what it had");
    first.terminate().await?;

    let _second = Started::of(&rig).await.with_context(|| agent.tail())?;

    serves(&rig).await.with_context(|| agent.tail())?;
    let status = rig.status().await?;
    ensure!(status["relay"]["types"][LISTENER]["refuses"] == true, "{status}");
    let shown = said(&rig.vm.hawser(&["status"]).await?);
    ensure!(shown.contains("stale: works with what it took"), "{shown}");

    // What it takes again is the newest.
    rig.mesh
        .istiod
        .world()
        .change(|state| Service::publish(std::slice::from_ref(&service), Secrets::Agent, state));
    wait_for("the newest to be taken", async || {
        let relay = rig.status().await?["relay"].take();
        ensure!(relay["types"][LISTENER]["refuses"] == false, "{relay}");
        ensure!(relay["stale"].is_null(), "{relay}");
        Ok(())
    })
    .await?;
    serves(&rig).await
}

async fn serves(rig: &Rig) -> Result<()> {
    wait_for("a request to be answered", async || {
        let reply = rig.request().await?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
        Ok(())
    })
    .await
}
