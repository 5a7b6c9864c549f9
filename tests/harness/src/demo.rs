//! The demonstration: a machine joins a mesh, step by step, each one checked at both ends.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use hawser_proto::type_url;

use crate::agent::{Agent, alive};
use crate::dig::{Dig, Transport};
use crate::envoy::{VERSION, envoy_binary};
use crate::http1::call;
use crate::istiod::Reach;
use crate::mesh::{Mesh, OUTSIDE, OUTSIDE_IP};
use crate::service::PEER_HEADER;
use crate::vm::{Status, Vm};
use crate::wait::wait_for;
use crate::workload::Answer;

mod standalone;

/// What to demonstrate.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which of them.
    pub mode: Mode,
    /// The agent's binary.
    pub hawser: PathBuf,
    /// Where everything goes: the bundle, the machine's root, the logs.
    pub dir: PathBuf,
    /// Whether to leave it up until Ctrl-C.
    pub afterwards: Afterwards,
}

/// Which demonstration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// A machine joins a mesh.
    #[default]
    Join,
    /// A machine without istiod, with a file of services.
    Standalone,
}

/// What happens when everything has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// It is stopped at once.
    Stop,
    /// It is left up until Ctrl-C, then stopped.
    Keep,
}

/// Runs the demonstration and prints it, until it is over or `interrupt` is cancelled.
///
/// # Errors
/// The first step that was not seen.
pub async fn run(options: &Options, interrupt: &CancellationToken) -> Result<()> {
    if options.mode == Mode::Standalone {
        return standalone::run(options, interrupt).await;
    }
    let mut steps = Steps::new();
    // Dropping what was started ends it.
    let up = tokio::select! {
        up = come_up(options, &mut steps) => up?,
        () = interrupt.cancelled() => bail!("interrupted"),
    };
    let Up { mesh, vm, mut agent, status } = up;
    if options.afterwards == Afterwards::Keep {
        tell(&mesh, &vm, &status)?;
        interrupt.cancelled().await;
        steps.resume();
    }
    stop(&mut agent, &vm, &status).await?;
    steps.tick("clean stop: agent, Envoy and their sockets are gone");
    steps.end();
    Ok(())
}

/// Everything that runs when all was seen.
struct Up {
    mesh: Mesh,
    vm: Vm,
    agent: Agent,
    status: Status,
}

async fn come_up(options: &Options, steps: &mut Steps) -> Result<Up> {
    let root = options.dir.join("root");
    ensure!(!root.exists(), "{} is from another time: remove it first", root.display());
    let envoy = tokio::task::spawn_blocking(envoy_binary).await.context("find Envoy")??;
    steps.tick(format_args!("Envoy {VERSION} is there"));
    let mesh = Mesh::start(&options.dir).await.context("start the mesh")?;
    steps.tick(format_args!("mesh is up, bundle is in {}", mesh.bundle_dir.display()));
    let mut vm = Vm::new(&options.hawser, &root, &mesh)?;
    vm.envoy = Some(envoy);
    vm.join(&mesh.bundle_dir).await?;
    steps.tick("`hawser join` has taken the bundle");
    let mut agent = vm.start().await?;
    steps.tick(format_args!("agent is ready (pid {})", agent.pid()));
    let end_of_log = |agent: &Agent| {
        format!("the agent's log is {}, its end:\n{}", agent.log().display(), agent.tail())
    };
    let show = Show { mesh: &mesh, vm: &vm, agent: &agent };
    show.all(steps).await.with_context(|| end_of_log(&agent))?;

    // As in a reboot: the agent and its Envoy end, and are started again.
    agent.terminate().await?;
    let agent = vm.start().await?;
    let show = Show { mesh: &mesh, vm: &vm, agent: &agent };
    let status = show.reboot(steps).await.with_context(|| end_of_log(&agent))?;
    Ok(Up { mesh, vm, agent, status })
}

struct Show<'a> {
    mesh: &'a Mesh,
    vm: &'a Vm,
    agent: &'a Agent,
}

