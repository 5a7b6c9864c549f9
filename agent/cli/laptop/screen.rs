//! What somebody at a terminal is told: how each service is called, and how names get here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use hawser_services::model::{Protocol, Service};

use crate::services::Standing;

/// All of it, made before the agent runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Screen {
    rows: Vec<[String; 3]>,
    /// Those that there is no room for.
    more: usize,
    gateways: Vec<String>,
    domains: Vec<String>,
    example: String,
    root: PathBuf,
}

impl Screen {
    pub(super) fn of(standing: &Standing, root: &Path) -> Self {
        let services = &standing.services;
        let row = |service: &Service| {
            let port = standing.port(service);
            let address = standing.addresses.of(services, &service.host);
            let address = SocketAddr::new(address, port).to_string();
            [service.host.clone(), address, call(service, port)]
        };
        let all = &services.services;
        let hosts: BTreeSet<&str> = all.iter().map(|service| service.host.as_str()).collect();
        let domains: BTreeSet<&str> = hosts.iter().map(|host| domain(host)).collect();
        Self {
            rows: all.iter().take(MOST_ROWS).map(row).collect(),
            more: all.len().saturating_sub(MOST_ROWS),
            gateways: services.gateways.iter().map(|at| joined(&at.host, at.port.get())).collect(),
            domains: domains.into_iter().take(MOST_DOMAINS).map(str::to_owned).collect(),
            example: hosts.first().map_or_else(String::new, |host| (*host).to_owned()),
            root: root.to_owned(),
        }
    }

    /// The whole of it, where names are answered at `dns`.
    pub(super) fn lines(&self, dns: Option<SocketAddr>, mut say: impl FnMut(&str)) {
        let head = ["NAME", "ADDRESS", "CALL IT"].map(str::to_owned);
        let rows = || std::iter::once(&head).chain(&self.rows);
        let wide = |column: usize| {
            rows().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default()
        };
        let (first, second) = (wide(0), wide(1));
        for [name, address, call] in rows() {
            say(format!("{name:<first$}  {address:<second$}  {call}").trim_end());
        }
        if self.more > 0 {
            say(&format!("and {} more: `hawser services show` lists all", self.more));
        }
        say("");
        if !self.gateways.is_empty() {
            say(&format!("They are called through {}.", self.gateways.join(", ")));
        }
        self.hints(dns, &mut say);
        let root = quoted(&self.root);
        say(&format!("`hawser status --root {root}` says how it is. Ctrl-C ends it."));
    }

    fn hints(&self, dns: Option<SocketAddr>, say: &mut impl FnMut(&str)) {
        let Some(dns) = dns else {
            say("Names are not answered (dns.enabled). For /etc/hosts:");
            say(HOSTS);
            return;
        };
        let (ip, port, example) = (dns.ip(), dns.port(), &self.example);
        say(&format!("Their names are answered at {dns}: `dig @{ip} -p {port} {example}`."));
        say("For every program of this machine, once, one of:");
        let routed: Vec<_> = self.domains.iter().map(|domain| format!("~{domain}")).collect();
        let routed = routed.join(" ");
        say(&format!(
            "  printf '[Resolve]\\nDNS={dns}\\nDomains={routed}\\n' | sudo install -D -m 644 \
             /dev/stdin /etc/systemd/resolved.conf.d/hawser.conf && \
             sudo systemctl restart systemd-resolved"
        ));
        for domain in &self.domains {
            say(&format!("  in dnsmasq.conf: server=/{domain}/{ip}#{port}"));
        }
        say(HOSTS);
    }
}

/// Lines for `/etc/hosts`: a name and those that it has besides, on one line.
pub(super) fn hosts(standing: &Standing, mut say: impl FnMut(&str)) {
    let services = &standing.services;
    let mut lines: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for service in &services.services {
        let also = lines.entry(&service.host).or_default();
        also.extend(service.aliases.iter().map(String::as_str));
    }
    for (host, also) in lines {
        let address = standing.addresses.of(services, host);
        let also: Vec<&str> = also.into_iter().filter(|name| *name != host).collect();
        say(format!("{address} {host} {}", also.join(" ")).trim_end());
    }
}

fn call(service: &Service, port: u16) -> String {
    let host = &service.host;
    match service.protocol {
        Protocol::Http => match port {
            80 => format!("http://{host}"),
            port => format!("http://{host}:{port}"),
        },
        Protocol::Http2 => format!("http://{host}:{port} (HTTP/2)"),
        Protocol::Grpc if service.transcode.is_some() => {
            format!("{host}:{port} (gRPC), http://{host}:{port} (JSON)")
        }
        Protocol::Grpc => format!("{host}:{port} (gRPC)"),
        Protocol::Tcp => format!("{host}:{port} (TCP)"),
    }
}

fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What is asked here of all that there is: the names of the cluster, and else what the name is in.
fn domain(host: &str) -> &str {
    let cluster = host.find(CLUSTER).and_then(|at| host.get(at + 1..));
    let above = || host.split_once('.').map(|(_, above)| above).filter(|above| !above.is_empty());
    cluster.or_else(above).unwrap_or(host)
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

const MOST_ROWS: usize = 50;
const MOST_DOMAINS: usize = 5;
const CLUSTER: &str = ".svc.";
const HOSTS: &str = "  hawser laptop --print-hosts | sudo tee -a /etc/hosts";

#[cfg(test)]
mod tests;
