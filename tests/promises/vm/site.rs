//! A machine and a mesh, each in a network of its own, with a cable between them.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    envoy::envoy_binary,
    mesh::{Mesh, OUTSIDE, OUTSIDE_IP},
    netns::Net,
    sidecar::{Arrival, CALLER_HEADER, call_as},
    workload::Answer,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    machine::{Disk, Machine, Started, wait_for},
    package::package,
};

/// Both, and the cable. The thread that has made it is in the network of the mesh.
///
/// In the order in which they go.
pub(crate) struct Site {
    programs: Vec<Started>,
    machine: Option<Machine>,
    disk: Disk,
    pub(crate) mesh: Mesh,
    pub(crate) runtime: Runtime,
    name: &'static str,
    package: std::path::PathBuf,
    vm: Net,
    cloud: Net,
    dir: TempDir,
}

impl Site {
    /// A mesh, and a booted Debian with an Envoy on it and a resolver outside in its resolv.conf.
    pub(crate) fn build(name: &'static str) -> Result<Self> {
        Self::build_for(name, Arrival::Redirected)
    }

    /// The same, for a machine whose Envoy gets what comes in that way.
    pub(crate) fn build_for(name: &'static str, arrival: Arrival) -> Result<Self> {
        let package = package(name)?;
        // What may have to be fetched is fetched before this thread is where nothing can be.
        envoy_binary().context("find Envoy")?;
        let disk = Disk::new()?;
        let cloud = Net::new("cloud")?;
        let vm = network(&cloud)?;
        cloud.enter()?;
        // Its threads are in the network of the one that starts them.
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).enable_all().build()?;
        let dir = tempfile::tempdir()?;
        let mesh = runtime.block_on(Mesh::start_on(dir.path(), CLOUD, &[INBOUND], arrival))?;
        let machine = None;
        let mut site = Self {
            programs: Vec::new(),
            machine,
            disk,
            mesh,
            runtime,
            name,
            package,
            vm,
            cloud,
            dir,
        };
        site.boot()?;
        let envoy = envoy_binary()?;
        let prepare = format!(
            "rm -f /etc/resolv.conf; echo 'nameserver {CLOUD}' >/etc/resolv.conf; \
             systemctl mask --quiet --now systemd-resolved; \
             ln -s {} /usr/local/bin/envoy; useradd --system --no-create-home app",
            envoy.display()
        );
        site.succeed(&["sh", "-c", &prepare])?;
        Ok(site)
    }

    /// Boots the machine from what is on its disk.
    pub(crate) fn boot(&mut self) -> Result<()> {
        let envoy = envoy_binary()?;
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promises/vm/programs");
        let above = |path: &Path| path.parent().map(Path::to_owned).context("a directory");
        let shared = [above(&self.package)?, above(&envoy)?, programs, self.dir.path().to_owned()];
        let shared: Vec<_> = shared.iter().map(std::path::PathBuf::as_path).collect();
        let machine = Machine::boot_from(self.name, &self.disk, &self.vm.path(), &shared)?;
        self.machine = Some(machine);
        Ok(())
    }

    /// Pulls the plug and boots it again, in a network that knows nothing of what was in the last.
    pub(crate) fn reboot(&mut self) -> Result<()> {
        self.programs.clear();
        drop(self.machine.take());
        self.vm.cut()?;
        self.vm = network(&self.cloud)?;
        self.boot()
    }

    pub(crate) fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().context("the machine is off")
    }

    pub(crate) fn succeed(&self, command: &[&str]) -> Result<String> {
        self.machine()?.succeed(command)
    }

    /// A command that is expected to go well in time.
    pub(crate) fn comes(&self, what: &str, command: &[&str]) -> Result<String> {
        wait_for(what, PATIENCE, || self.succeed(command).map(Some)).with_context(|| self.told())
    }

    pub(crate) fn shell(&self, command: &str) -> Result<String> {
        self.succeed(&["sh", "-c", command])
    }

    /// Starts a program of this directory as an ordinary user; it runs until the machine ends.
    pub(crate) fn start(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        let program = Self::program(program);
        let command = ["setpriv", "--reuid=app", "--regid=app", "--clear-groups", "python3"];
        let command = [&command[..], &[program.as_str()], arguments].concat();
        let started = self.machine()?.start(&command)?;
        self.programs.push(started);
        Ok(())
    }

    pub(crate) fn program(name: &str) -> String {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promises/vm/programs");
        programs.join(name).display().to_string()
    }

    /// Where everything of the mesh is.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn package(&self) -> String {
        self.package.display().to_string()
    }

    pub(crate) fn bundle(&self) -> String {
        self.mesh.bundle_dir.display().to_string()
    }

    /// What an ordinary program gets that asks a service by its name.
    pub(crate) fn request(&self, path: &str) -> Result<Answer> {
        let host = self.mesh.service.host();
        let program = Self::program("asks.py");
        let asks = ["setpriv", "--reuid=app", "--regid=app", "--clear-groups", "python3", &program];
        let reply = self.succeed(&[&asks[..], &[&host, path]].concat())?;
        let (head, body) = reply.split_once("\r\n\r\n").context("no head")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{reply}");
        serde_json::from_str(body).with_context(|| reply.clone())
    }

    /// A program of the machine calls the mesh, and the mesh calls the machine: without either of
    /// the two programs knowing, each with the right certificate.
    pub(crate) fn talks_both_ways(&self) -> Result<()> {
        let me = self.mesh.identity();
        let answer = wait_for("a request of the machine", PATIENCE, || {
            let answer = self.request("/out")?;
            ensure!(answer.caller == me, "the workload saw {:?}", answer.caller);
            Ok(Some(answer))
        });
        let answer = answer.with_context(|| self.told())?;
        ensure!(answer.workload == self.mesh.hello.identity(), "{answer:?}");

        self.hears_the_mesh().map(drop)
    }

    /// The mesh calls a program of the machine. Returns what the program has seen.
    pub(crate) fn hears_the_mesh(&self) -> Result<String> {
        let me = self.mesh.identity();
        let caller = hawser_harness::ca::spiffe_id("demo", "caller");
        let called = wait_for("a request to the machine", PATIENCE, || {
            let ca = self.mesh.istiod.ca();
            let call = call_as(ca, &caller, (VM, INBOUND).into(), "/in");
            let called = self.runtime.block_on(call)?;
            ensure!(called.reply.starts_with("HTTP/1.1 200"), "{called:?}");
            Ok(Some(called))
        });
        let called = called.with_context(|| self.told())?;
        ensure!(called.machine == me, "the machine has shown {called:?}");
        let seen = format!("{CALLER_HEADER}: {caller}");
        ensure!(called.reply.contains(&seen), "the program saw {}", called.reply);
        Ok(called.reply)
    }

    /// Whether a name outside is found, by whoever answers.
    pub(crate) fn resolves_outside(&self) -> Result<()> {
        let found = self.succeed(&["getent", "ahostsv4", OUTSIDE])?;
        ensure!(found.starts_with(&Ipv4Addr::from(OUTSIDE_IP).to_string()), "{found}");
        Ok(())
    }

    /// What `hawser status --json` says.
    pub(crate) fn status(&self) -> Result<Value> {
        let output = self.machine()?.run(&["hawser", "status", "--json"])?;
        serde_json::from_slice(&output.stdout).context("read status")
    }

    pub(crate) fn property(&self, unit: &str, property: &str) -> Result<String> {
        let said = self.succeed(&["systemctl", "show", unit, "-P", property])?;
        Ok(said.trim().to_owned())
    }

    /// The host's rules, routes, addresses, users and files.
    pub(crate) fn look(&self) -> Result<String> {
        self.shell(LOOK)
    }

    /// What there is to read when something has failed.
    pub(crate) fn told(&self) -> String {
        let told = self.shell(TELL).unwrap_or_else(|error| format!("{error:#}"));
        format!("what the machine says:\n{told}")
    }
}

/// One for a machine, on a cable to the mesh.
fn network(cloud: &Net) -> Result<Net> {
    let vm = Net::new("vm")?;
    cloud.join(&vm, CLOUD, VM)?;
    vm.gateway(CLOUD)?;
    Ok(vm)
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const CLOUD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const VM: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The port of a program on the machine.
const INBOUND: u16 = 8080;
const LOOK: &str = "echo '# rules'; nft -s list ruleset; \
    for family in -4 -6; do ip $family rule; ip $family route show table all | sort; done; \
    echo '# addresses'; ip -o address show | sed 's/ *valid_lft.*//'; \
    echo '# users'; getent passwd; getent group; \
    echo '# units'; systemctl list-unit-files --no-legend --no-pager | sort; \
    echo '# files'; find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \
    -o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/systemd -o -path /var/cache \
    -o -path /var/tmp -o -name __pycache__ \\) -prune -o -print | sort";
const TELL: &str = "systemctl list-units 'hawser*' --all --no-legend --no-pager; hawser status; \
    nft list ruleset; ss -ltnp; cat /run/hawser-intercept/state; ls -la /run/hawser; \
    journalctl -n 120 -o short --no-pager -u 'hawser*'; \
    journalctl -n 20 -o short --no-pager _PID=1";
