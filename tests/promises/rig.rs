//! A mesh, and a machine that is to join it, each test with its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    envoy::envoy_binary,
    http1::{self, Reply},
    mesh::Mesh,
    vm::Vm,
    wait::wait_for,
};
use http::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::HAWSER;

/// A mesh and a machine beside it.
pub(crate) struct Rig {
    pub(crate) mesh: Mesh,
    pub(crate) vm: Vm,
    _dir: TempDir,
}

impl Rig {
    /// The machine has its settings, but has not joined.
    pub(crate) async fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mesh = Mesh::start(dir.path()).await?;
        let vm = Vm::new(Path::new(HAWSER), &dir.path().join("root"), &mesh)?;
        Ok(Self { mesh, vm, _dir: dir })
    }

    /// It has joined too.
    pub(crate) async fn joined() -> Result<Self> {
        let rig = Self::new().await?;
        rig.vm.join(&rig.mesh.bundle_dir).await?;
        Ok(rig)
    }

    /// It has joined, and its agent is to run a real Envoy.
    pub(crate) async fn with_envoy() -> Result<Self> {
        let mut rig = Self::joined().await?;
        rig.bring_envoy().await?;
        Ok(rig)
    }

    /// From now on, its agent is to run a real Envoy.
    pub(crate) async fn bring_envoy(&mut self) -> Result<()> {
        self.vm.envoy = Some(tokio::task::spawn_blocking(envoy_binary).await??);
        Ok(())
    }

    /// A file of the machine.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.vm.root().join(path)
    }

    /// The agent and its Envoy, when Envoy's own status port says that both are ready.
    pub(crate) async fn serving(&self) -> Result<Agent> {
        let agent = self.vm.start().await?;
        self.envoy_ready().await.with_context(|| agent.tail())?;
        Ok(agent)
    }

    /// Waits until Envoy says that it is ready.
    pub(crate) async fn envoy_ready(&self) -> Result<()> {
        let settings: toml::Table = self.vm.toml()?.parse()?;
        let port = settings["envoy"]["status_port"].as_integer().context("no status port")?;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port)?));
        wait_for("Envoy's status port", async || {
            let reply = http1::call(address, &Method::GET, "/healthz/ready", &[]).await?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
            Ok(())
        })
        .await
    }

    /// What the agent says of itself, every field.
    pub(crate) async fn status(&self) -> Result<Value> {
        let output = self.vm.hawser(&["status", "--json"]).await?;
        serde_json::from_slice(&output.stdout).with_context(|| said(&output))
    }

    /// What programs would have to wait for, whatever systemd was told.
    pub(crate) async fn waits_for(&self) -> Result<Value> {
        Ok(self.status().await?["waits_for"].take())
    }

    /// Where the agent answers DNS.
    pub(crate) async fn dns(&self) -> Result<SocketAddr> {
        let dns = self.vm.status().await?.dns.context("no DNS")?;
        dns.listen.first().copied().context("no DNS address in the status")
    }

    /// Waits until names of the mesh are answered.
    pub(crate) async fn names_known(&self) -> Result<()> {
        wait_for("the name table", async || {
            let status = self.status().await?;
            ensure!(status["names"].as_u64() > Some(0), "no names yet");
            ensure!(status["dns"]["names"].as_u64() > Some(0), "not in use yet");
            Ok(())
        })
        .await
    }

    /// A request to `hello`, as a program on the machine makes it.
    pub(crate) async fn request(&self) -> Result<Reply> {
        let service = &self.mesh.service;
        let host = format!("{}:{}", service.host(), service.vip.port());
        http1::call(service.vip, &Method::GET, "/here", &[("host", &host)]).await
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}

/// All that a command printed.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
