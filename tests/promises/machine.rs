//! A Debian that is booted by a real systemd, for as long as a test needs it.
//!
//! The tree is made once by debootstrap, from the mirror this machine's apt uses, and kept in the
//! target directory; every boot gets a throw-away overlay of it. Its network is a loopback of its
//! own. Needs root; without it the test fails and says so.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

/// What a machine keeps over its boots. It goes when this is dropped, which has to be after the
/// machine.
pub(crate) struct Disk {
    place: tempfile::TempDir,
}

impl Disk {
    /// A fresh one, with nothing but the Debian that all of them begin with.
    pub(crate) fn new() -> Result<Self> {
        let tree = tree()?;
        let disk = Self { place: tempfile::tempdir().context("make a directory")? };
        let place = disk.place.path();
        // What is written goes into memory: whatever lies below may not be able to be written over.
        command("mount", &["-t", "tmpfs", "-o", "size=2g", "tmpfs", &place.to_string_lossy()])?;
        for name in ["written", "work", "root"] {
            fs::create_dir(place.join(name))?;
        }
        let shown = |name: &str| place.join(name).display().to_string();
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            tree.display(),
            shown("written"),
            shown("work")
        );
        command("mount", &["-t", "overlay", "-o", &layers, "overlay", &shown("root")])?;
        Ok(disk)
    }

    fn root(&self) -> PathBuf {
        self.place.path().join("root")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for place in [self.root(), self.place.path().to_owned()] {
            drop(command("umount", &["--lazy", &place.to_string_lossy()]));
        }
    }
}

fn command(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("run {program}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {told}", args.join(" "));
    Ok(())
}

/// One booted machine. Powered off when dropped.
pub(crate) struct Machine {
    nspawn: Child,
    init: i32,
    groups: Vec<PathBuf>,
}

impl Machine {
    /// Boots one that is alone and keeps nothing; the given directories of the host can be read in
    /// it, at the same place.
    pub(crate) fn boot(name: &str, shared: &[&Path]) -> Result<Self> {
        let mut options = vec!["--private-network".to_owned(), "--volatile=overlay".to_owned()];
        options.push(format!("--directory={}", tree()?.display()));
        Self::boot_with(name, options, shared)
    }

    /// The same from a disk, and in a network that others are in too.
    pub(crate) fn boot_from(
        name: &str,
        disk: &Disk,
        network: &Path,
        shared: &[&Path],
    ) -> Result<Self> {
        let options = vec![
            format!("--network-namespace-path={}", network.display()),
            // The network is the machine's own, which nspawn does not see.
            "--capability=CAP_NET_ADMIN".to_owned(),
            "--resolv-conf=off".to_owned(),
            format!("--directory={}", disk.root().display()),
        ];
        Self::boot_with(name, options, shared)
    }

    fn boot_with(name: &str, options: Vec<String>, shared: &[&Path]) -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "this test boots a machine and needs root; `make lint unit` runs what does not"
        );
        let name = format!("hawser-{name}-{}", std::process::id());
        let groups = groups(&name)?;
        let mut boot = Command::new("sh");
        // The shell moves itself, so that nspawn starts inside a group of its own.
        boot.args(["-c", JOIN_AND_EXEC, "boot"]);
        boot.args(groups.iter().map(|group| group.join("cgroup.procs"))).arg("--");
        boot.args(["systemd-nspawn", "-q", "--register=no", "--keep-unit"]);
        boot.args(["--console=pipe", "--boot", "-M", &name]).args(options);
        for path in shared {
            boot.arg(format!("--bind-ro={}", path.display()));
        }
        boot.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        boot.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let nspawn = boot.spawn().context("start systemd-nspawn")?;
        let mut machine = Self { nspawn, init: 0, groups };
        wait_for("systemd in the machine", BOOT, || {
            // The first child of nspawn is not yet the machine's init; that one stays.
            machine.init = machine.child().context("nspawn has no child")?;
            let state = machine.run(&["systemctl", "is-system-running"])?;
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            Ok(["running", "degraded"].contains(&state.as_str()).then_some(()))
        })?;
        Ok(machine)
    }

    /// Runs a command in the machine, to its end.
    pub(crate) fn run(&self, command: &[&str]) -> Result<Output> {
        self.enter(command).output().with_context(|| format!("run {command:?} in the machine"))
    }

    /// The same, and what it printed; an error unless it succeeded.
    pub(crate) fn succeed(&self, command: &[&str]) -> Result<String> {
        let output = self.run(command)?;
        let printed = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(output.status.success(), "{command:?} ended with {}:\n{printed}", output.status);
        Ok(printed)
    }

    /// Starts a command in the machine; it ends with the machine.
    pub(crate) fn start(&self, command: &[&str]) -> Result<Started> {
        let mut enter = self.enter(command);
        enter.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let entered = enter.spawn();
        Ok(Started(entered.with_context(|| format!("start {command:?} in the machine"))?))
    }

    fn enter(&self, command: &[&str]) -> Command {
        let mut enter = Command::new("nsenter");
        enter.args(["-t", &self.init.to_string(), "-m", "-u", "-i", "-n", "-p", "-C"]);
        enter.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]);
        enter.args(command);
        enter
    }

    fn child(&self) -> Option<i32> {
        let pid = self.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.init != 0 {
            // SIGRTMIN+4, by its number, asks systemd to power off; a shell knows how to send it.
            let ask =
                Command::new("sh").args(["-c", "kill -38 $0", &self.init.to_string()]).status();
            drop(ask);
            drop(wait_for("the machine to power off", BOOT, || Ok(self.nspawn.try_wait()?)));
        }
        if matches!(self.nspawn.try_wait(), Ok(None)) {
            let pid = i32::try_from(self.nspawn.id()).unwrap_or_default();
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drop(self.nspawn.wait());
        for group in &self.groups {
            drop(remove_group(group));
        }
    }
}

