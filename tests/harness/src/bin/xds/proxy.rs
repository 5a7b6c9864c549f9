//! What is measured: each started anew for each push, and ended after it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use hawser_harness::agent::Agent;
use hawser_harness::free;
use hawser_harness::istiod::FakeIstiod;
use hawser_harness::mesh::{ACCOUNT, Mesh, NAMESPACE};
use hawser_harness::vm::Vm;
use hawser_harness::wait::wait_for;
use serde_json::json;
use tokio::process::{Child, Command};

/// What stands between a client and istiod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// Copies bytes.
    Copy,
    /// The agent, to istiod's plaintext port.
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
    dir: PathBuf,
}

/// A proxy that runs; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) socket: PathBuf,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Agent(Box<Agent>),
    Child(Box<Child>),
}

impl Running {
    /// Ends it, so that the next one finds its socket free.
    pub(crate) async fn stop(self) -> Result<()> {
        match self.process {
            Process::Agent(mut agent) => {
                agent.terminate().await?;
            }
            Process::Child(mut child) => child.kill().await.context("end a proxy")?,
        }
        Ok(())
    }
}

impl Field {
    pub(crate) async fn open(hawser: &Path, dir: &Path) -> Result<Self> {
        let mesh = Mesh::start(dir).await?;
        let ip = Ipv4Addr::new(127, fastrand::u8(1..255), fastrand::u8(..), fastrand::u8(2..255));
        let istiod = mesh.istiod.start_beside_on(ip).await?;
        let vm = Vm::new(hawser, &dir.join("root"), &mesh)?;
        vm.join(&mesh.bundle_dir).await?;
        Ok(Self { mesh, istiod, vm, dir: dir.to_owned() })
    }

    pub(crate) async fn start(&self, proxy: &Proxy) -> Result<Running> {
        match proxy {
            Proxy::Copy => self.copy().await,
            Proxy::Hawser => self.hawser(self.istiod.plaintext_addr()).await,
            Proxy::HawserTls => self.hawser(self.istiod.addr()).await,
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

    async fn hawser(&self, istiod: SocketAddr) -> Result<Running> {
        let settings = [
            format!("istiod.address={istiod}"),
            format!("istiod.ca_address={}", self.mesh.istiod.addr()),
            format!("istiod.server_name={}", hawser_harness::istiod::SERVER_NAME),
        ];
        let flags: Vec<_> = settings.iter().flat_map(|one| ["--set", one.as_str()]).collect();
        let agent = self.vm.start_with(&flags, &[]).await?;
        let socket = self.vm.root().join("run/hawser/xds.sock");
        let pid = agent.pid();
        Ok(Running { pid, socket, process: Process::Agent(Box::new(agent)) })
    }

    /// It wants its files in its working directory, and its settings in its environment.
    async fn pilot_agent(&self, program: &Path) -> Result<Running> {
        let dir = self.dir.join("pilot-agent");
        let _fresh = fs::remove_dir_all(&dir);
        let token = self.mesh.istiod.tokens();
        let token = token.mint(&token.claims(NAMESPACE, ACCOUNT))?;
        for (path, text) in [
            ("var/run/secrets/istio/root-cert.pem", self.mesh.istiod.ca().root_pem()),
            ("var/run/secrets/tokens/istio-token", token),
            ("etc/istio/config/mesh", String::new()),
            ("etc/istio/proxy/none", String::new()),
        ] {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().context("no parent")?)?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let port = || free::port(Ipv4Addr::LOCALHOST.into());
        let dns = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port()?);
        let ca = format!("localhost:{}", self.mesh.istiod.addr().port());
        let config = json!({
            "discoveryAddress": self.istiod.plaintext_addr().to_string(),
            "controlPlaneAuthPolicy": "NONE",
            "statusPort": port()?,
            "serviceCluster": "web.vms",
        });
        let labels = r#"{"app":"web"}"#;
        let mut command = Command::new(program);
        command.args(["proxy", "sidecar"]).current_dir(&dir).env_clear();
        command.envs([
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/"),
            ("PROXY_CONFIG", &config.to_string()),
            ("CA_ADDR", &ca),
            ("INSTANCE_IP", "10.0.0.9"),
            ("POD_NAME", "vm-1"),
            ("POD_NAMESPACE", NAMESPACE),
            ("SERVICE_ACCOUNT", ACCOUNT),
            ("TRUST_DOMAIN", "cluster.local"),
            ("CLOUD_PLATFORM", "none"),
            ("DISABLE_ENVOY", "true"),
            ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
            ("ISTIO_META_DNS_CAPTURE", "true"),
            ("ISTIO_METAJSON_LABELS", labels),
            ("DNS_PROXY_ADDR", &dns.to_string()),
            ("ISTIO_DELTA_XDS", "true"),
        ]);
        running(command, dir.join("etc/istio/proxy/XDS"), &dir.join("agent.log")).await
    }
}

async fn running(mut command: Command, socket: PathBuf, log: &Path) -> Result<Running> {
    // From another round.
    let _gone = fs::remove_file(&socket);
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
    let pid = i32::try_from(child.id().context("no pid")?)?;
    wait_for("its socket", async || {
        if let Some(status) = child.try_wait()? {
            let log = fs::read_to_string(log).unwrap_or_default();
            let end = log.len().saturating_sub(2000);
            return Err(anyhow::anyhow!(
                "it ended with {status}: {}",
                log.get(end..).unwrap_or("")
            ));
        }
        ensure!(socket.exists(), "not there yet");
        Ok(())
    })
    .await?;
    Ok(Running { pid, socket, process: Process::Child(Box::new(child)) })
}
