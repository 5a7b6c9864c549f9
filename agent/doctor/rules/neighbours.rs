//! Who else has rules, or interfaces, on this machine: Istio's scripts, firewalls, iptables,
//! containers.

use std::fs;

use hawser_intercept::{
    adopt::Leftovers,
    apply::Places,
    plan::{Mode, TABLE},
};
use hawser_rt::Chain;

use super::{
    super::{Finding, Patient, agent::some},
    settings,
};

/// What istio-iptables has left.
pub(super) async fn leftovers(patient: &Patient) -> Finding {
    if !patient.is_root {
        return Finding::unknown("run as root to see the rules in the kernel");
    }
    let places = Places::new(patient.paths.intercept_run());
    let left = match Leftovers::look(&patient.root, &places).await {
        Ok(left) => left,
        Err(error) => return Finding::unknown(Chain(&error).to_string()),
    };
    if left.is_empty() {
        return Finding::ok("nothing of istio-iptables is here");
    }
    Finding::failed(
        format!("rules of istio-iptables: {}", some(&left.lines())),
        "`systemctl disable --now istio`, then `hawser intercept adopt` removes them",
    )
    .because("they send to ports where nobody listens, or past hawser's own rules")
}

/// A firewall sees what was redirected at the port that it was redirected to.
pub(super) async fn firewall(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let set = &config.intercept;
    if set.inbound.ports.is_nothing() || set.mode != Mode::Redirect {
        return Finding::ok("what comes in is not redirected to another port");
    }
    if !patient.is_root {
        return Finding::unknown("run as root to see the rules of firewalls");
    }
    let ruleset = match patient.run("nft", &["-s", "list", "ruleset"]).await {
        Ok(ruleset) => ruleset,
        Err(error) => return Finding::unknown(error),
    };
    let port = set.envoy.inbound;
    let mut droppers = droppers(&ruleset, port);
    let legacy = patient.run("iptables-legacy-save", &["-t", "filter"]).await.unwrap_or_default();
    if legacy_drops(&legacy, port) {
        droppers.push("iptables-legacy, chain INPUT".to_owned());
    }
    if droppers.is_empty() {
        return Finding::ok(format!("nobody drops what comes in at port {port}"));
    }
    let remedy = if patient.file("/etc/ufw/ufw.conf").exists() && enabled(patient) {
        format!("`ufw allow {port}/tcp`")
    } else {
        format!(
            "accept `ct status dnat`, or TCP port {port}, in that chain: what arrives there was let through before by its own port"
        )
    };
    Finding::warning(
        format!("{} drops what is not let in, and does not let in port {port}", some(&droppers)),
        remedy,
    )
    .because("what comes in was redirected to Envoy's port before the firewall sees it")
}

fn enabled(patient: &Patient) -> bool {
    let text = patient.text("/etc/ufw/ufw.conf").unwrap_or_default();
    text.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes"))
}

/// Tables in which a chain for what comes in ends with a drop, and no rule lets the port through.
fn droppers(ruleset: &str, port: u16) -> Vec<String> {
    let mut found = Vec::new();
    let mut table: Option<(&str, Vec<&str>)> = None;
    for line in ruleset.lines() {
        if let Some(name) = line.strip_prefix("table ") {
            let name = name.trim_end_matches([' ', '{']);
            table = Some((name, Vec::new()));
        } else if line == "}" {
            if let Some((name, lines)) = table.take()
                && name != format!("inet {TABLE}")
                && drops(&lines)
                && !lets_in(&lines, port)
            {
                found.push(format!("table {name}"));
            }
        } else if let Some((_, lines)) = &mut table {
            lines.push(line.trim());
        }
    }
    found
}

/// Whether what comes in is dropped unless a rule says otherwise.
fn drops(lines: &[&str]) -> bool {
    let mut inside = false;
    for line in lines {
        if line.starts_with("chain ") {
            inside = false;
        }
        if line.contains("hook input ") {
            inside = true;
            if line.contains("policy drop") {
                return true;
            }
        }
        let plain = line.strip_prefix("counter ").unwrap_or(line);
        if inside && (plain == "drop" || plain.starts_with("reject")) {
            return true;
        }
    }
    false
}

/// Whether a rule may let through what was redirected: by the port, because it was redirected, or
/// whatever it is.
fn lets_in(lines: &[&str], port: u16) -> bool {
    let number = port.to_string();
    let named = |line: &str| {
        line.split(|c: char| !c.is_ascii_digit()).any(|word| word == number)
            && line.contains("accept")
    };
    lines.iter().any(|line| {
        let narrow = NARROW.iter().any(|word| line.contains(word));
        let wide = line.ends_with("accept") && !line.starts_with("type ") && !narrow;
        named(line) || line.contains("status dnat") || line.contains("ctstate DNAT") || wide
    })
}

fn legacy_drops(saved: &str, port: u16) -> bool {
    let drops = saved.lines().any(|line| line.starts_with(":INPUT DROP"));
    let port = format!("--dport {port} ");
    let lets_in = saved.lines().any(|line| {
        let all = line.starts_with("-A INPUT -j ACCEPT");
        all || line.contains(&port) && line.contains("-j ACCEPT") || line.contains("--ctstate DNAT")
    });
    drops && !lets_in
}

