//! A machine that boots while istiod is away serves what it served before; what it has is told to
//! be old, and istiod's return is nothing that Envoy notices.

mod changes;
mod machine;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    envoy::Envoy,
    istiod::{Flavour, Reach, Seen},
    service::PEER_HEADER,
    traffic::Traffic,
    wait::wait_for,
    workload::Answer,
};
use hawser_proto::{
    envoy::envoy::config::{cluster::v3::Cluster, listener::v3::Listener},
    type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub(crate) use self::machine::{ask, has_taken, metric, said_by_status, stat, switched_off, waits};
use crate::{
    outages::watched::{Watched, delta},
    rig::Rig,
};

/// What a service is made of: a cluster, its endpoints, a listener and its routes.
pub(crate) const ONE_SERVICE: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_boots_without_istiod_serves_as_before_in_delta() -> Result<()> {
    reboot(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_boots_without_istiod_serves_as_before_in_sotw() -> Result<()> {
    reboot(Flavour::SotW).await
}

async fn reboot(flavour: Flavour) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    // With them it can be seen that Envoy is not sent again what it has.
    rig.mesh.istiod.honours_versions(true);
    let before = Watched::on(rig, flavour, &[]).await?;
    has_taken(&before.rig, ONE_SERVICE).await?;
    let rig = switched_off(before).await?;
    let streams = rig.mesh.istiod.seen().streams.len();

    let watched = Watched::on(rig, flavour, &[]).await?;

    serves_as_the_machine(&watched.rig).await?;
    let status = watched.rig.status().await?;
    let stale = &status["relay"]["stale"];
    ensure!(stale["of"].as_u64() > Some(0) && stale["since"].as_u64() >= stale["of"].as_u64());
    ensure!(status["istiod"]["connected"] == false, "{status}");
    let told = said_by_status(&watched.rig).await?;
    ensure!(told.contains("stale: works with what it took up to"), "{told}");
    ensure!(metric(&watched.rig, "hawser_xds_stale_seconds").await? > 0.0, "no age in the metric");
    ensure!(watched.agent.tail().contains("configuration is stale"), "nothing in the journal");

    watched.rig.mesh.istiod.reach(Reach::Up).await?;
    watched.joined().await?;

    watched.noticed_nothing().await?;
    serves_as_the_machine(&watched.rig).await?;
    let told = said_by_status(&watched.rig).await?;
    ensure!(!told.contains("stale"), "{told}");
    ensure!(metric(&watched.rig, "hawser_xds_stale_seconds").await? < f64::EPSILON, "still old");
    if flavour == Flavour::Delta {
        was_told_what_envoy_holds(&watched.rig.mesh.istiod.seen(), streams)?;
    }
    watched.hears("after-the-boot").await
}

/// On the first stream of Envoy's after so many others.
fn was_told_what_envoy_holds(seen: &Seen, streams: usize) -> Result<()> {
    let later = seen.streams.iter().skip(streams);
    let stream = later.map(|stream| stream.id).find(|id| seen.first_asked(*id, CLUSTER).is_some());
    let stream = stream.context("Envoy's stream was not joined")?;
    for type_url in [CLUSTER, ENDPOINT, LISTENER, ROUTE] {
        let first = seen.first_asked(stream, type_url).context(type_url)?;
        ensure!(first.initial.len() == 1, "{type_url}: {:?}", first.initial);
        ensure!(first.initial.values().all(|version| !version.is_empty()), "{:?}", first.initial);
    }
    // Endpoints are sent again whenever clusters are asked for.
    for type_url in [CLUSTER, LISTENER, ROUTE] {
        let again =
            seen.answered_on(stream, type_url).iter().map(|one| one.resources).sum::<usize>();
        ensure!(again == 0, "{type_url}: {again} that Envoy has were sent again");
    }
    Ok(())
}

async fn serves_as_the_machine(rig: &Rig) -> Result<()> {
    let reply = rig.request().await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
    let answer: Answer = reply.json()?;
    ensure!(answer.caller == rig.mesh.identity(), "{answer:?}");
    let peer = reply.headers.get(PEER_HEADER).context("no peer header")?;
    ensure!(peer == rig.mesh.hello.identity(), "{peer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_without_istiod_leaves_its_envoy_in_peace_in_delta() -> Result<()> {
    agent_alone(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_without_istiod_leaves_its_envoy_in_peace_in_sotw() -> Result<()> {
    agent_alone(Flavour::SotW).await
}

/// It is stopped once and killed once; its Envoy lives on.
async fn agent_alone(flavour: Flavour) -> Result<()> {
    let rig = Rig::joined().await?;
    let flags = ["--set", delta(flavour)];
    let mut agent = rig.vm.start_with(&flags, &[]).await?;
    let bootstrap = serde_json::from_slice(&std::fs::read(rig.file("run/hawser/envoy.json"))?)?;
    let admin = rig.vm.status().await?.envoy.admin;
    let envoy = Envoy::start(&bootstrap, admin, rig.vm.root()).await?;
    let pid = envoy.pid().context("Envoy has no pid")?;
    rig.envoy_ready().await?;
    has_taken(&rig, ONE_SERVICE).await?;
    let built = built(&rig).await?;
    let traffic = Traffic::start(&rig.mesh.service, 2);
    rig.mesh.istiod.reach(Reach::Down).await?;

    agent.terminate().await?;
    more_requests(&traffic).await?;
    let mut agent = rig.vm.start_with(&flags, &[]).await?;
    found_again(&rig).await.with_context(|| agent.tail())?;
    agent.kill().await?;
    more_requests(&traffic).await?;
    let agent = rig.vm.start_with(&flags, &[]).await?;
    found_again(&rig).await.with_context(|| agent.tail())?;

    rig.mesh.istiod.reach(Reach::Up).await?;
    wait_for("istiod to be joined", async || {
        let relay = rig.status().await?["relay"].take();
        ensure!(relay["joined"] == 1 && relay["stale"].is_null(), "{relay}");
        Ok(())
    })
    .await
    .with_context(|| agent.tail())?;
    more_requests(&traffic).await?;
    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{} of {} failed: {:?}", served.failed, served.ok, served.why);
    assert_eq!(self::built(&rig).await?, built, "Envoy has built something anew");
    ensure!(envoy.pid() == Some(pid), "and it is the same Envoy");
    Ok(())
}

/// Waits until Envoy is back at the agent, with what it has.
async fn found_again(rig: &Rig) -> Result<()> {
    wait_for("Envoy to find the agent again", async || {
        let status = rig.status().await?;
        ensure!(status["secrets"]["accepted"].as_u64() >= Some(2), "{status}");
        ensure!(status["relay"]["streams"] == 1, "{status}");
        ensure!(status["relay"]["stale"]["of"].as_u64().is_some(), "{status}");
        Ok(())
    })
    .await
}

/// What Envoy has built and taken down so far.
async fn built(rig: &Rig) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for name in ["listener_added", "listener_modified", "listener_removed"] {
        all.push(stat(rig, &format!("listener_manager.{name}")).await?);
    }
    for name in ["cluster_added", "cluster_modified", "cluster_removed"] {
        all.push(stat(rig, &format!("cluster_manager.{name}")).await?);
    }
    Ok(all)
}

async fn more_requests(traffic: &Traffic) -> Result<()> {
    let before = traffic.so_far();
    let passed = before.ok + before.failed + 20;
    traffic.until("more requests", |now| now.ok + now.failed >= passed).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_starts_anew_without_istiod_is_given_what_it_had_in_delta() -> Result<()> {
    envoy_alone(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_starts_anew_without_istiod_is_given_what_it_had_in_sotw() -> Result<()> {
    envoy_alone(Flavour::SotW).await
}

async fn envoy_alone(flavour: Flavour) -> Result<()> {
    let mut watched = Watched::up(flavour, &[]).await?;
    has_taken(&watched.rig, ONE_SERVICE).await?;
    let first = watched.status("/envoy/pid").await?;
    watched.rig.mesh.istiod.reach(Reach::Down).await?;

    let pid = i32::try_from(first.as_i64().context("no pid")?)?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    wait_for("another Envoy", async || {
        let pid = watched.status("/envoy/pid").await?;
        ensure!(pid.is_number() && pid != first, "{pid}");
        Ok(())
    })
    .await?;

    watched.rig.envoy_ready().await.with_context(|| watched.agent.tail())?;
    serves_as_the_machine(&watched.rig).await?;
    let relay = watched.status("/relay").await?;
    ensure!(relay["stale"]["of"].as_u64().is_some(), "{relay}");
    watched.look().await?;
    watched.rig.mesh.istiod.reach(Reach::Up).await?;
    watched.joined().await?;
    watched.noticed_nothing().await?;
    watched.hears("after-the-start").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_refused_is_not_what_the_next_boot_serves_in_delta() -> Result<()> {
    refused(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_refused_is_not_what_the_next_boot_serves_in_sotw() -> Result<()> {
    refused(Flavour::SotW).await
}

/// A push that cannot be decoded, and one that Envoy understands and does not want.
async fn refused(flavour: Flavour) -> Result<()> {
    let before = Watched::up(flavour, &[]).await?;
    has_taken(&before.rig, ONE_SERVICE).await?;
    let istiod = &before.rig.mesh.istiod;
    istiod.world().change(|state| {
        state.garbage(CLUSTER);
        state.put(&Cluster { name: "beside-the-garbage".to_owned(), ..Cluster::default() });
        state.put(&Listener { name: "nowhere".to_owned(), ..Listener::default() });
    });
    let both =
        |seen: &Seen| [CLUSTER, LISTENER].iter().all(|type_url| !seen.nacks(type_url).is_empty());
    istiod.until("both refusals", both).await?;

    let rig = switched_off(before).await?;
    let nacks = rig.mesh.istiod.seen().nacks(LISTENER).len();
    let watched = Watched::on(rig, flavour, &[]).await?;

    serves_as_the_machine(&watched.rig).await?;
    let types = watched.status("/relay/types").await?;
    for type_url in [CLUSTER, LISTENER] {
        ensure!(types[type_url]["rejections"] == 0, "{type_url} refused again: {types}");
    }
    let clusters = ask(&watched.rig, "/clusters").await?;
    ensure!(!clusters.contains("beside-the-garbage"), "the refused push is served: {clusters}");
    let kept = watched.status("/relay/kept/resources").await?;
    ensure!(kept == ONE_SERVICE, "{kept} resources are kept");

    // It is still wrong at istiod, so it is refused there again, and nothing else happens.
    let istiod = &watched.rig.mesh.istiod;
    istiod.reach(Reach::Up).await?;
    istiod.until("a refusal", |seen| seen.nacks(LISTENER).len() > nacks).await?;
    serves_as_the_machine(&watched.rig).await?;
    ensure!(istiod.seen().crashes == 0, "istiod was brought down");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_kept_envoy_waits_for_istiod_in_delta() -> Result<()> {
    nothing_kept(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_kept_envoy_waits_for_istiod_in_sotw() -> Result<()> {
    nothing_kept(Flavour::SotW).await
}

/// The first boot ever, and the first with an Envoy.
async fn nothing_kept(flavour: Flavour) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let flags = ["--set", delta(flavour)];
    let agent = rig.vm.spawn(&flags, &[])?;
    waits(&rig).await.with_context(|| agent.tail())?;
    ensure!(!agent.notified().ready, "ready without an identity");
    rig.mesh.istiod.reach(Reach::Up).await?;
    let mut agent = agent.ready().await?;
    rig.envoy_ready().await.with_context(|| agent.tail())?;
    serves_as_the_machine(&rig).await?;
    agent.terminate().await?;

    // It has its certificate, and nothing else.
    std::fs::remove_dir_all(rig.file("var/lib/hawser/configuration"))?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let agent = rig.vm.start_with(&flags, &[]).await?;
    waits(&rig).await.with_context(|| agent.tail())?;
    rig.mesh.istiod.reach(Reach::Up).await?;
    rig.envoy_ready().await.with_context(|| agent.tail())?;
    serves_as_the_machine(&rig).await
}
