//! The packages install, start on a booted systemd, take over from Istio's own agent, and go without
//! a trace.

mod formats;
mod rpm;
pub(crate) mod sidecar;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::envoy::envoy_binary;

use crate::{
    HAWSER,
    machine::{Machine, SERVES, Started, wait_for},
};

#[test]
fn a_machine_installs_joins_starts_and_removes() -> Result<()> {
    let package = package("packages")?;
    let next = pack("packages-next", Some("9.9.9"), &["deb"])?;
    let next = packed(&next, "deb")?;
    let vm = Joined::boot("package", &[&package, Path::new(&next)])?;
    let machine = &vm.machine;
    let deb = package.to_str().context("a path in UTF-8")?;
    let before = host(machine)?;

    // A service that has not joined says so, and systemd does not try again.
    let said = machine.succeed(&["dpkg", "-i", deb])?;
    ensure!(said.contains("next, `hawser join BUNDLE`"), "{said}");
    let units = machine.succeed(&["sh", "-c", "cd /lib/systemd/system; ls -d hawser*.[st]*"])?;
    for unit in units.lines().filter(|unit| !unit.contains('@')) {
        machine.succeed(&["systemd-analyze", "verify", "--man=no", unit])?;
    }
    ensure!(
        !machine.run(&["systemctl", "is-enabled", "hawser"])?.status.success(),
        "it is enabled"
    );
    ensure!(!machine.run(&["systemctl", "start", "hawser"])?.status.success(), "it has not joined");
    let journal = machine.succeed(&["journalctl", "-u", "hawser", "-o", "cat"])?;
    ensure!(journal.contains("run `hawser join BUNDLE`"), "{journal}");
    let result = machine.succeed(&["systemctl", "show", "hawser"])?;
    ensure!(result.contains("ExecMainStatus=78\n"), "{result}");
    ensure!(result.contains("NRestarts=0\n"), "{result}");
    let status = machine.run(&["hawser", "status"])?;
    assert_eq!(status.status.code(), Some(3));
    let told = String::from_utf8_lossy(&status.stdout).into_owned();
    for part in
        ["hawser     down since 20", "ended with exit code 78", "next     hawser join BUNDLE"]
    {
        ensure!(told.contains(part), "{part} is not in:\n{told}");
    }
    machine.succeed(&["systemctl", "reset-failed", "hawser"])?;

    // With a mesh, it joins and is ready when systemctl returns.
    vm.join()?;
    machine.succeed(&["systemctl", "is-enabled", "hawser"])?;
    vm.serves("at first")?;
    let shown = machine.succeed(&["hawser", "identity", "show"])?;
    ensure!(shown.contains("at rest      plain, for its owner alone"), "{shown}");

    runs_confined(machine)?;
    speaks_to_the_journal(machine)?;
    is_upgraded_and_downgraded(&vm, deb, &next)?;

    // Killed, it comes back; and the identity it has makes it ready without the token.
    machine.succeed(&["rm", "/etc/hawser/mesh/istio-token"])?;
    machine.succeed(&["systemctl", "kill", "-s", "KILL", "hawser"])?;
    vm.serves("after a crash")?;

    seals_what_it_keeps(machine)?;
    says_how_to_go_on_without_the_seal(machine)?;
    keeps_files_for_other_programs(machine)?;

    // Removed, nothing runs and what was is there; purged, nothing is left but the user.
    machine.succeed(&["dpkg", "-r", "hawser"])?;
    let active = ["systemctl", "list-units", "hawser*", "--state=active", "--no-legend"];
    ensure!(machine.succeed(&active)?.is_empty(), "still active: {}", machine.succeed(&active)?);
    machine.succeed(&["test", "-s", "/var/lib/hawser/identity"])?;
    machine.succeed(&["test", "-s", "/etc/hawser/hawser.toml"])?;
    machine.succeed(&["systemctl", "stop", "program"])?;
    machine.succeed(&["rm", PROGRAM_UNIT])?;
    machine.succeed(&["systemctl", "daemon-reload"])?;
    machine.succeed(&["dpkg", "-P", "hawser"])?;
    let found =
        machine.run(&["find", "/etc/certs", "/etc/credstore.encrypted", "-mindepth", "1"])?;
    ensure!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    nothing_else_differs(&before, &host(machine)?, &["/etc/certs", "/var/lib/systemd"])
}

