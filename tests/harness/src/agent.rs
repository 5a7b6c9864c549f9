//! The real agent, started and awaited as systemd does it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::store::{Handing, Store, receive};
use crate::wait::{PATIENCE, until, wait_for};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the agent has told its service manager.
#[derive(Debug, Clone, Default)]
pub struct Notified {
    /// Whether READY=1 was said.
    pub ready: bool,
    /// Whether STOPPING=1 was said.
    pub stopping: bool,
    /// Every STATUS text, in order.
    pub status: Vec<String>,
    /// How often WATCHDOG=1 was said.
    pub watchdog: usize,
    /// How often RELOADING=1 was said, and READY=1 in all.
    pub reloads: (usize, usize),
}

/// A running `hawser run`; it and what it has started are killed when this is dropped.
#[derive(Debug)]
pub struct Agent {
    root: PathBuf,
    log: PathBuf,
    child: Child,
    pid: Pid,
    /// Whether nobody is left of its session, so that the number may be another's.
    gone: bool,
    notified: watch::Receiver<Notified>,
    _listener: JoinSet<()>,
    _socket: TempDir,
    _handing: Option<Handing>,
}

impl Agent {
    /// Starts `hawser run --root ROOT ARGS…` with nothing in its environment but `env`; returns
    /// on READY=1.
    ///
    /// # Errors
    /// When it ends before, or does not get ready in time; the text has the end of its log.
    pub async fn start<A: AsRef<OsStr>>(
        binary: &Path,
        root: &Path,
        args: &[A],
        env: &[(&str, &str)],
    ) -> Result<Self> {
        Self::spawn(binary, root, args, env)?.ready().await
    }

