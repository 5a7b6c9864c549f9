//! A stop is clean: Envoy drains and ends, sockets are gone, nothing is left running.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::agent::alive;
use tokio::io::AsyncWriteExt as _;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_no_process_and_no_socket() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let mut agent = rig.serving().await?;
    let status = rig.status().await?;
    let envoy = i32::try_from(status["envoy"]["pid"].as_i64().context("no pid")?)?;

    let ended = agent.terminate().await?;

    assert_eq!(ended.code(), Some(0));
    ensure!(agent.notified().stopping, "systemd was not told");
    ensure!(!alive(envoy), "Envoy is left running");
    for entry in fs::read_dir(rig.file("run/hawser"))? {
        let entry = entry?;
        let socket = entry.path().extension().is_some_and(|extension| extension == "sock");
        ensure!(!socket, "{} is left", entry.path().display());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_a_connection_open_does_not_hold_the_stop_up() -> Result<()> {
    let rig = Rig::joined().await?;
    let settings: toml::Table = rig.vm.toml()?.parse()?;
    let status = settings["status"]["listen"].as_str().context("no status port")?.to_owned();
    let mut agent = rig.vm.start().await?;
    let mut half = tokio::net::TcpStream::connect(&status).await?;
    half.write_all(b"GET /healthz/ready HTTP/1.1\r\n").await?;

    assert_eq!(agent.terminate().await?.code(), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_leaves_no_socket() -> Result<()> {
    let rig = Rig::joined().await?;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let setting = format!("status.listen={}", taken.local_addr()?);

    let mut agent = rig.vm.spawn(&["--set", &setting], &[])?;
    let ended = agent.wait_exit(hawser_harness::wait::PATIENCE).await?;

    assert_eq!(ended.code(), Some(1));
    ensure!(agent.tail().contains("set status.listen"), "{}", agent.tail());
    ensure!(!rig.file("run/hawser/sds.sock").exists(), "a socket is left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_agent_leaves_does_not_stop_the_next() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.start().await?.kill().await?;

    let mut agent = rig.vm.start().await?;

    assert_eq!(agent.terminate().await?.code(), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_envoy_of_a_killed_agent_makes_room_for_the_next() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let mut agent = rig.serving().await?;
    let left = rig.vm.status().await?.envoy.pid.context("no pid")?;
    agent.kill().await?;
    ensure!(alive(left), "this is about an Envoy that was left behind");

    let next = rig.serving().await?;

    let now = rig.vm.status().await?.envoy.pid.context("no pid")?;
    ensure!(now != left && rig.request().await?.status == 200, "{}", next.tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_is_refused_and_the_first_goes_on() -> Result<()> {
    let rig = Rig::joined().await?;
    let first = rig.vm.start().await?;

    let mut second = rig.vm.spawn(&[], &[])?;
    let ended = second.wait_exit(hawser_harness::wait::PATIENCE).await?;

    assert_eq!(ended.code(), Some(75));
    let said = second.tail();
    ensure!(said.contains(&format!("process {} runs here already", first.pid())), "{said}");
    assert_eq!(rig.status().await?["state"], "ready");
    ensure!(alive(first.pid()));
    Ok(())
}