/// Rules of iptables' old kind beside those of nftables.
pub(super) async fn legacy(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    let tables = match patient.text("/proc/net/ip_tables_names") {
        Ok(tables) => tables,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::ok("the kernel has no rules of iptables' old kind");
        }
        Err(error) => return Finding::unknown(patient.unseen("rules of iptables", &error)),
    };
    if tables.trim().is_empty() {
        return Finding::ok("the kernel has no rules of iptables' old kind");
    }
    let old = match patient.run("iptables-legacy-save", &[]).await {
        Ok(saved) => saved.lines().filter(|line| line.starts_with("-A ")).count(),
        Err(error) => return Finding::unknown(error),
    };
    let new = patient.run("iptables-nft-save", &[]).await.unwrap_or_default();
    let new = new.lines().filter(|line| line.starts_with("-A ")).count();
    let said = format!("{old} rules of iptables-legacy, {new} of iptables-nft");
    if old > 0 && new > 0 {
        return Finding::warning(
            said,
            "see which program still uses iptables-legacy (`iptables-legacy-save`), and have it use \
             iptables-nft: `update-alternatives --config iptables`",
        )
        .because("both kinds see each connection, and neither shows the rules of the other");
    }
    Finding::ok(said)
}

/// Bridges of containers, and what the settings say of interfaces.
pub(super) fn containers(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let here: Vec<String> = match fs::read_dir(patient.file("/sys/class/net")) {
        Ok(all) => {
            all.flatten().map(|one| one.file_name().to_string_lossy().into_owned()).collect()
        }
        Err(error) => return Finding::unknown(patient.unseen("network interfaces", &error)),
    };
    let set = &config.intercept.interfaces;
    let named = set.exclude.iter().chain(&set.virtuals);
    let missing: Vec<String> =
        named.filter(|name| !name.ends_with('*') && !here.contains(name)).cloned().collect();
    if !missing.is_empty() {
        return Finding::warning(
            format!("the settings name interfaces that are not here: {}", some(&missing)),
            "`ip link` shows those that are; mend intercept.exclude_interfaces or intercept.virtual_interfaces",
        )
        .because("a name is misspelt, or that network is not up yet");
    }
    let fits = |name: &str, pattern: &String| match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == pattern,
    };
    let mut bridges: Vec<String> = here
        .iter()
        .filter(|name| BRIDGES.iter().any(|begin| name.starts_with(begin)))
        .map(|name| match set.virtuals.iter().any(|pattern| fits(name, pattern)) {
            true => format!("{name} (its containers reach the mesh through Envoy)"),
            false => format!("{name} (its containers go past Envoy)"),
        })
        .collect();
    bridges.sort();
    match bridges.is_empty() {
        true => Finding::ok("there are no bridges of containers"),
        false => Finding::ok(some(&bridges)),
    }
}

/// Of Docker, Podman, CNI, libvirt, LXC.
const BRIDGES: [&str; 6] = ["docker", "br-", "podman", "cni", "virbr", "lx"];
/// What says that a rule lets through something else.
const NARROW: [&str; 12] = [
    "dport",
    "sport",
    "established",
    "\"lo\"",
    "icmp",
    "udp",
    "pkttype",
    "limit",
    "mark",
    "esp",
    "ah ",
    "fib daddr type multicast",
];

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED: &str = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\
        \t\tct state established,related accept\n\t\tiif \"lo\" accept\n\t\ttcp dport { 22, 8080 } accept\nMORE\t}\n}\n\
        table inet hawser {\n\tchain x {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n}\n";

    #[test]
    fn a_chain_that_drops_what_was_redirected_is_told_from_one_that_lets_it_in() {
        let with = |more: &str| droppers(&LOCKED.replace("MORE", more), 15006);
        assert_eq!(with(""), ["table inet filter"]);
        let lets_in = [
            "\t\tct status dnat accept\n",
            "\t\ttcp dport 15006 accept\n",
            "\t\tip saddr 10.0.0.0/8 accept\n",
            "\t\tiifname \"eth0\" counter accept\n",
        ];
        for more in lets_in {
            assert_eq!(with(more), [""; 0], "{more}");
        }
        for more in ["\t\ttcp dport 15060 accept\n", "\t\ticmp type echo-request accept\n"] {
            assert_eq!(with(more).len(), 1, "{more}");
        }
        let open = LOCKED.replace("policy drop", "policy accept").replace("MORE", "");
        assert_eq!(droppers(&open, 15006), [""; 0]);
        let rejects = open.replace(
            "22, 8080 } accept\n",
            "22 } accept\n\t\tcounter reject with icmpx admin-prohibited\n",
        );
        assert_eq!(droppers(&rejects, 15006), ["table inet filter"]);
    }

    #[test]
    fn old_rules_are_judged_alike() {
        let saved = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\n";
        assert!(legacy_drops(saved, 15006));
        let allowed = format!("{saved}-A INPUT -p tcp -m tcp --dport 15006 -j ACCEPT\n");
        assert!(!legacy_drops(&allowed, 15006));
        assert!(!legacy_drops(":INPUT ACCEPT [0:0]\n", 15006));
    }
}