/// The way into the machine of a command that runs on in it. Has to go before the machine: a dead
/// process that somebody outside has not waited for holds its power-off up.
pub(crate) struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The tree to boot, made at the first call.
fn tree() -> Result<PathBuf> {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine");
    let done = base.join("done");
    fs::create_dir_all(&base)?;
    let lock = fs::File::create(base.join("lock"))?;
    lock.lock().context("wait for another test that makes the tree")?;
    let tree = base.join("tree");
    // One that was made of other packages is made again.
    if fs::read_to_string(&done).is_ok_and(|made_of| made_of == PACKAGES) {
        return Ok(tree);
    }
    let (mirror, suite) = mirror()?;
    writeln!(io::stderr(), "making a Debian {suite} to boot; once")?;
    drop(fs::remove_dir_all(&tree));
    let make = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), &suite])
        .arg(&tree)
        .arg(&mirror)
        .stdin(Stdio::null())
        .output()
        .context("run debootstrap; `tests/tools.sh` installs it")?;
    if !make.status.success() {
        bail!("debootstrap failed:\n{}", String::from_utf8_lossy(&make.stdout));
    }
    for unit in ["getty@tty1.service", "console-getty.service"] {
        let mask = Command::new("chroot").arg(&tree).args(["systemctl", "mask", unit]).output()?;
        ensure!(mask.status.success(), "mask {unit}");
    }
    hawser_state::write_file(&done, 0o644, PACKAGES.as_bytes())?;
    Ok(tree)
}

/// Where this machine's apt has its packages from.
fn mirror() -> Result<(String, String)> {
    let format = "$(REPO_URI) $(RELEASE)";
    let listed = Command::new("apt-get")
        .args(["indextargets", "--format", format, "Created-By: Packages", "Component: main"])
        .output()
        .context("ask apt for its mirror; this test needs a Debian or a derivative")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let first = listed.lines().find(|line| !line.contains('-')).or_else(|| listed.lines().next());
    let (uri, suite) = first
        .and_then(|line| line.split_once(' '))
        .context("apt knows no mirror; is there a sources list?")?;
    Ok((uri.to_owned(), suite.to_owned()))
}

/// A control group of its own in every hierarchy that systemd uses here.
fn groups(name: &str) -> Result<Vec<PathBuf>> {
    let top = Path::new("/sys/fs/cgroup");
    let unified = top.join("cgroup.controllers").exists();
    let hierarchies: Vec<PathBuf> = if unified {
        vec![top.to_owned()]
    } else {
        ["unified", "systemd"].iter().map(|h| top.join(h)).filter(|h| h.is_dir()).collect()
    };
    ensure!(!hierarchies.is_empty(), "no control groups under {}", top.display());
    let groups: Vec<PathBuf> = hierarchies.iter().map(|hierarchy| hierarchy.join(name)).collect();
    for group in &groups {
        fs::create_dir_all(group).with_context(|| format!("make {}", group.display()))?;
    }
    Ok(groups)
}

/// Groups are removed from the leaves up; their files go with them.
fn remove_group(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Asks until there is an answer. What never comes is an error that says what it was.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = std::time::SystemTime::now();
    loop {
        let late = begun.elapsed().is_ok_and(|waited| waited > limit);
        match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Err(error) if late => return Err(error.context(what.to_owned())),
            Ok(None) if late => bail!("{what}: not within {limit:?}"),
            Ok(None) | Err(_) => {}
        }
        #[expect(clippy::disallowed_methods, reason = "a pause between two questions")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Succeeds when nothing of the agent is missing; there may be no Envoy, or something to mend.
pub(crate) const SERVES: [&str; 3] =
    ["sh", "-c", r#"hawser status --json | grep -q '"waits_for":\[\]'"#];

const JOIN_AND_EXEC: &str = r#"
while [ "$1" != -- ]; do echo $$ >"$1" || exit 1; shift; done
shift
exec "$@"
"#;
const PACKAGES: &str = "systemd,systemd-sysv,dbus,iproute2,procps,libnss-myhostname,\
                        systemd-resolved,libnss-resolve,bind9-dnsutils,python3-minimal,\
                        nftables,iptables,rpm,curl";
const BOOT: Duration = Duration::from_secs(60);
