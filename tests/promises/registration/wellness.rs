//! istiod is told how the workload is: once it knows the machine, when that changes, and again
//! when it has forgotten.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    istiod::{FakeIstiod, Flavour, Health, Seen},
    modules::FakeModules,
};
use hawser_proto::type_url::{HEALTH, LISTENER};
use serde_json::json;

use super::{asks_for_entry, connected, joined};
use crate::{outages::watched::delta, rig::Rig};

const PATH: &str = "/ready";
/// More probes than a test lasts.
const FOR_LONG: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_traffic_while_its_workload_is_well_in_delta() -> Result<()> {
    follows(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_traffic_while_its_workload_is_well_in_sotw() -> Result<()> {
    follows(Flavour::SotW).await
}

async fn follows(flavour: Flavour) -> Result<()> {
    let workload = FakeModules::start().await?;
    workload.faults(|faults| faults.statuses = vec![503; FOR_LONG].into());
    workload.serve(PATH, "fine");
    let rig = probed(&workload).await?;
    let istiod = &rig.mesh.istiod;
    let agent = rig.vm.start_with(&["--set", delta(flavour)], &[]).await?;
    rig.envoy_ready().await.with_context(|| agent.tail())?;

    // It was not well from the beginning.
    let first = reported(istiod, 1).await.with_context(|| agent.tail())?;
    let reason = first[0].problem.clone().context("told to be well")?;
    ensure!(reason.contains("503"), "{reason}");
    ensure!(serving(istiod).is_empty(), "{:?}", serving(istiod));

    for round in 0..2 {
        workload.faults(|faults| faults.statuses.clear());
        let told = reported(istiod, 2 * round + 2).await?;
        ensure!(told.last().is_some_and(|health| health.problem.is_none()), "{told:?}");
        ensure!(serving(istiod).len() == 1, "{:?}", istiod.seen().registry);
        probes(&workload, 3).await?;

        workload.faults(|faults| faults.statuses = vec![503; FOR_LONG].into());
        let told = reported(istiod, 2 * round + 3).await?;
        ensure!(told.last().is_some_and(|health| health.problem.is_some()), "{told:?}");
        ensure!(serving(istiod).is_empty(), "{:?}", istiod.seen().registry);
        probes(&workload, 3).await?;
    }
    let seen = istiod.seen();
    ensure!(seen.health.len() == 5, "transitions only: {:?}", seen.health);
    in_order(&seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stream_to_istiod_is_told_how_the_workload_is_in_delta() -> Result<()> {
    told_again(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stream_to_istiod_is_told_how_the_workload_is_in_sotw() -> Result<()> {
    told_again(Flavour::SotW).await
}

/// Well and not well, after a restart of istiod and one of its own accord.
async fn told_again(flavour: Flavour) -> Result<()> {
    let workload = FakeModules::start().await?;
    workload.serve(PATH, "fine");
    let rig = probed(&workload).await?;
    let istiod = &rig.mesh.istiod;
    let agent = rig.vm.start_with(&["--set", delta(flavour)], &[]).await?;
    rig.envoy_ready().await.with_context(|| agent.tail())?;
    reported(istiod, 1).await.with_context(|| agent.tail())?;

    let streams = istiod.seen().streams.len();
    istiod.restart().await?;
    let told = once_on_the_next(istiod, streams).await.with_context(|| agent.tail())?;
    ensure!(told.problem.is_none(), "{told:?}");
    joined(&rig, &agent).await?;

    workload.faults(|faults| faults.statuses = vec![503; FOR_LONG].into());
    reported(istiod, 3).await?;
    let streams = istiod.seen().streams.len();
    istiod.goaway(Duration::ZERO);
    let told = once_on_the_next(istiod, streams).await.with_context(|| agent.tail())?;
    ensure!(told.problem.is_some(), "{told:?}");
    probes(&workload, 3).await?;
    let seen = istiod.seen();
    ensure!(seen.health.len() == 4 && seen.crashes == 0, "{:?}", seen.health);
    in_order(&seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_ends_is_not_well_and_one_that_comes_back_is() -> Result<()> {
    let mut workload = FakeModules::start().await?;
    workload.serve(PATH, "fine");
    let rig = probed(&workload).await?;
    let istiod = &rig.mesh.istiod;
    let agent = rig.serving().await?;
    reported(istiod, 1).await.with_context(|| agent.tail())?;

    workload.down().await;
    let told = reported(istiod, 2).await?;
    ensure!(told[1].problem.as_ref().is_some_and(|why| !why.is_empty()), "{told:?}");
    ensure!(serving(istiod).is_empty(), "{:?}", istiod.seen().registry);
    workload.up().await?;
    reported(istiod, 3).await?;
    ensure!(serving(istiod).len() == 1, "{:?}", istiod.seen().registry);
    Ok(())
}

/// A machine whose group wants the workload to be asked once a second.
async fn probed(workload: &FakeModules) -> Result<Rig> {
    let mut rig = Rig::new().await?;
    let addr = workload.addr();
    let page = json!({ "host": addr.ip().to_string(), "port": addr.port(), "path": PATH });
    rig.mesh.bundle.readiness_probe = Some(json!({ "httpGet": page, "periodSeconds": 1 }));
    rig.mesh.bundle.write(&rig.mesh.bundle_dir)?;
    rig.vm.join(&rig.mesh.bundle_dir).await?;
    rig.bring_envoy().await?;
    Ok(rig)
}

/// Waits until istiod has so many reports.
async fn reported(istiod: &FakeIstiod, count: usize) -> Result<Vec<Health>> {
    let seen = istiod.until("a report", |seen| seen.health.len() >= count).await?;
    ensure!(seen.health.len() == count, "too many reports: {:?}", seen.health);
    Ok(seen.health)
}

/// Waits until the workload has been asked so many times more.
async fn probes(workload: &FakeModules, count: usize) -> Result<()> {
    let enough = workload.asked().len() + count;
    workload.until("more probes", |asked| asked.len() >= enough).await.map(drop)
}

/// Waits for the report on the next stream of Envoy's, the first of which there is one.
async fn once_on_the_next(istiod: &FakeIstiod, before: usize) -> Result<Health> {
    let told = |seen: &Seen| {
        connected(seen, before).is_some_and(|stream| !seen.health_on(stream).is_empty())
    };
    let seen = istiod.until("a report on the next stream", told).await?;
    let stream = connected(&seen, before).context("no stream")?;
    let reports = seen.health_on(stream);
    ensure!(reports.len() == 1, "{reports:?}");
    reports.first().map(|health| (*health).clone()).context("none")
}

/// Nothing is told before istiod knows the machine, nor on another stream than Envoy's.
fn in_order(seen: &Seen) -> Result<()> {
    ensure!(seen.health_dropped == 0, "{} reports came first", seen.health_dropped);
    for stream in &seen.streams {
        let asked = seen.asked_on(stream.id);
        let place = |type_url: &str| asked.iter().position(|one| one.type_url == type_url);
        if let Some(health) = place(HEALTH) {
            ensure!(asks_for_entry(&stream.metadata), "told on {:?}", stream.metadata);
            ensure!(place(LISTENER).is_some_and(|listeners| listeners < health), "{asked:?}");
        }
    }
    Ok(())
}

/// The machines that get traffic.
fn serving(istiod: &FakeIstiod) -> Vec<String> {
    istiod.seen().registry.serving("vms/web")
}
