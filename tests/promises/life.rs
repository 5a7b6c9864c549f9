//! The agent's life under systemd: ready is what it says, whoever waits for the mesh waits long
//! enough and not for ever, the watchdog is fed by what works, and a wrong file changes nothing.

use std::{fs, process::Output};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::{Agent, Notified},
    istiod::Reach,
    wait::wait_for,
};
use nix::sys::signal::Signal;

use crate::rig::{Rig, said};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_boots_while_istiod_is_away_and_is_told_the_truth() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;

    let agent = rig.vm.spawn(&[], &[])?;

    // It waits for half a minute itself.
    let _not_yet = agent.until("ready", |told| told.ready).await;
    agent.until("ready", |told| told.ready).await.with_context(|| agent.tail())?;
    let says =
        |told: &Notified| told.status.iter().any(|told| told.starts_with("no certificate yet: "));
    let told = agent.until("the truth", says).await?;
    ensure!(told.status.iter().all(|told| told != "ready"), "{:?}", told.status);
    // Whoever asks for more is told no.
    ensure!(waited(&rig, "0s").await?.status.code() == Some(75), "the gates are open");
    let status = rig.status().await?;
    ensure!(status["waits_for"] == serde_json::json!(["identity"]), "{status}");

    rig.mesh.istiod.reach(Reach::Up).await?;
    let whole = |told: &Notified| told.status.last().is_some_and(|told| told == "ready");
    agent.until("its recovery", whole).await.with_context(|| agent.tail())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_since_when_istiod_is_away_and_when_it_is_back() -> Result<()> {
    let rig = Rig::joined().await?;
    let agent = rig.vm.start().await?;
    let last = |told: &Notified, wanted: &str| {
        told.status.last().is_some_and(|told| told.contains(wanted))
    };
    rig.names_known().await?;
    agent.until("ready", |told| last(told, "ready")).await?;

    rig.mesh.istiod.reach(Reach::Down).await?;
    agent.until("away", |told| last(told, "istiod unreachable since 20")).await?;
    rig.mesh.istiod.reach(Reach::Up).await?;
    agent.until("back", |told| last(told, "ready")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_the_mesh_waits_for_all_of_it_and_not_for_ever() -> Result<()> {
    let rig = Rig::joined().await?;
    let nobody = waited(&rig, "100ms").await?;
    ensure!(nobody.status.code() == Some(3), "{}", said(&nobody));

    let _agent = rig.vm.start().await?;
    let ready = waited(&rig, "30s").await?;
    ensure!(ready.status.success() && said(&ready).ends_with("ready\n"), "{}", said(&ready));

    // With Envoy's unit there, Envoy is waited for too.
    fs::create_dir(rig.file("run/hawser-envoy"))?;
    let lacks = waited(&rig, "100ms").await?;
    ensure!(lacks.status.code() == Some(75), "{}", said(&lacks));
    ensure!(said(&lacks).contains("not ready: envoy: "), "{}", said(&lacks));
    let waits = rig.vm.hawser(&["status", "--wait-ready", "30s"]);
    let (ready, envoy) = tokio::join!(waits, crate::registration::own_envoy(&rig));
    drop(envoy?);
    let ready = ready?;
    ensure!(ready.status.success(), "{}", said(&ready));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_fed_and_a_machine_that_stood_still_raises_no_alarm() -> Result<()> {
    let rig = Rig::joined().await?;
    let agent = rig.vm.start_with(&[], &[("WATCHDOG_USEC", "3000000")]).await?;
    let fed = agent.until("the watchdog to be fed", |told| told.watchdog >= 2).await?.watchdog;

    for _ in 0..3 {
        agent.suspend().await?;
        agent.resume()?;
    }

    agent.until("it to be fed again", |told| told.watchdog > fed + 1).await?;
    let log = fs::read_to_string(agent.log())?;
    ensure!(!log.contains("does not answer"), "{log}");
    ensure!(agent.notified().status.iter().all(|told| !told.contains("does not answer")));
    // A sign of life is no question of anybody's.
    let status = rig.status().await?;
    ensure!(status["dns"]["queries"] == 0 && status["dns"]["refused"] == 0, "{}", status["dns"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_over_what_it_can_names_the_rest_and_a_wrong_file_changes_nothing()
-> Result<()> {
    let rig = Rig::joined().await?;
    let agent = rig.vm.start().await?;
    let before = rig.vm.toml()?;

    // What can change at run time does.
    rig.vm.settings(&format!("{before}\n[log]\nlevel = \"debug\"\n"))?;
    reload(&agent, "configuration read again").await?;
    rig.status().await?;
    let lines = |log: &str| log.lines().filter(|line| line.contains(" DEBUG ")).count();
    wait_for("more to be said", async || {
        let log = fs::read_to_string(agent.log())?;
        ensure!(lines(&log) > 0, "{log}");
        Ok(())
    })
    .await?;

    // What cannot is named.
    rig.vm.settings(&before.replace("[dns]\n", "[dns]\ntimeout = \"7s\"\n"))?;
    reload(&agent, "needs a restart").await?;
    let says = |told: &Notified, wanted: &str| {
        told.status.last().is_some_and(|told| told.contains(wanted))
    };
    agent.until("its name", |told| says(told, "needs a restart: dns.timeout")).await?;
    ensure!(rig.status().await?["troubles"][0]["code"] == "settings-pending", "not in the status");

    // What is wrong is told, all of it.
    rig.vm
        .settings(&before.replace("[dns]\n", "[dns]\ntimeout = \"soon\"\nstale = \"never\"\n"))?;
    reload(&agent, "configuration not taken over").await?;
    let log = fs::read_to_string(agent.log())?;
    ensure!(log.contains("dns.timeout") && log.contains("dns.stale"), "{log}");
    agent.until("the number", |told| says(told, "2 problems and is not taken over")).await?;
    ensure!(rig.status().await?["troubles"][0]["next"] == "hawser check", "not in the status");

    rig.vm.settings(&before)?;
    reload(&agent, "configuration read again").await?;
    agent.until("all is well", |told| says(told, "ready")).await?;
    assert_eq!(rig.status().await?["state"], "ready");
    Ok(())
}

/// Tells it to read its configuration again; returns when systemd has been told that it has, and
/// it has said how that went.
async fn reload(agent: &Agent, outcome: &str) -> Result<()> {
    let said = |log: &str| log.matches(outcome).count();
    let (before, told) = (said(&fs::read_to_string(agent.log())?), agent.notified().reloads);
    agent.signal(Signal::SIGHUP)?;
    let done = |now: &Notified| now.reloads == (told.0 + 1, told.1 + 1);
    agent.until("the reload", done).await.with_context(|| agent.tail())?;
    wait_for(outcome, async || {
        ensure!(said(&fs::read_to_string(agent.log())?) > before, "{}", agent.tail());
        Ok(())
    })
    .await
}

async fn waited(rig: &Rig, patience: &str) -> Result<Output> {
    rig.vm.hawser(&["status", "--wait-ready", patience]).await
}