impl Show<'_> {
    async fn all(&self, steps: &mut Steps) -> Result<()> {
        self.certificate().await.context("token exchanged for a certificate")?;
        steps.tick("token was exchanged for a certificate");
        let status = self.running().await.context("Envoy runs")?;
        let admin = status.envoy.admin;
        self.secret(admin).await.context("Envoy got its secret")?;
        steps.tick("Envoy got its secret over SDS");
        self.configuration(admin).await.context("Envoy got its configuration")?;
        steps.tick("Envoy got listeners and clusters over xDS");
        let dns = *status.dns.as_ref().and_then(|dns| dns.listen.first()).context("no DNS")?;
        let host = self.mesh.service.host();
        let vip = self.mesh.service.vip.ip();
        resolved(dns, &host, vip).await?;
        steps.tick(format_args!("{host} is {vip}, over UDP and TCP"));
        let answer = self.request("/first").await?;
        steps.tick("workload has answered through Envoy");
        print(format_args!("               it saw      {}", answer.caller));
        print(format_args!("               Envoy saw   {}", answer.workload));
        resolved(dns, OUTSIDE, OUTSIDE_IP.into()).await?;
        ensure!(!self.mesh.outside.heard().is_empty(), "the outside resolver was not asked");
        steps.tick(format_args!("{OUTSIDE} resolves too"));
        self.mesh.istiod.reach(Reach::Down).await?;
        self.request("/without-istiod").await.context("request without istiod")?;
        resolved(dns, &host, vip).await.context("name without istiod")?;
        steps.tick("istiod was stopped, requests and names still work");
        Ok(())
    }

    /// Started anew while istiod is away.
    async fn reboot(&self, steps: &mut Steps) -> Result<Status> {
        self.request("/after-a-reboot").await.context("request after a reboot without istiod")?;
        steps.tick("agent and Envoy were started anew without istiod, requests still work");
        self.stale(true).await?;
        self.mesh.istiod.reach(Reach::Up).await?;
        self.stale(false).await.context("fresh configuration")?;
        steps.tick("istiod is back, and the configuration is fresh again");
        self.running().await
    }

    /// Waits until the agent says that Envoy's configuration is stale, or is not.
    async fn stale(&self, wanted: bool) -> Result<()> {
        wait_for("the age of the configuration", async || {
            let output = self.vm.hawser(&["status", "--json"]).await?;
            let status: Value = serde_json::from_slice(&output.stdout)?;
            let stale = status.pointer("/relay/stale").unwrap_or(&Value::Null);
            ensure!(stale.is_null() != wanted, "stale: {stale}");
            Ok(())
        })
        .await
    }

    async fn certificate(&self) -> Result<()> {
        let issued = |csr: &crate::istiod::Csr| csr.code == Code::Ok && csr.shown.token;
        let what = "a certificate issued for the token";
        let seen = self.mesh.istiod.until(what, |seen| seen.csrs.iter().any(issued)).await?;
        let csr = seen.csrs.iter().find(|csr| issued(csr)).context(what)?;
        let identity = self.mesh.identity();
        ensure!(csr.identities == [identity.clone()], "issued to {:?}", csr.identities);
        let told = self.vm.status().await?.identity.spiffe_id;
        ensure!(told.as_ref() == Some(&identity), "the agent says that it is {told:?}");
        Ok(())
    }

    async fn running(&self) -> Result<Status> {
        wait_for("Envoy to run", async || {
            let status = self.vm.status().await?;
            ensure!(status.envoy.pid.is_some_and(alive), "Envoy is {}", status.envoy.state);
            Ok(status)
        })
        .await
    }

    async fn secret(&self, admin: SocketAddr) -> Result<()> {
        let identity = self.mesh.identity();
        wait_for("the certificate in Envoy", async || {
            let certs = call(admin, &Method::GET, "/certs", &[]).await?;
            ensure!(certs.body.contains(&identity), "Envoy has {}", certs.body);
            Ok(())
        })
        .await
    }

    async fn configuration(&self, admin: SocketAddr) -> Result<()> {
        let vip = self.mesh.service.vip.to_string();
        wait_for("the listener in Envoy", async || {
            let listeners = call(admin, &Method::GET, "/listeners", &[]).await?;
            ensure!(listeners.body.contains(&vip), "Envoy has {}", listeners.body);
            let clusters = call(admin, &Method::GET, "/clusters", &[]).await?;
            let endpoint = self.mesh.hello.addr().to_string();
            ensure!(clusters.body.contains(&endpoint), "Envoy has {}", clusters.body);
            Ok(())
        })
        .await?;
        let taken = |seen: &crate::istiod::Seen| {
            seen.acks(type_url::CLUSTER) > 0 && seen.acks(type_url::LISTENER) > 0
        };
        let seen = self.mesh.istiod.until("clusters and listeners acknowledged", taken).await?;
        let refused: Vec<_> = seen.asked.iter().filter_map(|asked| asked.error.clone()).collect();
        ensure!(refused.is_empty(), "Envoy has refused {refused:?}");
        Ok(())
    }

    /// A request to the service; both ends must have seen who the other is.
    async fn request(&self, path: &str) -> Result<Answer> {
        let host = format!("{}:{}", self.mesh.service.host(), self.mesh.service.vip.port());
        let vip = self.mesh.service.vip;
        let reply = wait_for("an answer through Envoy", async || {
            ensure!(alive(self.agent.pid()), "the agent has ended");
            let reply = call(vip, &Method::GET, path, &[("host", &host)]).await?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
            Ok(reply)
        })
        .await?;
        let answer: Answer = reply.json()?;
        let peer = reply.headers.get(PEER_HEADER).map(String::as_str);
        ensure!(answer.caller == self.mesh.identity(), "the workload saw {}", answer.caller);
        ensure!(peer == Some(self.mesh.hello.identity()), "Envoy reached {peer:?}");
        ensure!(answer.path == path, "the workload was asked for {}", answer.path);
        Ok(answer)
    }
}