/// What was changed is kept, the new program takes over with the old one's identity, and back.
fn is_upgraded_and_downgraded(vm: &Joined, deb: &str, next: &str) -> Result<()> {
    let machine = &vm.machine;
    machine.succeed(&["sh", "-c", "echo '# ours' >>/etc/hawser/hawser.toml"])?;
    let asked = ["sh", "-c", "hawser identity show --json | grep -o '\"serial.*'"];
    let identity = machine.run(&asked)?.stdout;
    for (package, version) in [(next, "9.9.9"), (deb, env!("CARGO_PKG_VERSION"))] {
        let agent = vm.pid("hawser")?;
        let envoy = vm.pid("hawser-envoy")?;
        machine.succeed(&["dpkg", "-i", package])?;
        vm.replaced("hawser", &agent)?;
        vm.serves("after an upgrade")?;
        let now = machine.succeed(&["dpkg-query", "-W", "-f", "${Version}", "hawser"])?;
        ensure!(now == version, "{now}");
        machine.succeed(&["grep", "-q", "^# ours", "/etc/hawser/hawser.toml"])?;
        ensure!(vm.pid("hawser-envoy")? == envoy, "Envoy is another");
        ensure!(machine.run(&asked)?.stdout == identity, "the identity is another");
    }
    Ok(())
}

/// Not root, no capability, and nothing that strangers may open.
fn runs_confined(machine: &Machine) -> Result<()> {
    let user =
        machine.succeed(&["sh", "-c", "ps -o user= -p $(systemctl show hawser -P MainPID)"])?;
    ensure!(user.trim() == "istio-p+" || user.trim() == "istio-proxy", "{user}");
    let status = "grep Cap /proc/$(systemctl show hawser -P MainPID)/status";
    let capabilities = machine.succeed(&["sh", "-c", status])?;
    ensure!(capabilities.lines().all(|line| line.ends_with("0000000000000000")), "{capabilities}");
    let modes = machine.succeed(&["stat", "-c", "%a %U", "/var/lib/hawser", "/run/hawser"])?;
    ensure!(modes == "700 istio-proxy\n755 istio-proxy\n", "{modes}");
    let score = machine.succeed(&["systemd-analyze", "security", "hawser", "--no-pager"])?;
    let overall = score.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
    let score: f32 =
        overall.split_whitespace().find_map(|word| word.parse().ok()).context("score")?;
    ensure!(score <= 2.0, "{overall}");
    Ok(())
}

/// Values stand in the line that people read, and in fields that programs read.
fn speaks_to_the_journal(machine: &Machine) -> Result<()> {
    let plain = machine.succeed(&["journalctl", "-u", "hawser", "-o", "cat"])?;
    ensure!(plain.contains("certificate"), "{plain}");
    let json = machine.succeed(&["journalctl", "-u", "hawser", "-o", "json"])?;
    let entries =
        json.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let with_fields = entries.filter(|entry| entry.get("TARGET").is_some()).count();
    ensure!(with_fields > 0, "no entry has fields of its own:\n{json}");
    let explained = machine.succeed(&["journalctl", "-x", "-u", "hawser", "-o", "short"])?;
    ensure!(explained.contains("Subject: The agent has started"), "{explained}");
    Ok(())
}

/// One command, and the key does not lie on the disk as text any more; the seal opens again after
/// a restart, where the token is long gone.
fn seals_what_it_keeps(machine: &Machine) -> Result<()> {
    let plain = ["grep", "-rq", "PRIVATE KEY", "/var/lib/hawser"];
    ensure!(machine.run(&plain)?.status.success(), "before, it is as it is");

    let said = machine.succeed(&["hawser", "identity", "seal"])?;
    ensure!(said.contains("next: systemctl restart hawser"), "{said}");
    let said = machine.succeed(&["hawser", "identity", "seal"])?;
    ensure!(said.contains("is there already, and opens"), "{said}");
    let modes =
        machine.succeed(&["stat", "-c", "%a %U", "/etc/credstore.encrypted/hawser.seal"])?;
    ensure!(modes == "600 root\n", "{modes}");

    for start in ["the first start with the seal", "a start with what is sealed"] {
        machine.succeed(&["systemctl", "restart", "hawser"])?;
        let shown = machine.succeed(&["hawser", "identity", "show", "--json"])?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        ensure!(shown["at_rest"] == "sealed with systemd-creds", "{start}: {shown}");
        ensure!(shown["asked"] == 0, "{start} needs no istiod: {shown}");
        ensure!(!machine.run(&plain)?.status.success(), "{start}: a key in plain");
    }
    Ok(())
}