    /// Starts it and does not wait, for a test of what happens before it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<A: AsRef<OsStr>>(
        binary: &Path,
        root: &Path,
        args: &[A],
        env: &[(&str, &str)],
    ) -> Result<Self> {
        let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        let env: Vec<_> = env.iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self::spawn_under((&[], None), binary, root, &args, &env)
    }

    /// Starts it by a command that ends in executing the words behind its own, such as that of a
    /// [disk](crate::disk::Disk::under); it must not become another process by that. A store keeps
    /// what it is sent, and hands over what it has.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_under(
        (under, store): (&[OsString], Option<&Store>),
        binary: &Path,
        root: &Path,
        args: &[&OsStr],
        env: &[(OsString, OsString)],
    ) -> Result<Self> {
        // The socket is apart from ROOT, whose path may be too long for one.
        let socket = tempfile::tempdir().context("make a directory for NOTIFY_SOCKET")?;
        let path = socket.path().join("notify");
        let datagrams = UnixDatagram::bind(&path).context("bind NOTIFY_SOCKET")?;
        let log = root.join("agent.log");
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("open {}", log.display()))?;
        // A session of its own: its Envoy is in it too, whatever process group that is given.
        let mut command = Command::new("setsid");
        let handing = store.map(Store::hands_over).transpose()?;
        command.args(handing.iter().flat_map(|handing| &handing.command));
        command.args(under).arg(binary).arg("run").arg("--root").arg(root).args(args);
        command.env_clear().env("PATH", PATH).env("NOTIFY_SOCKET", &path);
        command.envs(store.map(|_| ("FDSTORE", "64")));
        command.envs(env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        command.kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("start {}", binary.display()))?;
        let pid = child.id().context("the agent has no pid")?;
        let pid = Pid::from_raw(i32::try_from(pid)?);
        let (sender, notified) = watch::channel(Notified::default());
        let mut listener = JoinSet::new();
        listener.spawn(listen(datagrams, sender, store.cloned()));
        let root = root.to_owned();
        Ok(Self {
            root,
            log,
            child,
            pid,
            gone: false,
            notified,
            _listener: listener,
            _socket: socket,
            _handing: handing,
        })
    }

    /// Waits for READY=1.
    ///
    /// # Errors
    /// When it ends before, or does not get ready in time; the text has the end of its log.
    pub async fn ready(mut self) -> Result<Self> {
        let mut notified = self.notified.clone();
        // Cancel safe: both only wait.
        let outcome = tokio::select! {
            ready = until("READY=1", &mut notified, |told| told.ready) => ready.map(|_| ()),
            status = self.child.wait() => Err(match status {
                Ok(status) => anyhow!("it ended with {status}"),
                Err(error) => error.into(),
            }),
        };
        match outcome {
            Ok(()) => Ok(self),
            Err(error) => Err(error.context(format!("agent not ready; its log:\n{}", self.tail()))),
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The root it was given.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file with all that it and its Envoy have printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it has told its service manager so far.
    #[must_use]
    pub fn notified(&self) -> Notified {
        self.notified.borrow().clone()
    }

    /// Waits until it has told something.
    ///
    /// # Errors
    /// After [`PATIENCE`].
    pub async fn until(&self, what: &str, done: impl FnMut(&Notified) -> bool) -> Result<Notified> {
        until(what, &mut self.notified.clone(), done).await
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_exit(PATIENCE).await
    }

    /// Sends SIGKILL and waits for the end; its Envoy may live on until this is dropped.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait_exit(PATIENCE).await
    }

    /// Sends any signal.
    ///
    /// # Errors
    /// When it has already ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("send {signal} to the agent"))
    }

    /// Stops it and all that it has started in their tracks, as a suspended machine does; returns
    /// when nothing of it moves.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn suspend(&self) -> Result<()> {
        for pid in session(self.pid) {
            kill(pid, Signal::SIGSTOP).with_context(|| format!("stop process {pid}"))?;
        }
        wait_for("a standstill", async || {
            let moving = members(self.pid).into_iter().find(|(_, state)| state != "T");
            moving.map_or(Ok(()), |(pid, state)| bail!("process {pid} is in state {state}"))
        })
        .await
    }

    /// Lets it go on after [`Self::suspend`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<()> {
        for pid in session(self.pid) {
            kill(pid, Signal::SIGCONT).with_context(|| format!("let process {pid} go on"))?;
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended after `patience`.
    pub async fn wait_exit(&mut self, patience: Duration) -> Result<ExitStatus> {
        match timeout(patience, self.child.wait()).await {
            Ok(status) => {
                self.gone = session(self.pid).is_empty();
                status.context("wait for the agent")
            }
            Err(_late) => bail!("the agent runs on after {patience:?}; log:\n{}", self.tail()),
        }
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.gone {
            for pid in session(self.pid) {
                // It fails when the process has just ended, which is what is wanted.
                let _gone = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

/// The processes of a session; those that have ended and wait for their parent are not counted.
fn session(leader: Pid) -> Vec<Pid> {
    members(leader).into_iter().map(|(pid, _)| pid).collect()
}

/// The same with the state of each, a letter.
fn members(leader: Pid) -> Vec<(Pid, String)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let state = |stat: &str| {
        // The name before the parenthesis may have any character in it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let session: i32 = fields.nth(2)?.parse().ok()?;
        (session == leader.as_raw() && state != "Z").then(|| state.to_owned())
    };
    let members = processes.filter_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let pid = process.file_name().to_str()?.parse().ok().map(Pid::from_raw)?;
        Some((pid, state(&stat)?))
    });
    members.collect()
}

/// Whether a process is there.
#[must_use]
pub fn alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// Runs `hawser ARGS…` to its end, with nothing in its environment but `env`.
///
/// # Errors
/// When it cannot be started or does not end in time. A failure of the command is no error.
pub async fn hawser<A: AsRef<OsStr>>(
    binary: &Path,
    args: &[A],
    env: &[(&str, &str)],
) -> Result<Output> {
    let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    let env: Vec<_> = env.iter().map(|(key, value)| (key.into(), value.into())).collect();
    hawser_with(binary, &args, &env).await
}

/// The same with variables that need not be text.
pub(crate) async fn hawser_with(
    binary: &Path,
    args: &[&OsStr],
    env: &[(OsString, OsString)],
) -> Result<Output> {
    let mut command = Command::new(binary);
    command.args(args).env_clear().env("PATH", PATH);
    command.envs(env.iter().map(|(key, value)| (key, value)));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.with_context(|| format!("{} runs on", binary.display()))?;
    output.with_context(|| format!("run {}", binary.display()))
}

async fn listen(socket: UnixDatagram, told: watch::Sender<Notified>, store: Option<Store>) {
    let mut buffer = vec![0; 64 * 1024];
    while socket.readable().await.is_ok() {
        let received = socket.try_io(Interest::READABLE, || receive(&socket, &mut buffer));
        let Ok((length, came)) = received else { continue };
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        if let Some(store) = &store {
            store.heed(&text, came);
        }
        told.send_modify(|told| {
            for line in text.lines() {
                match line.split_once('=') {
                    Some(("READY", "1")) => {
                        told.ready = true;
                        told.reloads.1 += 1;
                    }
                    Some(("RELOADING", "1")) => told.reloads.0 += 1,
                    Some(("STOPPING", "1")) => told.stopping = true,
                    Some(("WATCHDOG", "1")) => told.watchdog += 1,
                    Some(("STATUS", text)) => told.status.push(text.to_owned()),
                    _ => {}
                }
            }
        });
    }
}
