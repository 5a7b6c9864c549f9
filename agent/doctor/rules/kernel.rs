//! What the kernel of this machine is set to, where rules depend on it; and the way in by ssh.

use hawser_envoy::unit::Unit;
use hawser_intercept::plan::{Mode, Ports, Spared, Taken};

use super::{
    super::{Finding, Patient},
    settings,
};
use crate::options;

/// The way back to the machine.
pub(super) fn ssh(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let set = &config.intercept;
    let mut ports = vec![SSH];
    let named = options::intercept::machine(config, &[]).ssh;
    ports.extend(named.into_iter().filter(|port| *port != SSH));
    let taken = |port: &&u16| match &set.inbound.ports {
        Taken::All => {
            let excluded = set.inbound.exclude.iter().any(|one| one.hold(**port));
            !set.spared.contains(&Spared::Ssh) && !excluded
        }
        Taken::Only(named) => named.iter().any(|one: &Ports| one.hold(**port)),
    };
    let told: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let Some(port) = ports.iter().find(taken) else {
        return Finding::ok(format!("port {} is not redirected", told.join(", ")));
    };
    Finding::warning(
        format!("port {port}, where sshd listens, is redirected to Envoy"),
        format!(
            "intercept.exclude_inbound_ports = \"{port}\", or `ssh` in intercept.exclude_defaults"
        ),
    )
    .because("an Envoy that is wrong locks administrators out")
}

/// Whether IPv6 is there where it is to be redirected.
pub(super) fn ipv6(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let wanted = config.intercept.ipv6;
    let off = match patient.text("/proc/sys/net/ipv6/conf/all/disable_ipv6") {
        Ok(text) => text.trim() == "1",
        Err(_) if patient.file("/proc/sys/net").is_dir() => true,
        Err(error) => return Finding::unknown(patient.unseen("whether IPv6 is on", &error)),
    };
    let dual = config.envoy.dual_stack;
    match (wanted, off) {
        (Some(true), true) => Finding::warning(
            "intercept.ipv6 is true, and this machine has no IPv6",
            "`sysctl -w net.ipv6.conf.all.disable_ipv6=0`, or take intercept.ipv6 out of the settings",
        )
        .because("the kernel was told to do without (net.ipv6.conf.all.disable_ipv6, ipv6.disable)"),
        (_, true) if dual => Finding::warning(
            "envoy.dual_stack is true, and this machine has no IPv6",
            "`sysctl -w net.ipv6.conf.all.disable_ipv6=0`, or take envoy.dual_stack (ISTIO_DUAL_STACK) back",
        ),
        (_, true) => Finding::ok("this machine has no IPv6"),
        (Some(false), false) => Finding::ok("intercept.ipv6 is false: what is IPv6 goes past Envoy"),
        (_, false) => Finding::ok("IPv6 is redirected where Envoy listens on it"),
    }
}

/// What handing over connections as they are takes.
pub(super) fn tproxy(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    if config.intercept.mode != Mode::Tproxy {
        return Finding::ok("intercept.mode is not tproxy");
    }
    if let Some(place) = by_mark(patient) {
        return Finding::failed(
            format!("net.ipv4.conf.{place}.src_valid_mark is 1"),
            format!(
                "`sysctl -w net.ipv4.conf.{place}.src_valid_mark=0`, or intercept.mode = \"redirect\""
            ),
        )
        .because(
            "what is marked for Envoy is taken for forged then, and dropped; WireGuard's wg-quick sets it",
        );
    }
    let started = Unit::under(patient.paths.root()).started();
    let status =
        started.and_then(|started| patient.text(&format!("/proc/{}/status", started.pid)).ok());
    let Some(status) = status else { return Finding::ok("the kernel is set as it has to be") };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    if effective.is_some_and(|set| set & NET_ADMIN == 0) {
        return Finding::failed(
            "Envoy runs without CAP_NET_ADMIN",
            "`systemctl edit hawser-envoy`: [Service] AmbientCapabilities=CAP_NET_ADMIN \
             CapabilityBoundingSet=CAP_NET_ADMIN; then `systemctl restart hawser-envoy`",
        )
        .because("it may not answer with addresses that are not this machine's");
    }
    Finding::ok("Envoy may answer with addresses of others")
}

/// Where the kernel looks for the way back of a packet by its mark: everywhere, or at one interface.
fn by_mark(patient: &Patient) -> Option<String> {
    let places = std::fs::read_dir(patient.file("/proc/sys/net/ipv4/conf")).ok()?.flatten();
    let mut names = places.map(|place| place.file_name().to_string_lossy().into_owned());
    names.find(|name| {
        let text = patient.text(&format!("/proc/sys/net/ipv4/conf/{name}/src_valid_mark"));
        name != "default" && text.is_ok_and(|text| text.trim() == "1")
    })
}

/// Connections that the kernel remembers, and how many it can.
pub(super) fn conntrack(patient: &Patient) -> Finding {
    let number = |name: &str| -> Option<u64> {
        let text = patient.text(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok()?;
        text.trim().parse().ok()
    };
    let (Some(count), Some(max)) = (number("count"), number("max").filter(|max| *max > 0)) else {
        return Finding::ok("the kernel remembers no connections yet");
    };
    let said = format!("{count} of {max} connections");
    let remedy = format!(
        "`sysctl -w net.netfilter.nf_conntrack_max={}`, and the same in /etc/sysctl.d",
        max.saturating_mul(4)
    );
    let why = "each connection through Envoy is remembered twice; when the table is full, new ones are dropped";
    match count.saturating_mul(100) / max {
        FULL.. => Finding::failed(said, remedy).because(why),
        NEARLY.. => Finding::warning(said, remedy).because(why),
        _ => Finding::ok(said),
    }
}

const SSH: u16 = 22;
/// CAP_NET_ADMIN is number 12.
const NET_ADMIN: u64 = 1 << 12;
/// In percent.
const NEARLY: u64 = 80;
const FULL: u64 = 97;