/// On a machine that has lost what it was sealed with, such as a clone, it is said what to do.
fn says_how_to_go_on_without_the_seal(machine: &Machine) -> Result<()> {
    machine.succeed(&["rm", "/var/lib/systemd/credential.secret"])?;
    ensure!(!machine.run(&["systemctl", "restart", "hawser"])?.status.success(), "it has started");
    let journal = machine.succeed(&["journalctl", "-u", "hawser", "-o", "cat", "-n", "20"])?;
    ensure!(journal.contains("hawser identity seal says what to do"), "{journal}");
    let told = machine.run(&["hawser", "identity", "seal"])?;
    ensure!(told.status.code() == Some(1), "{told:?}");
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    ensure!(told.contains("does not open on this machine"), "{told}");
    ensure!(told.contains("remove /etc/credstore.encrypted/hawser.seal, `hawser join`"), "{told}");

    machine.succeed(&["rm", "/etc/credstore.encrypted/hawser.seal"])?;
    machine.succeed(&["hawser", "join", "/srv/mesh/bundle"])?;
    machine.succeed(&["systemctl", "restart", "hawser"])?;
    machine.succeed(&["hawser", "identity", "show"])?;
    let made = machine.succeed(&["hawser", "identity", "seal"])?;
    ensure!(made.contains("made /etc/credstore.encrypted/hawser.seal"), "{made}");
    Ok(())
}

/// The hardened service may write where programs look for certificates, and a program that is
/// named to systemd reloads when there are new ones.
fn keeps_files_for_other_programs(machine: &Machine) -> Result<()> {
    let make = ["install", "-d", "-o", "istio-proxy", "-g", "istio-proxy", "/etc/certs"];
    machine.succeed(&make)?;
    let setting = "s|^#directory = .*|directory = \"/etc/certs\"|";
    machine.succeed(&["sed", "-i", setting, "/etc/hawser/hawser.toml"])?;
    machine.succeed(&["systemctl", "restart", "hawser"])?;
    let look = ["stat", "-L", "-c", "%n %a %U", "key.pem", "cert-chain.pem", "root-cert.pem"];
    let look: Vec<&str> = ["env", "-C", "/etc/certs"].into_iter().chain(look).collect();
    let files = wait_for("the files", Duration::from_secs(30), || {
        let told = machine.run(&["test", "-e", "/run/hawser/exported"])?.status.success();
        Ok(if told { Some(machine.succeed(&look)?) } else { None })
    })?;
    let expected = "key.pem 600 istio-proxy\ncert-chain.pem 644 istio-proxy\n\
                    root-cert.pem 644 istio-proxy\n";
    ensure!(files == expected, "{files}");

    machine.succeed(&["sh", "-c", &format!("echo '{PROGRAM}' >{PROGRAM_UNIT}")])?;
    machine.succeed(&["systemctl", "daemon-reload"])?;
    machine.succeed(&["systemctl", "start", "program"])?;
    machine.succeed(&["systemctl", "enable", "--now", "hawser-reload@program.path"])?;
    let chain = machine.succeed(&["cat", "/etc/certs/cert-chain.pem"])?;
    let renewed = machine.succeed(&["hawser", "identity", "renew"])?;
    ensure!(renewed.contains("renewed: spiffe://"), "{renewed}");
    let read = wait_for("the program to reload", Duration::from_secs(60), || {
        let read = machine.run(&["cat", "/run/program.read"])?;
        Ok(read.status.success().then(|| String::from_utf8_lossy(&read.stdout).into_owned()))
    })?;
    ensure!(read.contains("BEGIN CERTIFICATE") && read != chain, "it reads the old ones: {read}");
    Ok(())
}

/// A program that takes its certificates over when it is told to reload.
const PROGRAM: &str = "[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/cp /etc/certs/cert-chain.pem /run/program.fresh
ExecReload=/bin/mv /run/program.fresh /run/program.read";
const PROGRAM_UNIT: &str = "/run/systemd/system/program.service";

/// A machine with a mesh on it, and Envoy where people have it.
pub(crate) struct Joined {
    /// Has to go before the machine.
    _mesh: Started,
    pub(crate) machine: Machine,
}

