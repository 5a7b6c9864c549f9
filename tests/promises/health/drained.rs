//! `hawser drain`: what happens, with the time at which it does.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{agent::Agent, free, http1::Open, inbound, wait::wait_for};
use serde_json::Value;
use tokio::net::TcpStream;

use super::{ready, started, unprobed, unwell, well};
use crate::rig::{Rig, said};

/// A machine in traffic, and a connection to it.
struct Busy {
    rig: Rig,
    agent: Agent,
    inbound: SocketAddr,
}

impl Busy {
    async fn start(settings: &[&str]) -> Result<Self> {
        let rig = unprobed().await?;
        let inbound = SocketAddr::from(([127, 0, 0, 1], free::port(Ipv4Addr::LOCALHOST.into())?));
        let service = rig.mesh.service.clone();
        rig.mesh.istiod.world().change(|state| inbound::listen(&service, inbound, state));
        let port = format!("intercept.inbound_port={}", inbound.port());
        let own = [port.as_str(), "envoy.drain_wait=100ms", "health.period=500ms"];
        let agent = started(&rig, &[&own, settings].concat()).await?;
        let busy = Self { rig, agent, inbound };
        wait_for("the listener", async || Ok(TcpStream::connect(busy.inbound).await.map(drop)?))
            .await?;
        Ok(busy)
    }

    async fn open(&self) -> Result<Open> {
        let mut open = Open::to(self.inbound).await?;
        ensure!(self.asks(&mut open).await? == 200);
        Ok(open)
    }

    async fn asks(&self, open: &mut Open) -> Result<u16> {
        let service = &self.rig.mesh.service;
        open.status("/here", &format!("{}:{}", service.host(), service.vip.port())).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_the_mesh_then_the_clients_and_waits_for_the_last() -> Result<()> {
    let busy = Busy::start(&["health.report=true"]).await?;
    let rig = &busy.rig;
    well(rig).await.with_context(|| busy.agent.tail())?;
    let idle = TcpStream::connect(busy.inbound).await?;
    let mut used = busy.open().await?;

    // It returns when it has begun.
    let begun = rig.vm.hawser(&["drain"]).await?;
    ensure!(begun.status.code() == Some(0), "{}", said(&begun));
    let lines = said(&begun);
    ensure!(lines.starts_with("+0.0 s    istiod is told"), "{lines}");
    ensure!(lines.contains("Envoy drains, 2 connections open"), "{lines}");
    unwell(rig, "taken out of the mesh").await?;
    let reply = ready(rig).await?;
    ensure!(reply.status == 503 && reply.body.contains("drains"), "{}", reply.body);

    // Who asks is answered, and told to go elsewhere; who comes is served.
    wait_for("the client to be sent away", async || {
        let answered = busy.asks(&mut used).await;
        ensure!(answered.is_err(), "still open");
        Ok(())
    })
    .await?;
    drop(busy.open().await?);

    // One that stays is waited for as long as was said.
    let late = rig.vm.hawser(&["drain", "--wait", "--limit", "1s"]).await?;
    ensure!(late.status.code() == Some(75), "{}", said(&late));
    ensure!(said(&late).contains("the time is up, 1 connection open"), "{}", said(&late));

    let waiting = rig.vm.hawser(&["drain", "--wait", "--limit", "10m", "--json"]);
    let close = async {
        wait_for("the drain", async || {
            let status = rig.status().await?;
            ensure!(status["draining"].is_string(), "{status}");
            Ok(())
        })
        .await?;
        drop(idle);
        Ok(())
    };
    let (waited, closed): (_, Result<()>) = tokio::join!(waiting, close);
    closed?;
    let waited = waited?;
    ensure!(waited.status.code() == Some(0), "{}", said(&waited));
    let steps: Vec<Value> =
        said(&waited).lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(steps[0]["step"] == "told", "{steps:?}");
    let last = steps.last().context("nothing")?;
    ensure!(last["step"] == "empty" && last["connections"] == 0, "{steps:?}");
    let times: Vec<f64> = steps.iter().filter_map(|step| step["after"].as_f64()).collect();
    ensure!(times.len() == steps.len() && times.is_sorted() && times[0] < times[1], "{steps:?}");

    let undone = rig.vm.hawser(&["drain", "--undo"]).await?;
    ensure!(undone.status.code() == Some(0), "{}", said(&undone));
    well(rig).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_the_mesh_cannot_be_told_of_says_so_and_goes_on() -> Result<()> {
    let busy = Busy::start(&[]).await?;
    let drained = busy.rig.vm.hawser(&["drain", "--wait"]).await?;
    ensure!(drained.status.code() == Some(1), "{}", said(&drained));
    let lines = said(&drained);
    ensure!(
        lines.starts_with("+0.0 s    istiod is not told, the mesh sends traffic here"),
        "{lines}"
    );
    ensure!(lines.contains("no connections to this machine"), "{lines}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_drained_where_nobody_answers() -> Result<()> {
    let rig = Rig::joined().await?;
    let output = rig.vm.hawser(&["drain"]).await?;
    ensure!(output.status.code() == Some(3), "{}", said(&output));
    ensure!(said(&output).contains("no answer at"), "{}", said(&output));
    let _agent = rig.vm.start().await?;
    let output = rig.vm.hawser(&["drain"]).await?;
    ensure!(output.status.code() == Some(3), "{}", said(&output));
    ensure!(said(&output).contains("Envoy is not drained"), "{}", said(&output));
    let back = rig.vm.hawser(&["drain", "--undo"]).await?;
    ensure!(back.status.code() == Some(0), "{}", said(&back));
    Ok(())
}
