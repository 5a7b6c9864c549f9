//! A machine that runs Istio's own agent moves over by installing the package, or stays as it was.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::envoy::envoy_binary;

use super::{Joined, package};
use crate::machine::{Machine, SERVES, wait_for};

#[test]
fn a_machine_moves_over_from_istio_sidecar_or_stays_as_it_was() -> Result<()> {
    let deb = package("sidecar")?;
    let theirs = istio_sidecar("istio-sidecar")?;
    let vm = Joined::boot("sidecar", &[&deb, &theirs])?;
    let machine = &vm.machine;
    let deb = deb.to_str().context("UTF-8")?;
    runs_istio(machine, &theirs)?;

    // Something is in the way of the new agent: the old one runs again, with its rules.
    let in_the_way = machine.start(&["python3", "-c", HOLDS_THE_PORT])?;
    wait_for("the port to be taken", Duration::from_secs(20), || {
        Ok(machine.run(&["test", "-e", "/run/held"])?.status.success().then_some(()))
    })?;
    let said = install(machine, deb)?;
    ensure!(said.contains("did not become ready, and istio.service runs again"), "{said}");
    is_istios(machine).context("after a failed installation")?;
    drop(in_the_way);
    machine.succeed(&["pkill", "-f", "run/held"])?;

    // A configuration that would not do is told before anything stops.
    let pid = machine.succeed(&["systemctl", "show", "istio", "-P", "MainPID"])?;
    machine.succeed(&["mv", "/var/lib/istio/envoy/cluster.env", "/srv/cluster.env"])?;
    machine.succeed(&["sh", "-c", "echo 'ISTIO_META_X=\"' >/var/lib/istio/envoy/cluster.env"])?;
    let tried = machine.run(&["/usr/libexec/hawser/take-over"])?;
    ensure!(tried.status.code() == Some(1), "{tried:?}");
    let told = String::from_utf8_lossy(&tried.stdout).into_owned();
    ensure!(told.contains("istio.service runs on") && told.contains("cluster.env"), "{told}");
    ensure!(
        machine.succeed(&["systemctl", "show", "istio", "-P", "MainPID"])? == pid,
        "it stopped"
    );
    machine.succeed(&["mv", "/srv/cluster.env", "/var/lib/istio/envoy/cluster.env"])?;

    // As a package that is installed for the first time does it.
    machine.succeed(&["dpkg", "-P", "hawser"])?;
    let said = install(machine, deb)?;
    ensure!(said.contains("`systemctl start istio` means hawser from now on"), "{said}");
    is_ours(machine).context("after the installation")?;
    uses_what_is_there(machine)?;
    machine.succeed(&["systemctl", "restart", "istio"])?;
    is_ours(machine).context("after a restart by the old name")?;

    // Its package can go, and what is used stays: Envoy, and what an operator has changed.
    machine.succeed(&["dpkg", "-r", "istio-sidecar"])?;
    ensure!(!machine.run(&["test", "-e", "/usr/local/bin/envoy"])?.status.success(), "not gone");
    machine.succeed(&["/usr/libexec/hawser/envoy", "--version"])?;
    machine.succeed(&["systemctl", "restart", "hawser"])?;
    is_ours(machine).context("without istio-sidecar")?;
    uses_what_is_there(machine)?;

    machine.succeed(&["dpkg", "-P", "hawser"])?;
    for gone in ["/etc/systemd/system/istio.service", "/usr/libexec/hawser", "/var/lib/hawser"] {
        ensure!(!machine.run(&["test", "-e", gone])?.status.success(), "{gone} is left");
    }
    for kept in ["/var/lib/istio/envoy/cluster.env", "/etc/certs/root-cert.pem", TOKEN] {
        machine.succeed(&["test", "-s", kept])?;
    }
    Ok(())
}

/// By apt, which decides what else goes.
fn install(machine: &Machine, deb: &str) -> Result<String> {
    let apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "install", deb];
    let said = machine.succeed(&apt)?;
    let kept = machine.succeed(&["dpkg-query", "-W", "-f", "${Status}", "istio-sidecar"])?;
    ensure!(kept == "install ok installed", "{kept}");
    Ok(said)
}

/// As its documentation has it set up, with something that an operator has changed, and rules.
pub(crate) fn runs_istio(machine: &Machine, package: &Path) -> Result<()> {
    machine.succeed(&["dpkg", "-i", package.to_str().context("UTF-8")?])?;
    machine.succeed(&["sh", "-ec", SETS_UP])?;
    machine.succeed(&["systemctl", "enable", "--now", "istio"])?;
    is_istios(machine)
}

fn is_istios(machine: &Machine) -> Result<()> {
    let shown =
        machine.succeed(&["systemctl", "show", "istio", "-P", "Id", "-P", "ActiveState"])?;
    ensure!(shown == "istio.service\nactive\n", "{shown}");
    machine.succeed(&["systemctl", "is-enabled", "istio"])?;
    machine.succeed(&["pgrep", "-f", "pilot-agent proxy"])?;
    wait_for("its rules", Duration::from_secs(20), || {
        let rules = machine.succeed(&["nft", "list", "ruleset"])?;
        Ok((rules.contains("ISTIO_OUTPUT") && !rules.contains("inet hawser")).then_some(()))
    })?;
    let ours = machine.run(&["systemctl", "is-active", "hawser"])?;
    ensure!(!ours.status.success(), "both run");
    ensure!(!machine.run(&["systemctl", "is-enabled", "hawser"])?.status.success(), "both start");
    Ok(())
}

