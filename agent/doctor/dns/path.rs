//! The way of a question from a program of this host to the agent, and what stands in it.

use std::{
    collections::BTreeSet,
    io::BufRead as _,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use hawser_dns::{
    explain::Rule,
    neighbours::{self, Machine, Neighbour, Who},
};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::{
    super::{
        Finding, Patient,
        agent::some,
        units::{self, Said as Of},
    },
    settings,
};
use crate::{
    cli::ask::{Said, escaped},
    config::{dns::Mode, source::host_name},
    status::{dns::Explained, lacks},
};

/// A host of the mesh, as the agent lists it.
#[derive(Debug, Deserialize)]
struct Host {
    host: String,
    addresses: Vec<IpAddr>,
}

/// What came of a name of the mesh on this host.
enum Found {
    /// What the agent knows.
    Same(String),
    /// Something else.
    Other { host: String, system: String, agent: String },
    /// It could not be tried, and why.
    Untried(String),
}

/// Whether programs get what the agent knows.
pub(super) async fn host(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    match tried(patient).await {
        Found::Same(said) => Finding::ok(said),
        Found::Untried(why) => Finding::unknown(why),
        Found::Other { host, system, agent } => {
            let (cause, remedy) = hindrance(patient, &host);
            let said = format!("`getent ahostsv4 {host}` says {system}, and the agent {agent}");
            Finding::failed(said, remedy).because(cause)
        }
    }
}

/// Asks the system for a name of the mesh.
async fn tried(patient: &Patient) -> Found {
    if patient.snapshot.is_none() {
        return Found::Untried("the agent does not answer".to_owned());
    }
    let socket = patient.paths.admin_socket();
    let known = spawn_blocking(move || first(&socket)).await.ok().flatten();
    let Some(Host { host, addresses }) = known else {
        return Found::Untried("the mesh has no name with an IPv4 address".to_owned());
    };
    let agent = texts(&addresses);
    let said = match patient.run("getent", &["ahostsv4", &host]).await {
        Ok(said) => said,
        Err(error) if error.starts_with("there is no") => return Found::Untried(error),
        // It says nothing of what is not found.
        Err(_missing) => String::new(),
    };
    let system: BTreeSet<IpAddr> =
        said.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let same = !system.is_empty() && system.iter().all(|address| addresses.contains(address));
    let system: Vec<IpAddr> = system.into_iter().collect();
    match (same, system.is_empty()) {
        (true, _) => Found::Same(format!("{host} is {}", texts(&system))),
        (false, true) => Found::Other { host, system: "nothing".to_owned(), agent },
        (false, false) => Found::Other { host, system: texts(&system), agent },
    }
}

fn texts(addresses: &[IpAddr]) -> String {
    some(&addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// The first host that has an address of IPv4: one that every program can be asked for.
fn first(socket: &Path) -> Option<Host> {
    let said = Said::ask(socket, "/dns/table").ok().filter(|said| said.status == 200)?;
    let lines = said.body.lines().map_while(Result::ok).take(MOST_HOSTS);
    let hosts = lines.filter_map(|line| {
        let host: Host = serde_json::from_str(line.trim_end_matches(',')).ok()?;
        Some(host)
    });
    let plain = |host: &Host| {
        let real =
            |address: &IpAddr| matches!(address, IpAddr::V4(v4) if *v4 != Ipv4Addr::UNSPECIFIED);
        host.host.contains('.') && !host.host.contains('*') && host.addresses.iter().any(real)
    };
    hosts.into_iter().find(plain)
}

/// What keeps a question from the agent, and what to do about it.
fn hindrance(patient: &Patient, host: &str) -> (String, String) {
    if let Some(shadow) = neighbours::shadows(&patient.root, host).first() {
        let said = format!("line {} of /etc/hosts says {}", shadow.line, shadow.address);
        return (said, format!("take it out of line {} of /etc/hosts", shadow.line));
    }
    let Ok(config) = &patient.config else { return unexplained() };
    let Some(dns) = &config.dns else { return unexplained() };
    let split = dns.mode == Mode::Resolved;
    let beside = neighbours::look(&Machine { root: &patient.root, split });
    let means = |who| beside.iter().find(|one: &&Neighbour| one.who == who);
    if host.ends_with(".local")
        && let Some(mdns) = means(Who::NssMdns)
    {
        return (format!("\"{}\": {}", mdns.evidence, mdns.meaning), MDNS.to_owned());
    }
    if split {
        let cause = match means(Who::SystemdResolved) {
            Some(resolved) => resolved.meaning.to_owned(),
            None => "systemd-resolved does not run".to_owned(),
        };
        return (cause, "`hawser doctor --only systemd-resolved`; `resolvectl status`".to_owned());
    }
    if let Some(resolve) = means(Who::NssResolve) {
        return (
            format!("\"{}\": {}", resolve.evidence, resolve.meaning),
            "set dns.mode = \"resolved\" in hawser.toml, then `systemctl restart hawser`"
                .to_owned(),
        );
    }
    if !lacks::redirects(&config.intercept) || !config.intercept.dns {
        return (
            "nothing leads questions to the agent: they are not redirected, and resolv.conf does \
             not name it"
                .to_owned(),
            "set intercept.dns = true, or dns.mode = \"resolved\"".to_owned(),
        );
    }
    (
        "questions are not redirected to the agent".to_owned(),
        "`hawser doctor --only rules`".to_owned(),
    )
}

fn unexplained() -> (String, String) {
    ("what stands between is not known".to_owned(), "`hawser dns explain NAME`".to_owned())
}

/// mDNS and a mesh below `.local`.
pub(super) async fn mdns(patient: &Patient) -> Finding {
    let Ok(config) = &patient.config else {
        return Finding::unknown("the settings are wrong: `hawser check`");
    };
    let found = neighbours::look(&Machine { root: &patient.root, split: false });
    let Some(mdns) = found.into_iter().find(|one| one.who == Who::NssMdns) else {
        return Finding::ok("mDNS has not the last word on .local");
    };
    let domain = &config.node.domain;
    if !domain.ends_with(".local") {
        return Finding::ok(format!("the mesh is below {domain}, which mDNS does not answer"));
    }
    // Some versions leave names of more than two labels to DNS.
    if let Found::Same(said) = tried(patient).await {
        return Finding::ok(format!("\"{}\", and yet {said}", mdns.evidence));
    }
    Finding::warning(
        format!("/etc/nsswitch.conf says \"{}\", and the mesh is below {domain}", mdns.evidence),
        MDNS,
    )
    .because(mdns.meaning)
}

const RESOLVED: Of = Of {
    unit: "hawser-resolved",
    refused: ("there is no systemd-resolved here, or one too old", "set dns.mode = \"proxy\""),
};

/// The link that systemd-resolved sends names of the mesh over.
pub(super) async fn resolved(patient: &Patient) -> Finding {
    match settings(patient) {
        Ok(dns) if dns.mode == Mode::Resolved => {}
        Ok(_) => return Finding::ok("dns.mode is proxy: systemd-resolved is not told"),
        Err(finding) => return finding,
    }
    let runs = ["/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/resolv.conf"];
    if !runs.iter().any(|path| patient.file(path).exists()) {
        return Finding::failed(
            "dns.mode is resolved, and systemd-resolved does not run",
            "`systemctl enable --now systemd-resolved`, or set dns.mode = \"proxy\"",
        );
    }
    if patient.preflight || !patient.is_of_a_mesh() || patient.snapshot.is_none() {
        return Finding::ok("systemd-resolved runs");
    }
    if let Ok(unit) = units::show(patient, "hawser-resolved.service").await
        && unit.active != "active"
    {
        return units::judge(&unit, RESOLVED);
    }
    if !patient.file("/sys/class/net/hawser0").exists() {
        return Finding::failed(
            "there is no network interface hawser0, over which names of the mesh are asked for",
            "`systemctl restart hawser-resolved`",
        );
    }
    let beside = neighbours::look(&Machine { root: &patient.root, split: true });
    let stub = beside.iter().find(|one| one.who == Who::SystemdResolved);
    if let Some(past) = stub.filter(|one| one.meaning.contains("go past it")) {
        return Finding::warning(
            "resolv.conf does not lead to systemd-resolved".to_owned(),
            "`ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf`",
        )
        .because(past.meaning);
    }
    match patient.run("resolvectl", &["domain", "hawser0"]).await {
        Ok(said) if said.contains('~') => Finding::ok(said.trim().to_owned()),
        Ok(said) => Finding::failed(
            format!("systemd-resolved has no domains for hawser0: {}", said.trim()),
            "`systemctl restart hawser-resolved`",
        )
        .because("it was started anew, or somebody has told it otherwise"),
        Err(error) => Finding::unknown(error),
    }
}

/// Names of the mesh that `/etc/hosts` answers before anybody is asked.
pub(super) async fn shadows(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    let hosts = patient.text("/etc/hosts").unwrap_or_default();
    let names = named(&hosts, patient);
    let count = names.len();
    let socket = patient.paths.admin_socket();
    let found = spawn_blocking(move || shadowed(&socket, names)).await.unwrap_or_default();
    if found.is_empty() {
        return Finding::ok(format!("none of {count} names in /etc/hosts is of the mesh"));
    }
    Finding::warning(
        format!("/etc/hosts has {}", some(&found)),
        "take these names out of /etc/hosts",
    )
    .because("programs get what stands there, and go past the mesh")
}

/// Names with what is said of them; not those that every machine has there, and not istiod's, which
/// Istio's own instructions put there.
fn named(hosts: &str, patient: &Patient) -> Vec<(String, IpAddr)> {
    let istiod = patient.config.iter().flat_map(|config| {
        config.istiod.endpoints.iter().chain(&config.ca.endpoints).map(|one| one.host.to_string())
    });
    let host = host_name();
    let short = host.split('.').next().unwrap_or_default().to_owned();
    let ours: BTreeSet<String> = istiod.chain([host, short]).collect();
    let usual = |name: &str| name.starts_with("localhost") || name.starts_with("ip6-");
    let mut names = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        let here = words.map(|word| word.trim_end_matches('.').to_ascii_lowercase());
        let here = here.filter(|name| !usual(name) && !ours.contains(name));
        names.extend(here.map(|name| (name, address)));
    }
    names.truncate(MOST_NAMES);
    names
}

fn shadowed(socket: &Path, names: Vec<(String, IpAddr)>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, address) in names {
        let kind = if address.is_ipv4() { 1 } else { 28 };
        let path = format!("/dns/explain?name={}&type={kind}", escaped(&name));
        let Ok(said) = Said::ask(socket, &path) else { break };
        let Some(explained) =
            said.text().ok().and_then(|text| serde_json::from_str::<Explained>(&text).ok())
        else {
            continue;
        };
        let told = &explained.explanation;
        let is_mesh = matches!(told.rule, Rule::Host | Rule::Alias | Rule::Wildcard);
        if is_mesh && !told.addresses.contains(&address) {
            found.push(format!("{name} as {address}, in the mesh {}", texts(&told.addresses)));
        }
    }
    found
}

const MDNS: &str =
    "let `dns` stand before mdns4_minimal in the line `hosts:` of /etc/nsswitch.conf";
const MOST_HOSTS: usize = 1000;
const MOST_NAMES: usize = 200;
