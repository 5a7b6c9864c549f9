//! `hawser laptop` as an ordinary user: a file of services and a certificate, and nothing is left behind.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    dig::Dig,
    http1::{self, Reply},
    standalone::CERTIFICATES,
    wait::{PATIENCE, wait_for},
    workload::Answer,
};
use http::Method;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::Machine;
use crate::HAWSER;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights_calls_services_and_nothing_is_left_behind() -> Result<()> {
    let desk = Desk::new().await?;
    let host = desk.machine.eastwest.member("reviews")?.host();

    let laptop = desk.start(&[])?;
    let table = laptop.table().await?;

    let row = table.lines().find(|line| line.starts_with(&host)).context("no row")?;
    let url = format!("http://{host}:{}", desk.machine.port("reviews")?);
    ensure!(row.ends_with(&url), "{table}");
    ensure!(table.contains("resolved.conf.d/hawser.conf"), "{table}");
    let answer: Answer = desk.call(&table, &host).await?.json()?;
    ensure!(answer.caller == desk.machine.identity(), "{answer:?}");
    let all = desk.processes()?;
    ensure!(all.len() == 2, "the agent and Envoy, and both are the user's: {all:?}");
    let root = desk.home().join(".local/state/hawser");
    let status = desk.run(&["status", "--root", &root.display().to_string()]).await?;
    ensure!(status.0, "{}", status.1);
    let before = desk.address(&table, &host).await?;

    let ended = laptop.end(Signal::SIGINT).await?;

    ensure!(ended.contains("exit status: 0"), "{ended}");
    desk.is_clean()?;
    // The next run finds what was kept: a name has the address that it had.
    let lines = desk.run(&["laptop", "--print-hosts"]).await?;
    ensure!(lines.0 && lines.1.contains(&format!("{before} {host}")), "{}", lines.1);
    let again = desk.start(&[])?;
    let table = again.table().await?;
    ensure!(desk.address(&table, &host).await? == before, "{table}");
    // A terminal that is closed is an end like any other.
    let ended = again.end(Signal::SIGHUP).await?;
    ensure!(ended.contains("exit status: 0"), "{ended}");
    desk.is_clean()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_is_told_of_the_first_which_goes_on() -> Result<()> {
    let desk = Desk::new().await?;
    let host = desk.machine.eastwest.member("reviews")?.host();
    let first = desk.start(&[])?;
    let table = first.table().await?;

    let second = desk.run(&["laptop"]).await?;

    ensure!(!second.0 && second.1.contains("runs here already"), "{}", second.1);
    ensure!(desk.call(&table, &host).await?.status == 200, "the first is disturbed");
    first.end(Signal::SIGTERM).await?;
    desk.is_clean()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_with_what_to_do() -> Result<()> {
    let desk = Desk::new().await?;
    let file = desk.home().join("work/services.yaml");
    let table: [(&[&str], &str); 4] = [
        (&["--certs", "nowhere"], "no key.pem, cert-chain.pem, root-cert.pem there"),
        (&["--envoy", "nowhere"], "there is no Envoy at"),
        (&["--services", "nowhere.yaml"], "nowhere.yaml"),
        (&["--set", "services.use=off"], "this machine has not joined a mesh"),
    ];
    for (arguments, expected) in table {
        let (well, said) = desk.run(&[&["laptop"], arguments].concat()).await?;
        ensure!(!well && said.contains(expected), "{arguments:?}: {said}");
    }
    fs::rename(&file, file.with_extension("away"))?;
    let (well, said) = desk.run(&["laptop"]).await?;
    fs::rename(file.with_extension("away"), &file)?;
    ensure!(!well && said.contains("neither"), "{said}");
    ensure!(said.contains("hawser services import"), "{said}");
    desk.is_clean()
}

/// Somebody's account, beside a mesh.
struct Desk {
    machine: Machine,
    dir: TempDir,
    user: u32,
    /// What was there before anything was started.
    own: BTreeSet<PathBuf>,
}

impl Desk {
    /// In `work` of the home are services.yaml and the directory of the certificate; settings, which
    /// are about ports alone, are where a desktop has them; Envoy is on the PATH.
    async fn new() -> Result<Self> {
        let machine = Machine::new().await?;
        let dir = tempfile::tempdir()?;
        // No port is handed out twice, so no number is either.
        let user = 20_000 + u32::from(hawser_harness::free::port([127, 0, 0, 1].into())?);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let envoy = machine.vm.envoy.clone().context("no Envoy")?;
        for (from, to) in [(Path::new(HAWSER), "bin/hawser"), (&envoy, "bin/envoy")] {
            copy(from, &dir.path().join(to))?;
        }
        let certificates = machine.vm.root().join(CERTIFICATES);
        for name in ["key.pem", "cert-chain.pem", "root-cert.pem"] {
            let to = dir.path().join("home/work/certs").join(name);
            copy(&certificates.join(name), &to)?;
        }
        copy(&machine.file(), &dir.path().join("home/work/services.yaml"))?;
        let settings = machine.vm.root().join("etc/hawser/hawser.toml");
        copy(&settings, &dir.path().join("home/.config/hawser/hawser.toml"))?;
        fs::create_dir(dir.path().join("run"))?;
        let mut desk = Self { machine, dir, user, own: BTreeSet::new() };
        for path in desk.everything("home")?.into_iter().chain(desk.everything("run")?) {
            chown(&path, Some(user), Some(user))?;
        }
        desk.own = desk.everything("home")?;
        Ok(desk)
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Every file and directory below one, and itself.
    fn everything(&self, below: &str) -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let mut left = vec![self.dir.path().join(below)];
        while let Some(path) = left.pop() {
            if fs::symlink_metadata(&path)?.is_dir() {
                for entry in fs::read_dir(&path)? {
                    left.push(entry?.path());
                }
            }
            found.insert(path);
        }
        Ok(found)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.dir.path().join("bin/hawser"));
        command.args(arguments).current_dir(self.home().join("work")).env_clear();
        command.env("HOME", self.home()).env("XDG_RUNTIME_DIR", self.dir.path().join("run"));
        command.env("PATH", format!("{}:/usr/bin:/bin", self.dir.path().join("bin").display()));
        command.uid(self.user).gid(self.user).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A command of the user's to its end: whether it went well, and what it said.
    async fn run(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let output = timeout(PATIENCE, self.command(arguments).output()).await??;
        Ok((output.status.success(), crate::rig::said(&output)))
    }

    fn start(&self, arguments: &[&str]) -> Result<Laptop> {
        let (out, log) = (self.dir.path().join("out"), self.dir.path().join("log"));
        let mut command = self.command(&[&["laptop"], arguments].concat());
        command.stdout(fs::File::create(&out)?).stderr(fs::File::create(&log)?);
        Ok(Laptop { child: command.spawn()?, out, log })
    }

    /// Where the table says that names are answered.
    fn dns(table: &str) -> Result<SocketAddr> {
        let (_, rest) = table.split_once("answered at ").context("no DNS")?;
        let (address, _) = rest.split_once(": `dig").context("no example")?;
        Ok(address.parse()?)
    }

    async fn address(&self, table: &str, host: &str) -> Result<std::net::IpAddr> {
        let answer = Dig::a(host).ask(Self::dns(table)?).await?;
        answer.addresses().first().copied().context("no address")
    }

    /// What a program gets that knows no more than the name and its port.
    async fn call(&self, table: &str, host: &str) -> Result<Reply> {
        let place = (self.address(table, host).await?, self.machine.port("reviews")?).into();
        http1::call(place, &Method::GET, "/here", &[("host", host)]).await
    }

    /// Processes of the user's.
    fn processes(&self) -> Result<Vec<i32>> {
        let uid = format!("Uid:\t{}\t", self.user);
        let is_own = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            status.is_ok_and(|status| status.contains(&uid))
        };
        let names = fs::read_dir("/proc")?.filter_map(Result::ok).map(|entry| entry.file_name());
        Ok(names.filter_map(|name| name.to_str()?.parse().ok()).filter(is_own).collect())
    }

    /// No process, no socket, and no file but what is kept for the next time.
    fn is_clean(&self) -> Result<()> {
        let left = self.processes()?;
        ensure!(left.is_empty(), "processes are left: {left:?}");
        let run = self.everything("run")?;
        ensure!(run.len() == 1, "files are left for the session: {run:?}");
        let root = self.home().join(".local/state/hawser");
        let kept = root.join("var/lib/hawser");
        for path in self.everything("home")?.difference(&self.own) {
            let kind = fs::symlink_metadata(path)?.file_type();
            ensure!(!kind.is_socket(), "a socket is left: {}", path.display());
            let fine = kind.is_dir() || path.starts_with(&kept) || *path == root.join("etc/hawser");
            ensure!(fine, "a file is left: {}", path.display());
        }
        Ok(())
    }
}

/// One that runs.
struct Laptop {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Laptop {
    /// What it shows when programs can call.
    async fn table(&self) -> Result<String> {
        let shown = async || {
            let table = fs::read_to_string(&self.out)?;
            ensure!(table.contains("Ctrl-C ends it."), "{table}{}", fs::read_to_string(&self.log)?);
            Ok(table)
        };
        wait_for("the table of services", shown).await
    }

    /// Ends it by a signal; how it ended, with all that it logged.
    async fn end(mut self, signal: Signal) -> Result<String> {
        let pid = self.child.id().context("it has ended")?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal)?;
        let status = timeout(PATIENCE, self.child.wait()).await.context("it does not end")??;
        Ok(format!("{status}\n{}", fs::read_to_string(&self.log)?))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a path without a parent")?)?;
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}
