//! The unit's commands beside an agent that is in a mesh.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::alive,
    envoy::envoy_binary,
    http1::{self, Open},
    modules::FakeModules,
    wait::{PATIENCE, wait_for},
};
use http::Method;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{
    HAWSER,
    rig::{Rig, said},
};

/// An Envoy started as the unit does, and a file with what it said.
pub(super) struct Started(Child);

impl Started {
    pub(super) async fn of(rig: &Rig) -> Result<Self> {
        let log = std::fs::File::create(rig.file("envoy.said"))?;
        let mut command = Command::new(HAWSER);
        command.args(["envoy", "start", "--root"]).arg(rig.vm.root()).env_clear();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let started = Self(command.spawn()?);
        let waited = rig.vm.hawser(&["envoy", "wait"]).await?;
        let told = said(&waited);
        ensure!(told.contains("envoy is ready,"), "{told} {}", told_by(rig));
        Ok(started)
    }

    fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.0.id().context("it has ended")?)?)
    }

    pub(super) async fn terminate(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid()?), Signal::SIGTERM)?;
        let ended = timeout(PATIENCE, self.0.wait()).await.context("it does not end")??;
        ensure!(ended.code() == Some(0), "{ended}");
        Ok(())
    }
}

fn told_by(rig: &Rig) -> String {
    std::fs::read_to_string(rig.file("envoy.said")).unwrap_or_default()
}

