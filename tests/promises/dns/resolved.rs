//! Names of the mesh reach every program through a real systemd-resolved, without a packet rule:
//! whichever library it asks with, while systemd-resolved or the agent restarts, and without a trace
//! afterwards.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::mesh::{OUTSIDE, OUTSIDE_IP};

use crate::{
    HAWSER,
    machine::{Machine, SERVES, Started, wait_for},
    package::package,
};

#[test]
fn a_machine_with_systemd_resolved_sees_the_mesh_whatever_asks() -> Result<()> {
    let vm = Vm::boot("resolved")?;
    let before = vm.resolved()?;

    vm.mode("resolved")?;
    vm.machine.succeed(&["systemctl", "enable", "--now", "hawser"])?;
    let vip = vm.sees_the_mesh()?;
    vm.everybody_finds(&vip).context("at first")?;
    vm.relays_past_the_stub()?;
    vm.machine.succeed(&["systemctl", "restart", "systemd-resolved"])?;
    vm.everybody_finds(&vip).context("after a restart of systemd-resolved")?;
    // What it remembers is gone too, as after a crash on a full disk.
    vm.machine.succeed(&["sh", "-c", FORGET])?;
    vm.sees_the_mesh().context("after it has forgotten")?;
    vm.machine.succeed(&["ip", "link", "delete", "hawser0"])?;
    vm.sees_the_mesh().context("after somebody has removed the link")?;
    vm.machine.succeed(&["systemctl", "kill", "-s", "KILL", "hawser-resolved"])?;
    wait_for("it to be started again", PATIENCE, || {
        let show = ["systemctl", "show", "hawser-resolved", "-P", "NRestarts", "-P", "ActiveState"];
        Ok((vm.machine.succeed(&show)? == "1\nactive\n").then_some(()))
    })?;
    vm.sees_the_mesh().context("after the death of who told it")?;
    runs_confined(&vm)?;

    vm.machine.succeed(&["systemctl", "stop", "hawser"])?;
    vm.is_as(&before).context("after a stop")?;

    // The other way, nothing of it is there.
    vm.mode("proxy")?;
    vm.machine.succeed(&["systemctl", "start", "hawser"])?;
    let state = vm.machine.run(&["systemctl", "is-active", "hawser-resolved"])?;
    ensure!(state.stdout == b"inactive\n", "{}", String::from_utf8_lossy(&state.stdout));
    ensure!(vm.resolved()? == before, "{}", vm.resolved()?);

    // And it goes with the package.
    vm.mode("resolved")?;
    vm.machine.succeed(&["systemctl", "restart", "hawser"])?;
    vm.sees_the_mesh().context("after a change of mind")?;
    vm.machine.succeed(&["dpkg", "-r", "hawser"])?;
    vm.is_as(&before).context("after the package was removed")
}

#[test]
fn no_question_is_lost_while_the_agent_restarts_or_dies() -> Result<()> {
    let vm = Vm::boot("restarts")?;
    vm.mode("resolved")?;
    vm.machine.succeed(&["systemctl", "enable", "--now", "hawser"])?;
    vm.sees_the_mesh()?;
    let host = "hello.demo.svc.cluster.local";
    let python = ["python3", &*vm.clients.join("stream.py").to_string_lossy(), host, STOP, SAID]
        .map(str::to_owned);
    let _asking = vm.machine.start(&python.each_ref().map(String::as_str))?;
    let goes_on = |what: &str| {
        let from = vm.asked().unwrap_or_default();
        wait_for(what, PATIENCE, || Ok((vm.asked()? > from + 20).then_some(())))
    };
    goes_on("questions")?;

    vm.machine.succeed(&["systemctl", "restart", "hawser"])?;
    goes_on("questions after a restart")?;
    vm.machine.succeed(&["systemctl", "kill", "-s", "KILL", "hawser"])?;
    goes_on("questions after a death")?;
    wait_for("the agent to be back", PATIENCE, || {
        Ok(vm.machine.run(&SERVES)?.status.success().then_some(()))
    })?;
    goes_on("questions at the end")?;
    vm.machine.succeed(&["touch", STOP])?;

    let said = vm.machine.succeed(&["cat", SAID])?;
    ensure!(said.split(' ').nth(1) == Some("0"), "answered, lost, why: {said}");
    Ok(())
}

/// A machine on which systemd-resolved asks a resolver outside, and that has joined a mesh.
struct Vm {
    /// Has to go before the machine.
    _mesh: Started,
    machine: Machine,
    clients: PathBuf,
}

