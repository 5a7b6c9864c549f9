//! A host in a network of its own, with another one beside it: sockets stand for Envoy, the agent
//! and what is beyond.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use hawser_harness::netns::Net;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{HAWSER, machine::wait_for};

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Where the host is, and what is beyond it.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const BEYOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const PORT: u16 = 8080;

/// The host.
pub(super) struct Host {
    net: Net,
    /// Has to live as long as its cable.
    beyond: Net,
    dir: TempDir,
    _service: Sockets,
}

impl Host {
    /// A host that has joined a mesh and has these settings besides.
    pub(super) fn new(settings: &str) -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "this test loads rules in a network of its own and needs root; `make lint unit` runs \
             what does not"
        );
        let (net, beyond) = (Net::new("guard")?, Net::new("beyond")?);
        net.join(&beyond, HOST, BEYOND)?;
        net.gateway(BEYOND)?;
        let dir = tempfile::tempdir()?;
        let mesh = dir.path().join("etc/hawser/mesh");
        fs::create_dir_all(&mesh)?;
        let mut variables = "ISTIO_SERVICE_CIDR='*'\nISTIO_INBOUND_PORTS='*'\n\
                             ISTIO_META_DNS_CAPTURE='true'\nPOD_NAMESPACE='demo'\n"
            .to_owned();
        if settings.contains("tproxy") {
            variables.push_str("ISTIO_META_INTERCEPTION_MODE='TPROXY'\n");
        }
        hawser_state::write_file(&mesh.join("cluster.env"), 0o644, variables.as_bytes())?;
        let service = Sockets::open(&beyond, &[PORT], "past")?;
        let host = Self { net, beyond, dir, _service: service };
        host.settings(settings)?;
        // An address that a cable gives itself is news a second later.
        host.succeed(&["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/cable0/disable_ipv6"])?;
        Ok(host)
    }

    /// From now on, these settings are in its file.
    pub(super) fn settings(&self, intercept: &str) -> Result<()> {
        let text = format!(
            "[istiod]\naddress = \"istiod.example:15012\"\nroot_cert = \"SYSTEM\"\n\
             [dns]\nlisten = \"127.0.0.1:15053\"\n[intercept]\nproxy_users = \"998\"\nproxy_groups = \"998\"\n{intercept}\n"
        );
        let path = self.dir.path().join("etc/hawser/hawser.toml");
        Ok(hawser_state::write_file(&path, 0o644, text.as_bytes())?)
    }

    /// A program in its network, to its end.
    pub(super) fn run(&self, command: &[&str]) -> Result<Output> {
        self.command(command).output().with_context(|| format!("run {command:?}"))
    }

    /// The same, and what it printed; an error unless it succeeded.
    pub(super) fn succeed(&self, command: &[&str]) -> Result<String> {
        let output = self.run(command)?;
        let printed = crate::rig::said(&output);
        ensure!(output.status.success(), "{command:?} ended with {}:\n{printed}", output.status);
        Ok(printed)
    }

    /// `hawser intercept` there.
    pub(super) fn hawser(&self, arguments: &[&str]) -> Result<Output> {
        self.run(&self.line(arguments).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same, and what it printed; an error unless it succeeded.
    pub(super) fn intercept(&self, arguments: &[&str]) -> Result<String> {
        self.succeed(&self.line(arguments).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn line(&self, arguments: &[&str]) -> Vec<String> {
        let root = self.dir.path().to_string_lossy().into_owned();
        let line = [HAWSER, "--root", &root, "intercept"];
        line.iter().chain(arguments).map(|&word| word.to_owned()).collect()
    }

    fn command(&self, command: &[&str]) -> Command {
        let name = self.net.path();
        let mut run = Command::new("ip");
        run.args(["netns", "exec"]).arg(name.file_name().unwrap_or_default()).args(command);
        run.stdin(Stdio::null());
        run
    }

    /// A guard that runs, whatever it is at.
    pub(super) fn guard(&self) -> Result<Guard> {
        let line = self.line(&["guard"]);
        let line: Vec<_> = line.iter().map(String::as_str).collect();
        let log = self.dir.path().join("guard.log");
        let log = fs::File::options().create(true).append(true).open(log)?;
        let mut start = self.command(&line);
        start.stdout(Stdio::null()).stderr(log);
        Ok(Guard(start.spawn().context("start a guard")?))
    }

    /// One that takes its standard error for the stream to the journal, as under systemd.
    pub(super) fn guard_of_the_journal(&self) -> Result<Guard> {
        let line = self.line(&["guard"]);
        let line: Vec<_> = line.iter().map(String::as_str).collect();
        let log = fs::File::create(self.dir.path().join("guard.log"))?;
        let file = log.metadata()?;
        let mut start = self.command(&line);
        start.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));
        start.stdout(Stdio::null()).stderr(log);
        Ok(Guard(start.spawn().context("start a guard")?))
    }

    /// What guards have written.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("guard.log")).unwrap_or_default()
    }

    /// Where its files are.
    pub(super) fn root(&self) -> String {
        self.dir.path().to_string_lossy().into_owned()
    }

    /// A file that the guard keeps.
    pub(super) fn kept(&self, name: &str) -> PathBuf {
        self.dir.path().join("run/hawser-intercept").join(name)
    }

    /// What the guard says of itself.
    pub(super) fn state(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.kept("state"))?)?)
    }

    /// Waits until the guard says so.
    pub(super) fn says(&self, what: &str, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let said = wait_for(what, PATIENCE, || Ok(self.state().ok().filter(|state| done(state))));
        said.with_context(|| format!("{:?}\n{}", self.state(), self.log()))
    }

    /// Waits until the guard is in this phase.
    pub(super) fn phase(&self, phase: &str) -> Result<Value> {
        self.says(phase, |state| state["phase"] == phase)
    }

    /// Sockets that stand for Envoy.
    pub(super) fn envoy(&self) -> Result<Sockets> {
        Sockets::open(&self.net, &[15001, 15006], "envoy")
    }

    /// Something that stands for the agent, as far as it answers.
    pub(super) fn agent(&self) -> Result<Answers> {
        Answers::open(&self.net)
    }

    /// Who answers when a program here speaks to what is beyond: `envoy`, `past` it, or nobody.
    pub(super) fn reaches(&self) -> Result<String> {
        speaks(&self.net, SocketAddr::from((BEYOND, PORT)))
    }

    /// Who answers when somebody beyond speaks to a program here.
    pub(super) fn is_reached(&self) -> Result<String> {
        speaks(&self.beyond, SocketAddr::from((HOST, PORT)))
    }

    /// Everything of the network that rules could have changed.
    pub(super) fn everything(&self) -> Result<String> {
        let looks: [&[&str]; 6] = [
            &["nft", "list", "ruleset"],
            &["ip", "rule"],
            &["ip", "-6", "rule"],
            &["ip", "route", "show", "table", "all"],
            &["ip", "-6", "route", "show", "table", "all"],
            &["ip", "address", "show", "dev", "lo"],
        ];
        looks.iter().map(|look| self.succeed(look)).collect()
    }

    /// What is in the set of a gate, as nft prints it.
    pub(super) fn gate(&self, gate: &str) -> Result<String> {
        let set = self.succeed(&["nft", "list", "set", "inet", "hawser", gate])?;
        let elements = set.split_once("elements = {").and_then(|(_, rest)| rest.split_once('}'));
        Ok(elements.map(|(elements, _)| elements.trim().to_owned()).unwrap_or_default())
    }
}

