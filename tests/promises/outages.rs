//! Envoy never notices istiod's troubles: whatever becomes of istiod, its stream stays up, and
//! requests pass.

pub(crate) mod watched;

use std::time::Duration;

use anyhow::{Result, ensure};
use hawser_harness::{
    dig::Dig,
    istiod::{Age, FakeIstiod, Flavour, Reach, Silence},
    mesh::OUTSIDE,
    traffic::Traffic,
    wait::wait_for,
};
use tokio::time::{MissedTickBehavior, interval};

use self::watched::{Footprint, Watched, own_address, towards};
use crate::rig::Rig;

const RESTARTS: usize = 200;
/// Requests that pass between two restarts.
const BETWEEN: usize = 5;
/// What comes and goes by itself: a status command, a thread that waits for work.
const SLACK: usize = 8;
/// Lines that the agent and its Envoy may write while istiod comes and goes, however often.
const LINES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_restarts_of_istiod_cost_nothing_in_delta() -> Result<()> {
    restarts(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_restarts_of_istiod_cost_nothing_in_sotw() -> Result<()> {
    restarts(Flavour::SotW).await
}

/// Most of them come before the agent has got over the one before; it is let every tenth time.
async fn restarts(flavour: Flavour) -> Result<()> {
    let (watched, istiod) = apart(flavour).await?;
    let lines = watched.lines()?;
    let traffic = Traffic::start(&watched.rig.mesh.service, 2);
    let mut settled = None;
    for number in 1..=RESTARTS {
        istiod.restart().await?;
        if number % 10 == 0 {
            let footprint = watched.footprint().await?;
            settled.get_or_insert(footprint);
        }
        let before = traffic.so_far();
        let passed = before.ok + before.failed + BETWEEN;
        traffic.until("requests in between", |now| now.ok + now.failed >= passed).await?;
    }

    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{} of {} failed: {:?}", served.failed, served.ok, served.why);
    watched.noticed_nothing().await?;
    let settled = settled.unwrap_or(Footprint { descriptors: 0, threads: 0 });
    wait_for("the agent to need no more than before", async || {
        let Footprint { descriptors, threads } = watched.footprint().await?;
        ensure!(descriptors <= settled.descriptors + SLACK, "{descriptors} of {settled:?}");
        ensure!(threads <= settled.threads + SLACK, "{threads} of {settled:?}");
        Ok(())
    })
    .await?;
    let written = watched.lines()? - lines;
    ensure!(written <= LINES, "{written} lines:\n{}", watched.agent.tail());
    watched.hears("after-the-restarts").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_age_limit_of_connections_is_nothing_to_envoy_in_delta() -> Result<()> {
    old_age(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_age_limit_of_connections_is_nothing_to_envoy_in_sotw() -> Result<()> {
    old_age(Flavour::SotW).await
}

/// istiod ends each connection after half an hour, here after half a second.
async fn old_age(flavour: Flavour) -> Result<()> {
    let watched = Watched::up(flavour, &[]).await?;
    let istiod = &watched.rig.mesh.istiod;
    let traffic = Traffic::start(&watched.rig.mesh.service, 2);
    let short = Duration::from_millis(500);
    istiod.faults(|faults| faults.max_age = Some(Age { age: short, grace: short }));
    let streams = istiod.seen().streams.len();

    istiod.goaway(short);
    // Envoy's and the agent's own, five times each.
    istiod.until("streams again and again", |seen| seen.streams.len() >= streams + 10).await?;

    istiod.faults(|faults| faults.max_age = None);
    watched.joined().await?;
    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{} of {} failed: {:?}", served.failed, served.ok, served.why);
    watched.noticed_nothing().await?;
    watched.hears("after-old-age").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_istiod_holds_nothing_up_and_is_joined_when_it_is_back() -> Result<()> {
    let watched = Watched::up(Flavour::Delta, &["istiod.connect_timeout=1s"]).await?;
    let istiod = &watched.rig.mesh.istiod;

    // That a dead connection is found is shown beside hawser-istiod: it takes 40 s.
    istiod.reach(Reach::Frozen).await?;
    still_works(&watched).await?;
    istiod.reset();
    trouble(&watched).await?;
    still_works(&watched).await?;
    istiod.reach(Reach::Blackholed).await?;
    still_works(&watched).await?;
    watched.noticed_nothing().await?;

    istiod.reach(Reach::Up).await?;
    watched.joined().await?;
    watched.noticed_nothing().await?;
    watched.hears("after-the-frost").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_istiod_that_never_begins_to_answer_is_made_up_for_in_delta() -> Result<()> {
    silence(Flavour::Delta, Silence::Headers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_istiod_that_never_begins_to_answer_is_made_up_for_in_sotw() -> Result<()> {
    silence(Flavour::SotW, Silence::Headers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_istiod_that_begins_to_answer_and_never_does_is_made_up_for_in_delta() -> Result<()> {
    silence(Flavour::Delta, Silence::Messages).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_istiod_that_begins_to_answer_and_never_does_is_made_up_for_in_sotw() -> Result<()> {
    silence(Flavour::SotW, Silence::Messages).await
}

/// The machine boots while istiod takes streams and says nothing on them.
async fn silence(flavour: Flavour, how: Silence) -> Result<()> {
    let mut first = Watched::up(flavour, &[]).await?;
    first.joined().await?;
    first.agent.terminate().await?;
    let rig: Rig = first.rig;
    let (streams, istiod) = (rig.mesh.istiod.seen().streams.len(), &rig.mesh.istiod);
    istiod.faults(|faults| faults.silence = Some(how));

    let second = Watched::on(rig, flavour, &[]).await?;

    let istiod = &second.rig.mesh.istiod;
    ensure!(istiod.seen().streams.len() > streams, "istiod has taken no stream");
    ensure!(second.rig.request().await?.status == 200, "requests pass");
    let relay = second.status("/relay").await?;
    ensure!(relay["joined"] == 0 && relay["stale"]["of"].as_u64().is_some(), "{relay}");
    second.noticed_nothing().await?;

    istiod.faults(|faults| faults.silence = None);
    istiod.world().push_again();
    second.joined().await?;
    second.noticed_nothing().await?;
    second.hears("after-the-silence").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flapping_istiod_floods_no_log_and_costs_nothing_in_delta() -> Result<()> {
    flaps(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flapping_istiod_floods_no_log_and_costs_nothing_in_sotw() -> Result<()> {
    flaps(Flavour::SotW).await
}

/// 0.2 s up, 0.2 s down, for 10 s.
async fn flaps(flavour: Flavour) -> Result<()> {
    let (watched, istiod) = apart(flavour).await?;
    let lines = watched.lines()?;
    let traffic = Traffic::start(&watched.rig.mesh.service, 2);
    let mut beat = interval(Duration::from_millis(200));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..25 {
        beat.tick().await;
        istiod.reach(Reach::Down).await?;
        beat.tick().await;
        istiod.reach(Reach::Up).await?;
    }

    watched.joined().await?;
    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{} of {} failed: {:?}", served.failed, served.ok, served.why);
    watched.noticed_nothing().await?;
    let written = watched.lines()? - lines;
    ensure!(written <= LINES, "{written} lines:\n{}", watched.agent.tail());
    watched.hears("after-the-flaps").await
}

/// A machine whose istiod has an address of its own.
async fn apart(flavour: Flavour) -> Result<(Watched, FakeIstiod)> {
    let rig = Rig::with_envoy().await?;
    let istiod = rig.mesh.istiod.start_beside_on(own_address()?).await?;
    let settings = towards(&[&istiod]);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Ok((Watched::on(rig, flavour, &settings).await?, istiod))
}

/// Waits until the agent says that Envoy's stream has trouble.
async fn trouble(watched: &Watched) -> Result<()> {
    wait_for("the trouble to be told", async || {
        let relay = watched.status("/relay").await?;
        ensure!(relay["joined"] == 0 && relay["trouble"].is_string(), "{relay}");
        Ok(())
    })
    .await
}

/// Requests pass, names resolve, and the agent tells how it is.
async fn still_works(watched: &Watched) -> Result<()> {
    let Watched { rig, .. } = watched;
    ensure!(rig.request().await?.status == 200, "requests pass");
    Dig::a(OUTSIDE).ask(rig.dns().await?).await?;
    let state = watched.status("/state").await?;
    ensure!(state == "ready", "{state}");
    Ok(())
}