impl Vm {
    fn boot(name: &str) -> Result<Self> {
        let package = package(name)?;
        let mesh = Path::new(HAWSER).with_file_name("mesh");
        let clients = clients(name)?;
        let directory = |path: &Path| path.parent().map(Path::to_owned).context("a directory");
        let shared = [directory(&package)?, directory(&mesh)?, clients.clone()];
        let shared: Vec<_> = shared.iter().map(PathBuf::as_path).collect();
        let machine = Machine::boot(name, &shared)?;
        machine.succeed(&["dpkg", "-i", &package.to_string_lossy()])?;
        machine.succeed(&["systemd-analyze", "verify", "--man=no", "hawser-resolved.service"])?;

        let command = format!("exec {} --dir /srv/mesh --resolver {OUTSIDE_AT}:53", mesh.display());
        let mesh = machine.start(&["sh", "-c", &command])?;
        wait_for("the mesh in the machine", PATIENCE, || {
            let there = machine.run(&["test", "-e", "/srv/mesh/bundle/root-cert.pem"])?;
            Ok(there.status.success().then_some(()))
        })?;
        machine.succeed(&["sh", "-c", &format!("{SET_UP}\nsystemctl restart systemd-resolved")])?;
        machine.succeed(&["hawser", "join", "--no-start", "/srv/mesh/bundle"])?;
        let vm = Self { _mesh: mesh, machine, clients };
        vm.finds("resolvectl", &["resolvectl", "query", OUTSIDE], &outside())?;
        Ok(vm)
    }

    fn mode(&self, mode: &str) -> Result<()> {
        let place = "/etc/systemd/system/hawser.service.d";
        let command = format!(
            "mkdir -p {place} && \
             printf '[Service]\\nEnvironment=HAWSER_DNS_MODE={mode}\\n' >{place}/mode.conf && \
             systemctl daemon-reload"
        );
        self.machine.succeed(&["sh", "-c", &command]).map(drop)
    }

    /// Waits until systemd-resolved answers a name of the mesh as the agent does, and says what.
    fn sees_the_mesh(&self) -> Result<String> {
        let host = "hello.demo.svc.cluster.local";
        let seen = wait_for("systemd-resolved to ask the agent", PATIENCE, || {
            let direct = ["dig", "@127.0.0.1", "-p", "15053", "+short", "+tries=1", host];
            let vip = self.machine.succeed(&direct)?.trim().to_owned();
            ensure!(!vip.is_empty() && !vip.contains(';'), "the agent says {vip}");
            let found = self.machine.succeed(&["resolvectl", "query", host])?;
            Ok(found.contains(&vip).then_some(vip))
        });
        seen.with_context(|| self.told())
    }

    /// A name of the mesh and one outside, by everything that asks.
    fn everybody_finds(&self, vip: &str) -> Result<()> {
        let program = |name: &str| self.clients.join(name).to_string_lossy().into_owned();
        let (musl, go) = (program("musl"), program("go"));
        let python = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))";
        let mut ways: Vec<(&str, Vec<&str>)> = vec![
            ("systemd-resolved", vec!["resolvectl", "query"]),
            ("glibc with nss-resolve", vec!["getent", "-s", "resolve", "ahostsv4"]),
            ("glibc with nss-dns", vec!["getent", "-s", "dns", "ahostsv4"]),
            ("glibc as it is set up", vec!["getent", "hosts"]),
            ("dig", vec!["dig", "+short"]),
            ("Python", vec!["python3", "-c", python]),
            ("musl", vec![&musl]),
        ];
        if Path::new(&go).exists() {
            ways.push(("Go", vec![&go]));
        }
        let names = [("hello.demo.svc.cluster.local", vip.to_owned()), (OUTSIDE, outside())];
        for (name, address) in names {
            for (way, command) in &ways {
                let command: Vec<_> = command.iter().copied().chain([name]).collect();
                self.finds(way, &command, &address).with_context(|| self.told())?;
            }
        }
        Ok(())
    }

    fn finds(&self, way: &str, command: &[&str], address: &str) -> Result<()> {
        let found = self.machine.succeed(command).with_context(|| way.to_owned())?;
        let mut words = found.split_whitespace();
        ensure!(words.any(|word| word == address), "{way}: {command:?} finds {found}");
        Ok(())
    }

    /// What the mesh does not know the agent asks outside: of the servers behind the stub, which
    /// would ask the agent again.
    fn relays_past_the_stub(&self) -> Result<()> {
        let ask = ["dig", "@127.0.0.1", "-p", "15053", "+short", OUTSIDE];
        self.finds("the agent", &ask, &outside())?;
        let nobody = self.machine.succeed(&["dig", "nobody.demo.svc.cluster.local"])?;
        ensure!(nobody.contains("status: NXDOMAIN"), "{nobody}");
        // There is no Envoy here, and that is told by its exit code.
        let status = self.machine.run(&["hawser", "status", "--json"])?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        let resolvers = status["dns"]["resolvers"].as_array().context("no resolvers")?;
        let asked: Vec<_> = resolvers.iter().map(|one| one["address"].as_str()).collect();
        ensure!(asked == [Some(&*format!("{OUTSIDE_AT}:53"))], "{asked:?}");
        Ok(())
    }

    /// All that systemd-resolved knows, and all that it has written.
    fn resolved(&self) -> Result<String> {
        self.machine.succeed(&["sh", "-c", LOOK])
    }

    fn is_as(&self, before: &str) -> Result<()> {
        let mut now = String::new();
        let same = wait_for("everything to be as before", PATIENCE, || {
            now = self.resolved()?;
            Ok((now == before).then_some(()))
        });
        same.with_context(|| format!("before:\n{before}\nnow:\n{now}\n{}", self.told()))
    }

    /// Questions that were answered to the one who asks over and over.
    fn asked(&self) -> Result<u64> {
        let said = self.machine.succeed(&["cat", SAID])?;
        Ok(said.split(' ').next().context("nothing")?.parse()?)
    }

    fn told(&self) -> String {
        let journal =
            ["journalctl", "-n", "60", "-o", "cat", "-u", "hawser", "-u", "hawser-resolved"];
        let state = "resolvectl status; ip address show hawser0; cat /run/hawser/dns-domains";
        let mut told = String::new();
        for command in [&journal[..], &["sh", "-c", state]] {
            told += &self.machine.run(command).map_or_else(
                |error| error.to_string(),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            );
        }
        told
    }
}