async fn resolved(dns: SocketAddr, name: &str, ip: IpAddr) -> Result<()> {
    for transport in [Transport::Udp, Transport::Tcp] {
        wait_for("an answer of the DNS proxy", async || {
            let answer = Dig::a(name).by(transport).ask(dns).await?;
            let found = answer.addresses();
            ensure!(found == [ip], "{name} over {transport:?}: {:?} {found:?}", answer.code());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Tells what to try.
fn tell(mesh: &Mesh, vm: &Vm, status: &Status) -> Result<()> {
    let dns = status.dns.as_ref().and_then(|dns| dns.listen.first()).context("no DNS")?;
    let host = mesh.service.host();
    let (vip, root) = (mesh.service.vip, vm.root().display());
    print(format_args!("\n  It stays up. Try:"));
    print(format_args!("    {} status --root {root}", vm.binary().display()));
    print(format_args!("    dig @{} -p {} {host}", dns.ip(), dns.port()));
    print(format_args!(
        "    curl -i --resolve {host}:{}:{} http://{host}:{}/",
        vip.port(),
        vip.ip(),
        vip.port()
    ));
    print(format_args!("    curl http://{}/certs", status.envoy.admin));
    print("\n  Ctrl-C stops it.\n");
    Ok(())
}

async fn stop(agent: &mut Agent, vm: &Vm, status: &Status) -> Result<()> {
    let envoy = status.envoy.pid.context("Envoy has no pid")?;
    let pid = agent.pid();
    let ended = agent.terminate().await?;
    ensure!(ended.success(), "the agent ended with {ended}; its log:\n{}", agent.tail());
    for (who, pid) in [("the agent", pid), ("Envoy", envoy)] {
        ensure!(!alive(pid), "{who} (pid {pid}) is still there");
    }
    let left = sockets(&vm.root().join("run/hawser"))?;
    ensure!(left.is_empty(), "sockets are still there: {left:?}");
    let admin = call(status.envoy.admin, &Method::GET, "/ready", &[]).await;
    ensure!(admin.is_err(), "somebody still answers at {}", status.envoy.admin);
    Ok(())
}

fn sockets(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let files = std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let paths = files.filter_map(Result::ok).map(|file| file.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect())
}

struct Steps {
    began: Instant,
    last: Instant,
}

impl Steps {
    fn new() -> Self {
        let now = Instant::now();
        print("");
        Self { began: now, last: now }
    }

    fn tick(&mut self, what: impl Display) {
        let now = Instant::now();
        let took = now.duration_since(self.last).as_millis();
        self.last = now;
        print(format_args!("  \u{2713} {took:>6} ms  {what}"));
    }

    /// Time that passed while somebody looked around is nobody's.
    fn resume(&mut self) {
        let now = Instant::now();
        self.began += now.duration_since(self.last);
        self.last = now;
    }

    fn end(&self) {
        let took = self.last.duration_since(self.began).as_secs_f64();
        print(format_args!("\n  All of it was seen, in {took:.1} s.\n"));
    }
}

/// A line for the one who watches; a closed pipe is not our trouble.
pub fn print(line: impl Display) {
    drop(writeln!(io::stdout().lock(), "{line}"));
}
