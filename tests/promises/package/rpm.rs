//! The rpm, where there is a machine with systemd for it: it installs, upgrades and goes as the .deb
//! does.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{Joined, pack, packed};

#[test]
fn an_rpm_installs_upgrades_and_goes_as_the_deb_does() -> Result<()> {
    let (first, next) = (pack("rpm", None, &["rpm"])?, pack("rpm-next", Some("9.9.9"), &["rpm"])?);
    let (first, next) = (packed(&first, "rpm")?, packed(&next, "rpm")?);
    let sidecar = istio_sidecar()?;
    let shared = [first.as_str(), next.as_str(), sidecar.as_str()].map(Path::new);
    let vm = Joined::boot("rpm", &shared)?;
    let machine = &vm.machine;
    machine.succeed(&["mkdir", "-p", "/usr/share/licenses"])?;
    let before = super::host(machine)?;

    // Debian's own packages are not in rpm's database.
    let said = machine.succeed(&["rpm", "-i", "--nodeps", &first])?;
    ensure!(said.contains("next, `hawser join BUNDLE`"), "{said}");
    machine.succeed(&["rpm", "-V", "--nodeps", "hawser"])?;
    ensure!(
        !machine.run(&["systemctl", "is-active", "hawser"])?.status.success(),
        "it has started"
    );
    vm.join()?;
    vm.serves("at first")?;

    // An upgrade keeps what was changed, and the new program runs.
    machine.succeed(&["sh", "-c", "echo '# ours' >>/etc/hawser/hawser.toml"])?;
    let pid = vm.pid("hawser")?;
    machine.succeed(&["rpm", "-U", "--nodeps", &next])?;
    vm.replaced("hawser", &pid)?;
    vm.serves("after an upgrade")?;
    machine.succeed(&["grep", "-q", "^# ours", "/etc/hawser/hawser.toml"])?;
    let newer = machine.run(&["rpm", "-U", "--nodeps", &first])?;
    let newer = String::from_utf8_lossy(&newer.stderr).into_owned();
    ensure!(newer.contains("is already installed"), "a downgrade has to be asked for: {newer}");
    machine.succeed(&["rpm", "-U", "--nodeps", "--oldpackage", &first])?;
    vm.serves("after a downgrade")?;

    // What rpm renames when istio-sidecar goes is heeded on.
    machine.succeed(&["rpm", "-i", "--nodeps", &sidecar])?;
    let changed = "/var/lib/istio/envoy/sidecar.env";
    machine.succeed(&["sh", "-c", &format!("echo SECRET_TTL=12h >>{changed}")])?;
    machine.succeed(&["rpm", "-e", "istio-sidecar"])?;
    machine.succeed(&["grep", "-q", "^SECRET_TTL=12h", changed])?;
    machine.succeed(&["rm", "-r", "/var/lib/istio"])?;

    // Removed, everything has stopped, and the state is there.
    machine.succeed(&["rpm", "-e", "hawser"])?;
    let state = machine.run(&["systemctl", "is-active", "hawser", "hawser-resolved"])?;
    ensure!(!String::from_utf8_lossy(&state.stdout).contains("\nactive"), "{state:?}");
    machine.succeed(&["test", "-s", "/var/lib/hawser/identity"])?;
    let state = ["/etc/hawser", "/var/lib/hawser", "/var/cache/hawser", "/var/log/istio"];
    let database = ["/root/.rpmdb", "/var/lib/rpm"];
    let left = [&state[..], &database].concat();
    super::nothing_else_differs(&before, &super::host(machine)?, &left)
}

/// Nothing but the file of istio-sidecar that an operator changes.
fn istio_sidecar() -> Result<String> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages/istio-sidecar-rpm");
    drop(std::fs::remove_dir_all(&place));
    std::fs::create_dir_all(&place)?;
    let spec = place.join("istio-sidecar.spec");
    hawser_state::write_file(&spec, 0o644, SPEC.as_bytes())?;
    let said = Command::new("rpmbuild")
        .args(["-bb", "--quiet", "--define", &format!("_topdir {}", place.join("build").display())])
        .args(["--define", &format!("_rpmdir {}", place.display())])
        .arg(&spec)
        .output()
        .context("run rpmbuild; tests/tools.sh installs it")?;
    ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    packed(&place.join("noarch"), "rpm")
}

const SPEC: &str = "Name: istio-sidecar
Version: 1.24.0
Release: 1
Summary: A stand-in
License: Apache-2.0
BuildArch: noarch
%description
A stand-in.
%install
mkdir -p %{buildroot}/var/lib/istio/envoy
echo '# what an operator adds' >%{buildroot}/var/lib/istio/envoy/sidecar.env
%files
%config(noreplace) /var/lib/istio/envoy/sidecar.env
";
