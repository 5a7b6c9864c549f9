//! What is measured: programs that answer the same names, each on a port of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hawser_harness::bench::pilot_agent;
use hawser_harness::bench::process::Process;
use hawser_harness::dig::Dig;
use hawser_harness::free;
use hawser_harness::istiod::{FakeIstiod, Flavour};
use hawser_harness::mesh::Mesh;
use hawser_harness::vm::Vm;
use hawser_harness::wait::wait_for;
use hawser_harness::xds::XdsClient;
use hawser_proto::type_url::LISTENER;
use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::time::timeout;

use crate::configuration::Names;

/// Where everything is.
pub(crate) struct Field {
    pub(crate) mesh: Mesh,
    /// One more istiod, on the ports that it really has.
    istiod: FakeIstiod,
    vm: Vm,
    dir: PathBuf,
    /// Programs that are not installed, but unpacked here.
    tools: Option<PathBuf>,
    /// Who answers what the mesh does not.
    pub(crate) upstream: Running,
}

/// A server that runs; it ends when it is dropped.
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) pid: i32,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    /// What stands in for Envoy, without which Istio's agent asks for no names.
    _envoy: Option<XdsClient>,
}

impl Running {
    fn new(name: &str, address: SocketAddr, process: Process) -> Result<Self> {
        let pid = process.pid()?;
        Ok(Self { name: name.to_owned(), pid, address, process, _envoy: None })
    }
}

impl Field {
    pub(crate) async fn open(hawser: &Path, dir: &Path, tools: Option<&Path>) -> Result<Self> {
        let mesh = Mesh::start(dir).await?;
        let ip = Ipv4Addr::new(127, fastrand::u8(1..255), fastrand::u8(..), fastrand::u8(2..255));
        let istiod = mesh.istiod.start_beside_on(ip).await?;
        let vm = Vm::new(hawser, &dir.join("root"), &mesh)?;
        vm.join(&mesh.bundle_dir).await?;
        let upstream = own("answer", dir)?;
        let tools = tools.filter(|dir| dir.exists()).map(Path::to_owned);
        Ok(Self { mesh, istiod, vm, dir: dir.to_owned(), tools, upstream })
    }

    /// A program that gives back what it gets: the limit of the machine.
    pub(crate) fn echo(&self) -> Result<Running> {
        own("echo", &self.dir)
    }

    /// The agent; what it answers is the mesh's to say.
    pub(crate) async fn hawser(&self) -> Result<Running> {
        let address = free()?;
        let settings = [
            format!("dns.listen={address}"),
            format!("dns.upstreams={}", self.upstream.address),
            // What is measured is relaying.
            "dns.cache=0".to_owned(),
        ];
        let flags: Vec<_> = settings.iter().flat_map(|one| ["--set", one.as_str()]).collect();
        let agent = self.vm.start_with(&flags, &[]).await?;
        Running::new("hawser", address, agent.into())
    }

    /// Istio's agent, which asks for names when its Envoy asks for listeners.
    pub(crate) async fn pilot_agent(&self, program: &Path) -> Result<Running> {
        let (address, dir) = (free()?, self.dir.join("pilot-agent"));
        let command = pilot_agent::command(program, &dir, &self.mesh, &self.istiod, address)?;
        let mut running = self.run("pilot-agent", address, command)?;
        let socket = dir.join(pilot_agent::SOCKET);
        let envoy = wait_for("its Envoy", async || {
            let envoy = XdsClient::envoy(&socket, Flavour::Delta).await?;
            envoy.subscribe(LISTENER, &[])?;
            Ok(envoy)
        });
        running._envoy = Some(envoy.await?);
        Ok(running)
    }

    /// Another program, if it is here.
    pub(crate) fn other(&self, name: &str, names: &Names) -> Result<Running> {
        let (address, dir) = (free()?, self.dir.join(name));
        fs::create_dir_all(&dir)?;
        let (hosts, zone, conf) = (dir.join("hosts"), dir.join("zone"), dir.join("conf"));
        fs::write(&hosts, names.hosts())?;
        fs::write(&zone, names.zone())?;
        let upstream = self.upstream.address;
        let (program, text, args): (_, _, &[&str]) = match name {
            "dnsmasq" => ("dnsmasq", Names::dnsmasq(address, upstream, &hosts), &["-k", "-C"]),
            "unbound" => ("unbound", names.unbound(address, upstream, &dir), &["-d", "-c"]),
            "knot" => ("knotd", Names::knot(address, &zone, &dir), &["-c"]),
            "nsd" => ("nsd", Names::nsd(address, &zone, &dir), &["-d", "-c"]),
            _ => bail!("no such server: {name}"),
        };
        fs::write(&conf, text)?;
        let mut command = self.program(program)?;
        command.args(args).arg(conf);
        self.run(name, address, command)
    }

    fn program(&self, name: &str) -> Result<Command> {
        let unpacked = self.tools.iter().flat_map(|tools| {
            ["usr/sbin", "usr/bin", "sbin"].map(|place| tools.join(place).join(name))
        });
        let installed = ["/usr/sbin", "/usr/bin"].map(|place| Path::new(place).join(name));
        let program = unpacked.chain(installed).find(|path| path.exists());
        let mut command = Command::new(program.context("not installed")?);
        if let Some(tools) = &self.tools {
            let libraries = tools.join("usr/lib");
            let below = fs::read_dir(&libraries)?.filter_map(Result::ok).map(|entry| entry.path());
            let paths: Vec<_> = below.chain([libraries]).collect();
            command.env("LD_LIBRARY_PATH", std::env::join_paths(paths)?);
        }
        Ok(command)
    }

    fn run(&self, name: &str, address: SocketAddr, command: Command) -> Result<Running> {
        Running::new(name, address, Process::start(command, &log(&self.dir, name))?)
    }
}

/// This program in another part.
fn own(part: &str, dir: &Path) -> Result<Running> {
    let address = free()?;
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.arg(part).arg(address.to_string());
    Running::new(part, address, Process::start(command, &log(dir, part))?)
}

fn log(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.log"))
}

/// Waits until a server answers a name with an address, or with what was asked.
pub(crate) async fn answers(server: &mut Running, name: &str, echoes: bool) -> Result<()> {
    wait_for("an answer", async || {
        server.process.runs()?;
        if echoes {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            socket.connect(server.address).await?;
            socket.send(b"??").await?;
            let mut room = [0; 2];
            timeout(Duration::from_secs(1), socket.recv(&mut room)).await??;
        } else {
            let answer = Dig::a(name).ask(server.address).await?;
            ensure!(!answer.addresses().is_empty(), "no address for {name}");
        }
        Ok(())
    })
    .await
    .with_context(|| format!("{} does not serve", server.name))
}

fn free() -> Result<SocketAddr> {
    let ip = Ipv4Addr::LOCALHOST.into();
    Ok(SocketAddr::new(ip, free::port(ip)?))
}