impl Joined {
    /// Boots it; the packages can be read in it, where they are here.
    pub(crate) fn boot(name: &str, packages: &[&Path]) -> Result<Self> {
        let mesh = Path::new(HAWSER).with_file_name("mesh");
        let envoy = envoy_binary()?;
        let shared = packages.iter().copied().chain([mesh.as_path(), envoy.as_path()]);
        let shared: Option<Vec<&Path>> = shared.map(Path::parent).collect();
        let machine = Machine::boot(name, &shared.context("a directory")?)?;
        machine.succeed(&["ln", "-s", envoy.to_str().context("UTF-8")?, "/usr/bin/envoy"])?;
        let mesh = machine.start(&[mesh.to_str().context("UTF-8")?, "--dir", "/srv/mesh"])?;
        wait_for("the mesh in the machine", Duration::from_secs(30), || {
            let bundle = machine.run(&["test", "-e", "/srv/mesh/bundle/root-cert.pem"])?;
            Ok(bundle.status.success().then_some(()))
        })?;
        Ok(Self { _mesh: mesh, machine })
    }

    /// Joins, once the package is there. Packet rules are for other tests: this mesh gives Envoy no
    /// listeners for them.
    fn join(&self) -> Result<()> {
        let without = "/^\\[intercept\\]/,/^#mode/s/^# *enabled = .*/enabled = false/";
        self.machine.succeed(&["sed", "-i", without, "/etc/hawser/hawser.toml"])?;
        self.machine.succeed(&["hawser", "join", "/srv/mesh/bundle"]).map(drop)
    }

    fn serves(&self, when: &str) -> Result<()> {
        wait_for(&format!("the service {when}"), Duration::from_secs(60), || {
            Ok(self.machine.run(&SERVES)?.status.success().then_some(()))
        })
    }

    pub(crate) fn pid(&self, unit: &str) -> Result<String> {
        self.machine.succeed(&["systemctl", "show", unit, "-P", "MainPID"])
    }

    /// Another process runs than that one: nobody has waited for it.
    pub(crate) fn replaced(&self, unit: &str, pid: &str) -> Result<()> {
        wait_for("the new program", Duration::from_secs(60), || {
            let now = self.pid(unit)?;
            Ok((now != pid && now != "0\n").then_some(()))
        })
    }
}

/// What a package may not change: rules, routes, addresses, accounts, units and files.
fn host(machine: &Machine) -> Result<String> {
    machine.succeed(&["sh", "-c", HOST])
}

/// What differs has that name in it, or is the user, who stays.
fn nothing_else_differs(before: &str, after: &str, but: &[&str]) -> Result<()> {
    let expected = |line: &&str| {
        line.starts_with("istio-proxy:") || but.iter().any(|name| line.starts_with(name))
    };
    let lost: Vec<_> =
        before.lines().filter(|l| !after.contains(l)).filter(|l| !expected(l)).collect();
    let left: Vec<_> =
        after.lines().filter(|l| !before.contains(l)).filter(|l| !expected(l)).collect();
    ensure!(left.is_empty() && lost.is_empty(), "left: {left:#?}\nlost: {lost:#?}");
    Ok(())
}

const HOST: &str = "nft -s list ruleset; \
    for family in -4 -6; do ip $family rule; ip $family route show table all | sort; done; \
    ip -o address show | sed 's/ *valid_lft.*//'; getent passwd; getent group; \
    systemctl list-unit-files --no-legend --no-pager | sort; \
    find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \
    -o -path /var/log/journal -o -path /var/lib/dpkg -o -path /srv -o -path /var/cache/apt -o -path /var/tmp \
    -o -name __pycache__ \\) -prune -o -print | sort";

/// The package, made of the program under test, in a directory that nobody else makes it in.
pub(crate) fn package(directory: &str) -> Result<PathBuf> {
    packed(&pack(directory, None, &["deb"])?, "deb").map(PathBuf::from)
}

/// The program under test in some formats, as that version if not its own.
pub(crate) fn pack(directory: &str, version: Option<&str>, formats: &[&str]) -> Result<PathBuf> {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages").join(directory);
    drop(std::fs::remove_dir_all(&output));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build.sh");
    let mut build = Command::new(script);
    build.arg(HAWSER).arg(&output).args(formats).env("QUICK", "1");
    build.envs(version.map(|version| ("VERSION", version)));
    let build = build.output()?;
    let said = String::from_utf8_lossy(&build.stderr).into_owned();
    ensure!(build.status.success(), "build.sh: {said}");
    Ok(output)
}

/// The file of a format.
fn packed(directory: &Path, extension: &str) -> Result<String> {
    let mut packages = std::fs::read_dir(directory)?.filter_map(Result::ok).map(|e| e.path());
    let package = packages.find(|path| path.extension().is_some_and(|ext| ext == extension));
    let package = package.with_context(|| format!("no {extension} in {}", directory.display()))?;
    Ok(package.to_str().context("a path in UTF-8")?.to_owned())
}
