//! A push of any size reaches Envoy as it was sent, and the agent's memory does not grow with it.

mod broken;
pub(crate) mod memory;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    dig::Dig,
    istiod::{Ballast, Drip, Flavour},
    mesh::OUTSIDE,
    wait::wait_for,
    xds::{Held, Options, Pace, Place, XdsClient},
};
use hawser_proto::type_url::{CLUSTER, LISTENER};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use self::memory::Memory;
use crate::{
    outages::watched::{Watched, delta},
    rig::Rig,
};

const MB: usize = 1_000_000;
/// What a push may add to the memory of the agent.
const MOST_MEMORY: usize = 6 * MB;
/// 20 MB a second at most.
const SLOW: Pace = Pace { bytes: MB, pause: Duration::from_millis(50) };

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_100_mb_passes_without_staying_in_memory_in_delta() -> Result<()> {
    passes(Flavour::Delta, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_100_mb_passes_without_staying_in_memory_in_sotw() -> Result<()> {
    passes(Flavour::SotW, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_100_mb_costs_no_memory_and_holds_nothing_else_up_in_delta() -> Result<()>
{
    passes(Flavour::Delta, Some(SLOW)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_100_mb_costs_no_memory_and_holds_nothing_else_up_in_sotw() -> Result<()> {
    passes(Flavour::SotW, Some(SLOW)).await
}

/// To a client that keeps nothing of it, and knows no extensions that something is to be cut for.
async fn passes(flavour: Flavour, pace: Option<Pace>) -> Result<()> {
    let rig = Rig::joined().await?;
    let agent = rig.vm.start_with(&["--set", delta(flavour)], &[]).await?;
    let client = client(&rig, flavour, false).await?;
    let before = client.held().responses(CLUSTER);
    let idle = Memory::idle(agent.pid()).await?;
    client.pace(pace)?;

    rig.mesh.istiod.world().change(|state| state.ballast_of(ballast(100 * MB, 50_000, 1)));

    if pace.is_some() {
        wait_for("some of it to pass", async || {
            ensure!(client.held().bytes > MB as u64, "nothing yet");
            Ok(())
        })
        .await?;
        for _ in 0..10 {
            Dig::a(OUTSIDE).ask(rig.dns().await?).await?;
        }
        ensure!(client.held().responses(CLUSTER) == before, "the reader is not slow");
    }
    let held = arrives(&client, &agent, |held| held.responses(CLUSTER) > before).await?;
    let bytes = held.types.get(CLUSTER).map_or(0, |kept| kept.bytes);
    ensure!(bytes >= 100 * MB, "{bytes} bytes came");
    rig.mesh.istiod.until("its receipt", |seen| seen.acks(CLUSTER) > before).await?;
    let grown = Memory::peak(agent.pid())?.over(idle);
    ensure!(grown <= MOST_MEMORY, "the agent has grown by {grown} bytes");
    // As hawser.service says of MemoryMax: the rest of it is for a large file of services.
    let (peak, most) = (Memory::own_peak(agent.pid())?, memory::of_the_unit()?);
    ensure!(peak.times(8) <= most, "{peak:?} is much of MemoryMax of hawser.service, {most:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_100_mb_reaches_an_envoy_that_is_to_get_everything_in_delta() -> Result<()> {
    reaches_envoy(Flavour::Delta, "envoy.compat=istio").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_100_mb_reaches_an_envoy_that_is_to_get_everything_in_sotw() -> Result<()> {
    reaches_envoy(Flavour::SotW, "envoy.compat=istio").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_100_mb_reaches_an_envoy_that_is_spared_what_it_cannot_load_in_delta()
-> Result<()> {
    reaches_envoy(Flavour::Delta, "envoy.compat=auto").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_100_mb_reaches_an_envoy_that_is_spared_what_it_cannot_load_in_sotw() -> Result<()>
{
    reaches_envoy(Flavour::SotW, "envoy.compat=auto").await
}

/// In the middle of it istiod is killed once.
async fn reaches_envoy(flavour: Flavour, compat: &str) -> Result<()> {
    let watched = Watched::up(flavour, &[compat]).await?;
    watched.joined().await?;
    let (istiod, agent) = (&watched.rig.mesh.istiod, &watched.agent);
    let idle = Memory::idle(agent.pid()).await?;
    let cut = broken::cut(CLUSTER, 50 * MB);
    istiod.faults(|faults| faults.cut = Some(cut));

    istiod.world().change(|state| state.ballast_of(ballast(100 * MB, 64 * 1024, 1)));

    let cut = istiod.until("the cut", |seen| seen.cuts == 1).await;
    cut.with_context(|| agent.tail())?;
    taken(&watched).await?;
    let last = 100 * MB / (64 * 1024);
    watched.has(&format!("ballast-{last}")).await?;
    watched.lost_nothing().await?;
    ensure!(watched.rig.mesh.istiod.seen().nacks(CLUSTER).is_empty(), "istiod is told of the cut");
    let grown = Memory::peak(agent.pid())?.over(idle);
    ensure!(grown <= MOST_MEMORY, "the agent has grown by {grown} bytes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_stands_still_in_the_middle_of_a_push_costs_no_memory() -> Result<()> {
    let watched = Watched::up(Flavour::Delta, &["envoy.compat=istio"]).await?;
    watched.joined().await?;
    let (rig, agent) = (&watched.rig, &watched.agent);
    let envoy = watched.status("/envoy/pid").await?.as_i64().context("no Envoy")?;
    let envoy = Pid::from_raw(i32::try_from(envoy)?);
    let idle = Memory::idle(agent.pid()).await?;

    kill(envoy, Signal::SIGSTOP)?;
    rig.mesh.istiod.world().change(|state| state.ballast_of(ballast(20 * MB, 64 * 1024, 1)));
    for _ in 0..20 {
        Dig::a(OUTSIDE).ask(rig.dns().await?).await?;
        watched.status("/relay").await?;
    }
    let grown = Memory::peak(agent.pid())?.over(idle);
    kill(envoy, Signal::SIGCONT)?;

    ensure!(grown <= MOST_MEMORY, "the agent has grown by {grown} bytes");
    taken(&watched).await?;
    watched.lost_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_resources_that_change_all_the_time_end_as_istiod_has_them_in_delta()
-> Result<()> {
    changes(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_resources_that_change_all_the_time_end_as_istiod_has_them_in_sotw() -> Result<()>
{
    changes(Flavour::SotW).await
}

/// Ten times a second for ten seconds, by a slow istiod, to a real Envoy and to a slow client.
async fn changes(flavour: Flavour) -> Result<()> {
    const RESOURCES: usize = 1000;
    const PIECE: usize = 1024;
    let watched = Watched::up(flavour, &[]).await?;
    watched.joined().await?;
    let rig = &watched.rig;
    let client = client(rig, flavour, true).await?;
    let idle = Memory::idle(watched.agent.pid()).await?;
    rig.mesh.istiod.faults(|faults| {
        faults.delay = Duration::from_millis(20);
        faults.drip = Some(Drip { bytes: 64 * 1024, pause: Duration::from_millis(2) });
    });
    client.pace(Some(Pace { bytes: 256 * 1024, pause: Duration::from_millis(20) }))?;
    let mut beat = tokio::time::interval(Duration::from_millis(100));

    for round in 0..100 {
        beat.tick().await;
        let ballast = ballast(RESOURCES * PIECE, PIECE, round);
        rig.mesh.istiod.world().change(|state| state.ballast_of(ballast));
    }

    client.pace(None)?;
    rig.mesh.istiod.faults(|faults| (faults.delay, faults.drip) = (Duration::ZERO, None));
    let text = "round 99 ";
    let newest = |held: &Held| {
        let kept = held.types.get(CLUSTER).into_iter().flat_map(|kept| &kept.resources);
        let rounds = kept.filter(|(name, _)| name.starts_with("ballast-"));
        let newest = rounds.filter(|(_, (_, value))| holds(value, text.as_bytes()));
        newest.count() == RESOURCES
    };
    arrives(&client, &watched.agent, newest).await?;
    taken(&watched).await?;
    watched.has(&format!("ballast-{}", RESOURCES - 1)).await?;
    watched.lost_nothing().await?;
    // Each response is gathered before it leaves: some of them, not a hundred.
    let grown = Memory::peak(watched.agent.pid())?.over(idle);
    ensure!(grown <= 20 * MB, "the agent has grown by {grown} bytes");
    Ok(())
}

/// Clusters that nobody uses.
fn ballast(bytes: usize, piece: usize, round: u64) -> Ballast {
    Ballast { bytes, piece, round }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A client beside Envoy that has what there is.
async fn client(rig: &Rig, flavour: Flavour, keeps: bool) -> Result<XdsClient> {
    let place = Place::Unix(rig.file("run/hawser/xds.sock"));
    let client = XdsClient::connect(&place, Options { keeps, ..Options::envoy(flavour) }).await?;
    client.subscribe(CLUSTER, &[])?;
    client.subscribe(LISTENER, &[])?;
    let there = |held: &Held| held.responses(CLUSTER) > 0 && held.responses(LISTENER) > 0;
    client.until("the first responses", there).await?;
    Ok(client)
}

/// Waits for what may take long, as long as bytes come.
async fn arrives(
    client: &XdsClient,
    agent: &Agent,
    mut done: impl FnMut(&Held) -> bool,
) -> Result<Held> {
    loop {
        let before = client.held().bytes;
        match client.until("a push", &mut done).await {
            Err(_) if client.held().bytes > before => {}
            come => return come.with_context(|| agent.tail()),
        }
    }
}

/// Waits until Envoy has taken the clusters that istiod has now.
async fn taken(watched: &Watched) -> Result<()> {
    let version = watched.rig.mesh.istiod.world().version();
    wait_for("Envoy to take the push", async || {
        let clusters = &watched.rig.status().await?["relay"]["types"][CLUSTER];
        ensure!(clusters["accepted"]["version"] == *version, "{clusters}, not {version}");
        Ok(())
    })
    .await
    .with_context(|| watched.agent.tail())
}
