//! What is logged can be changed while the agent runs, is a diary and a trail, and nothing that a
//! stranger does fills it.

mod floods;
pub(crate) mod journal;
mod trail;

use std::{fs, process::Output};

use anyhow::{Result, ensure};
use hawser_harness::{free, wait::wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::rig::{Rig, said};

#[tokio::test(flavor = "multi_thread")]
async fn how_much_is_logged_is_changed_while_it_runs_and_ends_with_a_reload() -> Result<()> {
    let rig = Rig::joined().await?;
    let down = log(&rig, &[]).await?;
    ensure!(down.status.code() == Some(3), "{}", said(&down));
    let agent = rig.vm.start().await?;
    ensure!(says(&rig, &[]).await? == "info");

    let set = says(&rig, &["dns:debug,warning"]).await?;
    ensure!(set.starts_with("hawser_dns=debug,warn, until a reload"), "{set}");
    let set = says(&rig, &["debug", "--for", "10m"]).await?;
    ensure!(set.contains("debug, for ") && set.contains("then info, as log.level says"), "{set}");
    let status: Value = serde_json::from_str(&says(&rig, &["--json"]).await?)?;
    ensure!(status["level"] == "debug" && status["ends_in"].as_u64() > Some(500), "{status}");
    wait_for("more to be said", async || {
        rig.status().await?;
        ensure!(fs::read_to_string(agent.log())?.contains(" DEBUG "), "nothing yet");
        Ok(())
    })
    .await?;

    agent.signal(Signal::SIGHUP)?;
    wait_for("the configuration's level", async || {
        ensure!(says(&rig, &[]).await? == "info", "not yet");
        Ok(())
    })
    .await?;
    says(&rig, &["debug"]).await?;
    ensure!(says(&rig, &["--reset"]).await? == "info");
    // It goes back by itself.
    says(&rig, &["trace", "--for", "1s"]).await?;
    wait_for("the end of the second", async || {
        ensure!(says(&rig, &[]).await? == "info", "not yet");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_level_is_wrong_usage_and_changes_nothing() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    for wrong in [&["loud"][..], &["dsn=debug"], &["debug", "--for", "soon"], &["--for", "1m"]] {
        let output = log(&rig, wrong).await?;
        ensure!(output.status.code() == Some(64), "{wrong:?}: {}", said(&output));
    }
    let part = said(&log(&rig, &["dsn=debug"]).await?);
    ensure!(part.contains("is no part of the agent; there are agent, dns"), "{part}");
    ensure!(says(&rig, &[]).await? == "info");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_has_envoy_open_its_log_files_again() -> Result<()> {
    let rig = Rig::joined().await?;
    let port = free::port(std::net::Ipv4Addr::LOCALHOST.into())?;
    let envoy = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await?;
    let admin = format!("envoy.admin_port={port}");
    let agent = rig.vm.start_with(&["--set", &admin], &[]).await?;
    agent.signal(Signal::SIGHUP)?;

    // It may ask for other things too.
    let asked = async {
        loop {
            let (mut stream, _) = envoy.accept().await?;
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await?;
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nOK\n";
            stream.write_all(reply).await?;
            if request[..length].starts_with(b"POST /reopen_logs ") {
                return Ok::<_, anyhow::Error>(());
            }
        }
    };
    tokio::time::timeout(hawser_harness::wait::PATIENCE, asked).await??;
    agent.until("the end of the reload", |told| told.reloads.1 >= 2).await?;
    Ok(())
}

async fn log(rig: &Rig, arguments: &[&str]) -> Result<Output> {
    rig.vm.hawser(&[&["log"], arguments].concat()).await
}

async fn says(rig: &Rig, arguments: &[&str]) -> Result<String> {
    let output = log(rig, arguments).await?;
    ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
