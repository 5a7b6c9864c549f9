//! What the system has to have: a kernel, systemd, units, a user, a name.

use std::{io::ErrorKind, path::PathBuf};

use hawser_intercept::plan::{Scope, Taken};
use nix::unistd::User;

use crate::{
    doctor::{Finding, Patient},
    install::service::{AGENT, UNITS},
};

/// The kernel has what the rules are made of.
pub(super) fn kernel(patient: &Patient) -> Finding {
    let release = match patient.text(RELEASE) {
        Ok(release) => release.trim().to_owned(),
        Err(error) => return Finding::unknown(patient.unseen(RELEASE, &error)),
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse::<u32>().ok();
    let (Some(major), Some(minor)) = (next(), next()) else {
        return Finding::unknown(format!("{release:?} is no version that is known"));
    };
    let evidence = format!("Linux {release}");
    if (major, minor) >= OLDEST_KERNEL {
        return Finding::ok(evidence);
    }
    let (major, minor) = OLDEST_KERNEL;
    Finding::failed(
        format!("{evidence}, older than {major}.{minor}"),
        "boot a newer kernel, or go without redirection: `intercept.enabled = false` in \
         /etc/hawser/hawser.toml",
    )
    .because("its nf_tables lacks what the traffic rules need")
}

/// Programs are told apart by unit only with cgroup v2.
pub(super) fn cgroup(patient: &Patient) -> Finding {
    if patient.file(CGROUP2).exists() {
        return Finding::ok("cgroup v2");
    }
    if !patient.file(CGROUP).exists() {
        return Finding::unknown(format!("there is no {CGROUP}"));
    }
    let scope = patient.config.as_ref().ok().map(|config| &config.intercept.scope);
    if !scope.is_some_and(by_unit) {
        return Finding::ok("cgroup v1: nothing here is told apart by unit");
    }
    Finding::failed(
        "cgroup v1, and intercept.units or intercept.exclude_units is set",
        "boot with `systemd.unified_cgroup_hierarchy=1`, or use intercept.users in their place",
    )
    .because("the kernel matches connections by unit with cgroup v2 alone")
}

fn by_unit(scope: &Scope) -> bool {
    let named = matches!(&scope.units, Taken::Only(units) if !units.is_empty());
    named || !scope.exclude_units.is_empty()
}

/// systemd runs, and knows what the units ask for.
pub(super) async fn systemd(patient: &Patient) -> Finding {
    let said = match patient.run("systemctl", &["--version"]).await {
        Ok(said) => said,
        Err(why) => {
            return Finding::unknown(format!("{why}; `hawser run --envoy` works without systemd"));
        }
    };
    let version = said.split_whitespace().nth(1).unwrap_or_default();
    let number: Option<u32> =
        version.split(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse().ok());
    match number {
        None => Finding::unknown("systemctl does not say which version it is"),
        Some(number) if number < OLDEST_SYSTEMD => Finding::failed(
            format!("systemd {version}, older than {OLDEST_SYSTEMD}"),
            "update the system: the units ask for what this version does not know",
        ),
        Some(_) if !patient.file(BOOTED).is_dir() => {
            let evidence = format!("systemd {version} is installed, and is not what runs here");
            match unit(patient) {
                Some(_) => Finding::warning(
                    evidence,
                    "in a container start `hawser run --envoy PATH` instead of the units",
                ),
                None => Finding::ok(evidence),
            }
        }
        Some(_) => Finding::ok(format!("systemd {version}")),
    }
}

/// The unit of the agent, where it is installed.
fn unit(patient: &Patient) -> Option<PathBuf> {
    UNITS.iter().map(|place| patient.file(place).join(AGENT)).find(|unit| unit.exists())
}

/// The unit is there, and starts at boot once the machine has joined.
pub(super) fn units(patient: &Patient) -> Finding {
    let Some(unit) = unit(patient) else {
        if !patient.file(BOOTED).is_dir() {
            return Finding::ok("systemd is not what runs here: `hawser run` needs no unit");
        }
        return Finding::failed(
            format!("there is no {AGENT}"),
            "install the package: `apt install hawser` or `dnf install hawser`",
        );
    };
    let enabled = patient.file(WANTS).join(AGENT);
    let enabled = enabled.symlink_metadata().is_ok();
    match (enabled, patient.is_of_a_mesh() && !patient.preflight) {
        (true, _) => Finding::ok(format!("{} is enabled", unit.display())),
        (false, false) => Finding::ok(format!("{} is there; joining enables it", unit.display())),
        (false, true) => Finding::warning(
            format!(
                "{} is not enabled: after a boot this machine is not in the mesh",
                unit.display()
            ),
            format!("`systemctl enable --now {AGENT}`"),
        ),
    }
}

/// The user of the units exists.
pub(super) fn account(patient: &Patient) -> Finding {
    match (owner_id(patient), unit(patient).is_some()) {
        (Some(id), _) => Finding::ok(format!("{ACCOUNT} is user {id}")),
        (None, false) => Finding::ok(format!("no unit is installed that needs {ACCOUNT}")),
        (None, true) => Finding::failed(
            format!("there is no user {ACCOUNT}, and the units run as it"),
            "`systemd-sysusers hawser.conf`, or install the package again",
        ),
    }
}

/// The number of the user that the agent runs as, where the units are what runs it.
pub(in crate::doctor) fn owner_id(patient: &Patient) -> Option<u32> {
    if patient.paths.is_system() {
        return User::from_name(ACCOUNT).ok().flatten().map(|user| user.uid.as_raw());
    }
    let text = patient.text("/etc/passwd").ok()?;
    let mut users = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|fields| fields.first() == Some(&ACCOUNT))?;
    user.get(2)?.parse().ok()
}