fn is_ours(machine: &Machine) -> Result<()> {
    wait_for("the agent", Duration::from_secs(60), || {
        Ok(machine.run(&SERVES)?.status.success().then_some(()))
    })?;
    let shown =
        machine.succeed(&["systemctl", "show", "istio", "-P", "Id", "-P", "ActiveState"])?;
    ensure!(shown == "hawser.service\nactive\n", "{shown}");
    machine.succeed(&["systemctl", "is-enabled", "hawser"])?;
    ensure!(!machine.run(&["pgrep", "-f", "pilot-agent proxy"])?.status.success(), "both run");
    let rules = machine.succeed(&["nft", "list", "ruleset"])?;
    ensure!(!rules.contains("ISTIO_") && !rules.contains("istio-proxy-"), "{rules}");
    Ok(())
}

/// Its places and its environment, by their old names.
fn uses_what_is_there(machine: &Machine) -> Result<()> {
    let config = machine.succeed(&["hawser", "config"])?;
    for place in ["/var/lib/istio/envoy/sidecar.env", "/var/lib/istio/envoy/cluster.env"] {
        ensure!(config.contains(place), "{place} is not heeded:\n{config}");
    }
    machine.succeed(&["hawser", "identity", "show"]).map(drop)
}

/// The package as it is made for Istio's own agent: what it installs where, what it does and what
/// it does not. Its programs do nothing but be there; its Envoy is one.
pub(crate) fn istio_sidecar(directory: &str) -> Result<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages").join(directory);
    drop(fs::remove_dir_all(&place));
    let tree = place.join("tree");
    let envoy = format!("#!/bin/sh\nexec {} \"$@\"\n", envoy_binary()?.display());
    let files: [(&str, u32, &str); 9] = [
        ("usr/local/bin/envoy", 0o755, &envoy),
        ("usr/local/bin/pilot-agent", 0o755, "#!/bin/sh\nwhile :; do sleep 60; done\n"),
        ("usr/local/bin/istio-start.sh", 0o755, LAUNCHER),
        ("lib/systemd/system/istio.service", 0o644, UNIT),
        ("var/lib/istio/envoy/sidecar.env", 0o644, "# what an operator adds\n"),
        ("var/lib/istio/envoy/envoy_bootstrap_tmpl.json", 0o644, "{}\n"),
        ("DEBIAN/control", 0o644, CONTROL),
        ("DEBIAN/conffiles", 0o644, CONFFILES),
        ("DEBIAN/postinst", 0o755, POSTINST),
    ];
    for (path, mode, text) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().context("a parent")?)?;
        hawser_state::write_file(&path, mode, text.as_bytes())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let deb = place.join("istio-sidecar.deb");
    let build = ["--root-owner-group", "--build"];
    let build = Command::new("dpkg-deb").args(build).arg(&tree).arg(&deb).output()?;
    ensure!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    Ok(deb)
}

const CONTROL: &str = "Package: istio-sidecar
Version: 1.24.0
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: a stand-in for Istio's package
";
const CONFFILES: &str =
    "/var/lib/istio/envoy/sidecar.env\n/var/lib/istio/envoy/envoy_bootstrap_tmpl.json\n";
const POSTINST: &str = "#!/bin/sh
set -e
umask 022
getent passwd istio-proxy >/dev/null ||
    useradd --system --user-group --home-dir /var/lib/istio --no-create-home istio-proxy
[ -e /etc/istio ] || ln -s /var/lib/istio /etc/istio
mkdir -p /var/lib/istio/envoy /var/lib/istio/proxy /var/lib/istio/config /var/log/istio /etc/certs
touch /var/lib/istio/config/mesh
cd /var/lib/istio
chown istio-proxy:istio-proxy /etc/certs envoy config config/mesh proxy /var/log/istio
chmod 2755 /usr/local/bin/envoy /usr/local/bin/pilot-agent
";
const UNIT: &str = "[Unit]
Description=istio-sidecar
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/local/bin/istio-start.sh
ExecStopPost=/usr/local/bin/istio-start.sh clean
Restart=always
RestartSec=10
KillMode=mixed
[Install]
WantedBy=multi-user.target
";
/// It leaves a chain behind when it cleans up, as older ones did.
const LAUNCHER: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
case \"$1\" in
clean)
    iptables -t nat -D OUTPUT -p tcp -j ISTIO_OUTPUT
    exit 0
    ;;
esac
iptables -t nat -N ISTIO_REDIRECT
iptables -t nat -N ISTIO_OUTPUT
iptables -t nat -F ISTIO_OUTPUT
iptables -t nat -A ISTIO_OUTPUT -d 192.0.2.1/32 -j RETURN
iptables -t nat -C OUTPUT -p tcp -j ISTIO_OUTPUT || iptables -t nat -A OUTPUT -p tcp -j ISTIO_OUTPUT
exec /usr/local/bin/pilot-agent proxy
";
const SETS_UP: &str = "
cp /srv/mesh/bundle/root-cert.pem /etc/certs/
mkdir -p /var/run/secrets/tokens /etc/istio/proxy
cp /srv/mesh/bundle/istio-token /var/run/secrets/tokens/
cp /srv/mesh/bundle/cluster.env /var/lib/istio/envoy/
cp /srv/mesh/bundle/mesh.yaml /etc/istio/config/mesh
cat /srv/mesh/bundle/hosts >>/etc/hosts
echo 'SECRET_TTL=12h' >>/var/lib/istio/envoy/sidecar.env
# This mesh gives Envoy no listeners that traffic could be sent to.
echo 'ISTIO_CUSTOM_IP_TABLES=true' >>/var/lib/istio/envoy/sidecar.env
chown -R istio-proxy /var/lib/istio /etc/certs /var/run/secrets
";
const TOKEN: &str = "/var/run/secrets/tokens/istio-token";
const HOLDS_THE_PORT: &str = "import signal, socket
held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
held.bind(('127.0.0.1', 15053))
open('/run/held', 'w').close()
signal.pause()";
