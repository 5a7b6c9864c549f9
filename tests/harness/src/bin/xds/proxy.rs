//! What is measured: each started anew for each push, and ended after it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hawser_harness::bench::pilot_agent;
use hawser_harness::bench::process::Process;
use hawser_harness::free;
use hawser_harness::istiod::FakeIstiod;
use hawser_harness::mesh::Mesh;
use hawser_harness::vm::Vm;
use hawser_harness::wait::wait_for;
use tokio::process::Command;

/// What stands between a client and istiod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// Copies bytes.
    Copy,
    /// The agent that keeps nothing of what passes, to istiod's plaintext port.
    HawserPass,
    /// The agent as it is: what passes is kept on disk.
    Hawser,
    /// The agent, with TLS.
    HawserTls,
    /// Istio's own agent, to the plaintext port.
    PilotAgent(PathBuf),
}

impl Proxy {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::HawserPass => "hawser-pass",
            Self::Hawser => "hawser",
            Self::HawserTls => "hawser-tls",
            Self::PilotAgent(_) => "pilot-agent",
        }
    }
}

/// Where everything is.
pub(crate) struct Field {
    pub(crate) mesh: Mesh,
    /// One more istiod, on the ports that it really has: agents tell plaintext by the port.
    pub(crate) istiod: FakeIstiod,
    vm: Vm,
    /// What another agent has kept would be thinned out by one that keeps nothing.
    vm_that_keeps_nothing: Vm,
    dir: PathBuf,
}

/// A proxy that runs; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) socket: PathBuf,
    pub(crate) process: Process,
}

impl Field {
    pub(crate) async fn open(hawser: &Path, dir: &Path) -> Result<Self> {
        let mesh = Mesh::start(dir).await?;
        let ip = Ipv4Addr::new(127, fastrand::u8(1..255), fastrand::u8(..), fastrand::u8(2..255));
        let istiod = mesh.istiod.start_beside_on(ip).await?;
        let vm = Vm::new(hawser, &dir.join("root"), &mesh)?;
        vm.join(&mesh.bundle_dir).await?;
        let vm_that_keeps_nothing = Vm::new(hawser, &dir.join("root-of-none"), &mesh)?;
        vm_that_keeps_nothing.join(&mesh.bundle_dir).await?;
        Ok(Self { mesh, istiod, vm, vm_that_keeps_nothing, dir: dir.to_owned() })
    }

    pub(crate) async fn start(&self, proxy: &Proxy) -> Result<Running> {
        match proxy {
            Proxy::Copy => self.copy().await,
            Proxy::HawserPass => {
                let vm = &self.vm_that_keeps_nothing;
                self.hawser(vm, self.istiod.plaintext_addr(), &["xds.keep=0"]).await
            }
            Proxy::Hawser => self.hawser(&self.vm, self.istiod.plaintext_addr(), &[]).await,
            Proxy::HawserTls => self.hawser(&self.vm, self.istiod.addr(), &[]).await,
            Proxy::PilotAgent(path) => self.pilot_agent(path).await,
        }
    }

    async fn copy(&self) -> Result<Running> {
        let socket = self.dir.join("copy.sock");
        let own = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(own);
        command.arg("copy").arg("--socket").arg(&socket);
        command.arg("--to").arg(self.istiod.plaintext_addr().to_string());
        running(command, socket, &self.dir.join("copy.log")).await
    }

    async fn hawser(&self, vm: &Vm, istiod: SocketAddr, besides: &[&str]) -> Result<Running> {
        let settings = [
            format!("istiod.address={istiod}"),
            format!("istiod.ca_address={}", self.mesh.istiod.addr()),
            format!("istiod.server_name={}", hawser_harness::istiod::SERVER_NAME),
        ];
        let settings = settings.iter().map(String::as_str).chain(besides.iter().copied());
        let flags: Vec<_> = settings.flat_map(|one| ["--set", one]).collect();
        let agent = vm.start_with(&flags, &[]).await?;
        let socket = vm.root().join("run/hawser/xds.sock");
        Ok(Running { pid: agent.pid(), socket, process: agent.into() })
    }

    async fn pilot_agent(&self, program: &Path) -> Result<Running> {
        let (ip, dir) = (Ipv4Addr::LOCALHOST.into(), self.dir.join("pilot-agent"));
        let dns = SocketAddr::new(ip, free::port(ip)?);
        let command = pilot_agent::command(program, &dir, &self.mesh, &self.istiod, dns)?;
        running(command, dir.join(pilot_agent::SOCKET), &dir.join("agent.log")).await
    }
}

/// Done when it listens.
async fn running(command: Command, socket: PathBuf, log: &Path) -> Result<Running> {
    // From another round.
    let _gone = fs::remove_file(&socket);
    let mut process = Process::start(command, log)?;
    let pid = process.pid()?;
    wait_for("its socket", async || {
        process.runs()?;
        ensure!(socket.exists(), "not there yet");
        Ok(())
    })
    .await?;
    Ok(Running { pid, socket, process })
}