/// The name of the machine leads somewhere: it is what istiod is told, and what sudo looks up.
pub(super) async fn hostname(patient: &Patient) -> Finding {
    let name = match patient.text(HOSTNAME) {
        Ok(name) => name.trim().to_owned(),
        Err(error) => return Finding::unknown(patient.unseen(HOSTNAME, &error)),
    };
    if ["", "localhost", "(none)"].contains(&name.as_str()) {
        return Finding::warning(
            format!("the machine is called {name:?}"),
            "`hostnamectl set-hostname NAME`, or `node.name` in /etc/hawser/hawser.toml",
        )
        .because("machines of the mesh are told apart by their names in logs and metrics");
    }
    let listed = match patient.text("/etc/hosts") {
        Ok(hosts) => hosts.lines().any(|line| lists(line, &name)),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Finding::unknown(patient.unseen("/etc/hosts", &error)),
    };
    if listed {
        return Finding::ok(format!("{name} is in /etc/hosts"));
    }
    match patient.run("getent", &["hosts", &name]).await {
        Ok(said) => Finding::ok(format!("{name}: {}", said.trim())),
        Err(_) if !has_program(patient) => Finding::unknown("there is no getent to ask"),
        Err(_) => Finding::warning(
            format!("{name}, this machine, cannot be resolved"),
            format!("`echo 127.0.1.1 {name} >> /etc/hosts`"),
        )
        .because("sudo and many programs wait for it"),
    }
}

fn has_program(patient: &Patient) -> bool {
    ["/usr/bin/getent", "/bin/getent"].iter().any(|path| patient.file(path).exists())
}

/// Whether a line of a hosts file gives this name an address.
fn lists(line: &str, name: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    words.next().is_some() && words.any(|word| word.eq_ignore_ascii_case(name))
}

const RELEASE: &str = "/proc/sys/kernel/osrelease";
const OLDEST_KERNEL: (u32, u32) = (4, 18);
const CGROUP: &str = "/sys/fs/cgroup";
const CGROUP2: &str = "/sys/fs/cgroup/cgroup.controllers";
const OLDEST_SYSTEMD: u32 = 239;
const BOOTED: &str = "/run/systemd/system";
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
const ACCOUNT: &str = "istio-proxy";
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
