//! Several istiods, and several addresses of one: whichever is alive serves, and Envoy does not
//! notice which.

use std::{fs, io::Write as _};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    istiod::{FakeIstiod, Flavour, Reach, SERVER_NAME},
    wait::wait_for,
};

use crate::{
    outages::watched::{Watched, own_address, towards},
    rig::Rig,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_first_endpoint_leaves_it_to_the_second_in_delta() -> Result<()> {
    first_is_dead(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_first_endpoint_leaves_it_to_the_second_in_sotw() -> Result<()> {
    first_is_dead(Flavour::SotW).await
}

async fn first_is_dead(flavour: Flavour) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let second = rig.mesh.istiod.start_beside().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let settings = towards(&[&rig.mesh.istiod, &second]);

    let watched = Watched::on(rig, flavour, &as_text(&settings)).await?;

    watched.joined().await?;
    serves(&watched, &second).await?;
    watched.hears("from-the-second").await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_endpoint_takes_over_from_one_that_dies_in_delta() -> Result<()> {
    takes_over(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_endpoint_takes_over_from_one_that_dies_in_sotw() -> Result<()> {
    takes_over(Flavour::SotW).await
}

/// There and back again.
async fn takes_over(flavour: Flavour) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let first = rig.mesh.istiod.start_beside_on(own_address()?).await?;
    let second = rig.mesh.istiod.start_beside_on(own_address()?).await?;
    let settings = towards(&[&first, &second]);
    let watched = Watched::on(rig, flavour, &as_text(&settings)).await?;
    serves(&watched, &first).await?;
    ensure!(second.seen().streams.is_empty(), "the second is asked although the first serves");

    first.reach(Reach::Down).await?;
    watched.joined().await?;
    serves(&watched, &second).await?;
    watched.noticed_nothing().await?;

    first.reach(Reach::Up).await?;
    second.reach(Reach::Down).await?;
    watched.joined().await?;
    serves(&watched, &first).await?;
    watched.noticed_nothing().await?;
    watched.hears("there-and-back").await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_addresses_of_a_name_the_live_one_serves() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let [dead, alive] = [own_address()?, own_address()?];
    let dead_one = rig.mesh.istiod.start_beside_on(dead).await?;
    let live_one = rig.mesh.istiod.start_beside_on(alive).await?;
    dead_one.reach(Reach::Down).await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let hosts = format!("{dead} {SERVER_NAME}\n{alive} {SERVER_NAME}\n");
    fs::File::create(rig.file("etc/hawser/mesh/hosts"))?.write_all(hosts.as_bytes())?;
    let settings = ["address", "ca_address"].map(|it| format!("istiod.{it}={SERVER_NAME}:15012"));

    let watched = Watched::on(rig, Flavour::Delta, &as_text(&settings)).await?;

    // Which address of a name is tried first is left to chance: more than once.
    for _ in 0..4 {
        serves(&watched, &live_one).await?;
        let streams = live_one.seen().streams.len();
        live_one.reset();
        live_one.until("both streams again", |seen| seen.streams.len() >= streams + 2).await?;
        watched.joined().await?;
    }
    ensure!(dead_one.seen().streams.is_empty(), "the dead one has served");
    watched.noticed_nothing().await?;

    live_one.reach(Reach::Down).await?;
    dead_one.reach(Reach::Up).await?;
    watched.joined().await?;
    serves(&watched, &dead_one).await?;
    watched.noticed_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_from_which_nothing_comes_back_holds_nothing_up() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let second = rig.mesh.istiod.start_beside().await?;
    rig.mesh.istiod.reach(Reach::Blackholed).await?;
    let mut settings = towards(&[&rig.mesh.istiod, &second]);
    // Nothing in a test may take so long: who waits for this fails.
    settings.push("istiod.connect_timeout=10m".to_owned());

    let watched = Watched::on(rig, Flavour::Delta, &as_text(&settings)).await?;

    watched.joined().await?;
    serves(&watched, &second).await?;
    watched.hears("past-the-hole").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_has_led_to_nothing_is_not_tried_first_each_time() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let second = rig.mesh.istiod.start_beside().await?;
    // It takes connections, and says nothing on them.
    rig.mesh.istiod.reach(Reach::HalfOpen).await?;
    let mut settings = towards(&[&rig.mesh.istiod, &second]);
    settings.push("istiod.connect_timeout=1s".to_owned());
    let watched = Watched::on(rig, Flavour::Delta, &as_text(&settings)).await?;
    watched.joined().await?;
    let tried = |istiod: &FakeIstiod| istiod.seen().connections.len();
    let before = [tried(&watched.rig.mesh.istiod), tried(&second)];
    ensure!(before[0] > 0, "the first was never tried");

    for _ in 0..6 {
        let streams = second.seen().streams.len();
        second.reset();
        second.until("both streams again", |seen| seen.streams.len() >= streams + 2).await?;
    }

    watched.joined().await?;
    serves(&watched, &second).await?;
    let first = tried(&watched.rig.mesh.istiod) - before[0];
    let second = tried(&second) - before[1];
    // It is tried now and then, the more seldom the longer that leads to nothing.
    ensure!(2 * first <= second, "the first was tried {first} times, the second {second} times");
    watched.noticed_nothing().await
}

fn as_text(settings: &[String]) -> Vec<&str> {
    settings.iter().map(String::as_str).collect()
}

/// Waits until the status says that this one serves Envoy; and it does.
async fn serves(watched: &Watched, istiod: &FakeIstiod) -> Result<()> {
    let address = istiod.addr().to_string();
    wait_for("the status to name the istiod that serves", async || {
        let relay = watched.status("/relay").await?;
        let source = relay["source"].as_str().context("nobody serves")?;
        ensure!(relay["joined"] == 1 && source.contains(&address), "{relay}, not {address}");
        Ok(())
    })
    .await
    .with_context(|| watched.agent.tail())?;
    ensure!(!istiod.seen().live().is_empty(), "{address} has no stream");
    Ok(())
}