/// The settings that name the Envoy, which the agent must not start itself.
pub(super) fn named() -> Result<String> {
    Ok(format!("envoy.binary={}", envoy_binary()?.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_restarts_leaves_envoy_and_its_connections_alone() -> Result<()> {
    let rig = Rig::joined().await?;
    let named = named()?;
    let mut agent = rig.vm.start_with(&["--set", &named], &[]).await?;
    let envoy = Started::of(&rig).await?;
    ensure!(rig.request().await?.status == 200);
    let status = rig.status().await?;
    ensure!(status["units"]["envoy"]["pid"].as_i64() == Some(envoy.pid()?.into()), "{status}");
    ensure!(status["envoy"]["state"] == "elsewhere", "{status}");
    let mut connection = Connection::open(&rig).await?;

    for how in [Signal::SIGTERM, Signal::SIGKILL] {
        match how {
            Signal::SIGTERM => drop(agent.terminate().await?),
            _ => drop(agent.kill().await?),
        }
        connection.answers().await.with_context(|| format!("without an agent, {how}"))?;
        agent = rig.vm.start_with(&["--set", &named], &[]).await?;
        wait_for("Envoy to find the agent again", async || {
            let status = rig.status().await?;
            ensure!(status["relay"]["joined"] == 1, "{status}");
            Ok(())
        })
        .await?;
        connection.answers().await.with_context(|| format!("with the next agent, {how}"))?;
    }
    ensure!(alive(envoy.pid()?), "{}", told_by(&rig));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_envoy_refuses_is_replaced_by_the_last_it_was_ready_with() -> Result<()> {
    let rig = Rig::joined().await?;
    let named = named()?;
    let mut agent = rig.vm.start_with(&["--set", &named], &[]).await?;
    let mut first = Started::of(&rig).await?;
    first.terminate().await?;

    let nonsense = br#"{"static_resources": {"listeners": "none"}}"#;
    hawser_state::write_file(&rig.file("run/hawser/envoy.json"), 0o640, nonsense)?;
    let mut second = Started::of(&rig).await?;

    ensure!(rig.request().await?.status == 200);
    let told = told_by(&rig);
    ensure!(told.contains("started with the last bootstrap that it was ready with"), "{told}");
    let shown = said(&rig.vm.hawser(&["status"]).await?);
    ensure!(shown.contains("the newest is no good:"), "{shown}");
    second.terminate().await?;

    // The agent makes another when it starts.
    agent.terminate().await?;
    let _agent = rig.vm.start_with(&["--set", &named], &[]).await?;
    let _third = Started::of(&rig).await?;
    let shown = said(&rig.vm.hawser(&["status"]).await?);
    ensure!(!shown.contains("the newest is no good"), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_out_of_the_mesh_before_its_connections_are_told() -> Result<()> {
    let workload = FakeModules::start().await?;
    workload.serve("/ready", "fine");
    let mut rig = Rig::new().await?;
    let addr = workload.addr();
    let page = json!({"host": addr.ip().to_string(), "port": addr.port(), "path": "/ready"});
    rig.mesh.bundle.readiness_probe = Some(json!({"httpGet": page, "periodSeconds": 1}));
    rig.mesh.bundle.write(&rig.mesh.bundle_dir)?;
    rig.vm.join(&rig.mesh.bundle_dir).await?;
    let settings = [&named()?, "envoy.drain_wait=100ms"];
    let flags: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let _agent = rig.vm.start_with(&flags, &[]).await?;
    let mut envoy = Started::of(&rig).await?;
    let istiod = &rig.mesh.istiod;
    let well = |well: bool| {
        move |seen: &hawser_harness::istiod::Seen| {
            seen.health.last().is_some_and(|health| health.problem.is_none() == well)
        }
    };
    istiod.until("a machine that is well", well(true)).await?;

    let told = said(&rig.vm.hawser(&["envoy", "drain"]).await?);

    ensure!(told.contains("drain: the mesh is told"), "{told}");
    ensure!(told.contains("drain: no connections"), "{told}");
    let seen = istiod.until("a machine that is not", well(false)).await?;
    let reason = seen.health.last().and_then(|health| health.problem.clone());
    ensure!(reason.is_some_and(|reason| reason.contains("taken out of the mesh")));
    let ready = rig.agent_says("/healthz/ready", &Method::GET).await?;
    ensure!(
        ready.status == 503 && ready.body.contains("drains"),
        "{} {}",
        ready.status,
        ready.body
    );

    // With another Envoy it is over, also for istiod.
    envoy.terminate().await?;
    let _next = Started::of(&rig).await?;
    istiod.until("a machine that is well again", well(true)).await?;
    let ready = rig.agent_says("/healthz/ready", &Method::GET).await?;
    ensure!(ready.status == 200, "{} {}", ready.status, ready.body);

    // And as Istio's agent has it, for those on this machine.
    let reply = rig.agent_says("/drain", &Method::GET).await?;
    ensure!(reply.status == 405, "{}", reply.body);
    let reply = rig.agent_says("/drain", &Method::POST).await?;
    ensure!(reply.status == 200 && reply.body == "OK", "{} {}", reply.status, reply.body);
    istiod.until("a machine that is not well", well(false)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_nobody_probes_does_not_wait_for_the_mesh() -> Result<()> {
    let rig = Rig::joined().await?;
    let named = named()?;
    let _agent = rig.vm.start_with(&["--set", &named], &[]).await?;
    let _envoy = Started::of(&rig).await?;

    let told = said(&rig.vm.hawser(&["envoy", "drain"]).await?);

    ensure!(told.contains("the mesh cannot be told, nothing is waited for"), "{told}");
    ensure!(told.contains("its WorkloadGroup has no probe"), "{told}");
    Ok(())
}

/// A connection through Envoy that is used again and again.
struct Connection {
    open: Open,
    host: String,
}

impl Connection {
    async fn open(rig: &Rig) -> Result<Self> {
        let service = &rig.mesh.service;
        let host = format!("{}:{}", service.host(), service.vip.port());
        let mut connection = Self { open: Open::to(service.vip).await?, host };
        connection.answers().await?;
        Ok(connection)
    }

    async fn answers(&mut self) -> Result<()> {
        let status = self.open.status("/here", &self.host).await?;
        ensure!(status == 200, "{status}");
        Ok(())
    }
}

impl Rig {
    /// What the agent's status port says.
    async fn agent_says(&self, path: &str, method: &Method) -> Result<http1::Reply> {
        let settings: toml::Table = self.vm.toml()?.parse()?;
        let address = settings["status"]["listen"].as_str().context("no status.listen")?;
        http1::call(address.parse()?, method, path, &[]).await
    }
}