/// A guard. Killed when dropped.
pub(super) struct Guard(Child);

impl Guard {
    /// `ip netns exec` becomes the program, so its process is the guard.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.0.id())?);
        Ok(kill(pid, signal)?)
    }

    /// Its number, which it says too.
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as systemd does.
    pub(super) fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = wait_for("the guard to end", PATIENCE, || Ok(self.0.try_wait()?))?;
        ensure!(status.success(), "{status}");
        Ok(())
    }

    /// Ends it at once.
    pub(super) fn die(self) {
        drop(self);
    }

    /// How it has ended.
    pub(super) fn ended(&mut self) -> Result<std::process::ExitStatus> {
        wait_for("the guard to end", PATIENCE, || Ok(self.0.try_wait()?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Sockets in a network that take connections and say who they are. Closed when dropped.
pub(super) struct Sockets {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Sockets {
    fn open(net: &Net, ports: &[u16], who: &'static str) -> Result<Self> {
        let listeners = within(net, || {
            ports
                .iter()
                .map(|port| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))?))
                .collect()
        });
        let listeners: Vec<TcpListener> = listeners?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let stop = Arc::clone(&stop);
            threads.push(thread::spawn(move || serve(&listener, who, &stop)));
        }
        Ok(Self { stop, threads })
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn serve(listener: &TcpListener, who: &str, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut stream, _)) => drop(stream.write_all(who.as_bytes())),
            Err(_nobody) => thread::park_timeout(Duration::from_millis(5)),
        }
    }
}

/// A socket that answers as the agent does when it is asked whether it lives.
pub(super) struct Answers(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Answers {
    fn open(net: &Net) -> Result<Self> {
        let socket = within(net, || Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 15053))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut packet = [0; 512];
            while !told.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut packet) {
                    packet[2] |= 0x80;
                    drop(socket.send_to(&packet[..length], from));
                }
            }
        });
        Ok(Self(stop, Some(thread)))
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        drop(self.1.take().map(JoinHandle::join));
    }
}

/// What a connection from there to `address` says.
fn speaks(net: &Net, address: SocketAddr) -> Result<String> {
    within(net, || {
        let mut stream = match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return Ok("nobody".to_owned());
            }
            Err(error) => return Err(error.into()),
        };
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut said = String::new();
        match stream.read_to_string(&mut said) {
            Ok(_) => Ok(said),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(said),
            Err(error) => Err(error.into()),
        }
    })
}

/// Does something in a network: on a thread of its own, which enters it for good.
fn within<T: Send>(net: &Net, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            net.enter()?;
            what()
        });
        done.join().map_err(|_panic| anyhow!("the thread in the network has panicked"))?
    })
}