/// Root, but with one capability and little else.
fn runs_confined(vm: &Vm) -> Result<()> {
    let status = "grep CapEff /proc/$(systemctl show hawser-resolved -P MainPID)/status";
    let capabilities = vm.machine.succeed(&["sh", "-c", status])?;
    ensure!(
        capabilities.ends_with("0000000000001000\n"),
        "more than CAP_NET_ADMIN: {capabilities}"
    );
    let unit = ["systemd-analyze", "security", "hawser-resolved", "--no-pager"];
    let score = vm.machine.succeed(&unit)?;
    let overall = score.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
    let score: f32 =
        overall.split_whitespace().find_map(|word| word.parse().ok()).context("score")?;
    ensure!(score <= 3.0, "{overall}");
    Ok(())
}

/// Programs that ask, made on this machine: they need nothing of the other one.
fn clients(name: &str) -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promises/dns/clients");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clients-{name}"));
    fs::create_dir_all(&place)?;
    fs::copy(sources.join("stream.py"), place.join("stream.py"))?;
    let mut musl = Command::new("musl-gcc");
    musl.args(["-static", "-O1", "-o"]).arg(place.join("musl")).arg(sources.join("ask.c"));
    let made = musl.output().context("run musl-gcc; `tests/tools.sh` installs it")?;
    ensure!(made.status.success(), "musl-gcc: {}", String::from_utf8_lossy(&made.stderr));
    // Where there is a Go, its resolver asks too; it is nobody else's.
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(place.join("go")).arg(sources.join("ask.go"));
    go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
    if let Ok(made) = go.output() {
        ensure!(made.status.success(), "go: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(place)
}

fn outside() -> String {
    std::net::Ipv4Addr::from(OUTSIDE_IP).to_string()
}

const PATIENCE: Duration = Duration::from_secs(60);
const OUTSIDE_AT: &str = "127.0.0.99";
const STOP: &str = "/run/stop-asking";
const SAID: &str = "/run/asked";
/// A link with an address, and a server. Nothing is answered from a cache: each question has to come through.
///
/// Without a link that has an address systemd-resolved takes the machine for cut off.
const SET_UP: &str = "ip link add uplink type bridge && ip address add 10.99.0.2/24 dev uplink && \
ip link set uplink addrgenmode none && ip link set uplink up
mkdir -p /etc/systemd/resolved.conf.d
printf '[Resolve]\\nDNS=127.0.0.99\\nFallbackDNS=\\nCache=no\\n' >/etc/systemd/resolved.conf.d/outside.conf";
const FORGET: &str = "systemctl stop systemd-resolved && rm -rf /run/systemd/resolve/netif/* && \
                      systemctl start systemd-resolved";
/// Which of its servers it has asked last is not for anybody to set.
const LOOK: &str = "resolvectl status --no-pager | grep -v 'Current DNS Server' | sed 's/  */ /g'; \
                    cd /run/systemd/resolve; \
                    find . -type f | sort | xargs -r grep -H ''; ls -l /etc/resolv.conf";
