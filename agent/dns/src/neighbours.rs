//! Who else has to do with names on this machine, and what that means for hawser.
//!
//! Everything is told by evidence, and only read: files below a root directory, of which `/` is
//! one. Nothing is asked of anybody, so nothing can hang or be refused.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;
use tracing::info;

mod nss;
mod ports;

pub use nss::{Shadow, hosts_line, shadows};

/// Octets of a file that are read.
const MAX_FILE: u64 = 256 * 1024;

/// A program or setting that has to do with names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are called what they are")]
pub enum Who {
    SystemdResolved,
    NssResolve,
    NssMdns,
    NssOrder,
    NetworkManager,
    Dnsmasq,
    Consul,
    Resolvconf,
    CloudInit,
}

/// One of them, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Who it is.
    pub who: Who,
    /// By what it was recognised.
    pub evidence: String,
    /// What it means for hawser, in one sentence.
    pub meaning: &'static str,
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Where it is: `/`.
    pub root: &'a Path,
    /// Names of the mesh are registered with systemd-resolved.
    pub split: bool,
}

/// Everybody who is found, in order.
pub fn look(machine: &Machine<'_>) -> Vec<Neighbour> {
    let mut found = Vec::new();
    let mut note = |who, evidence: Option<String>, meaning| {
        found.extend(evidence.map(|evidence| Neighbour { who, evidence, meaning }));
    };
    let resolv = Conf::read(machine.root);
    note(Who::SystemdResolved, resolved(machine, &resolv), resolved_means(machine, &resolv));
    note(Who::NetworkManager, network_manager(machine, &resolv), REWRITES);
    note(Who::Dnsmasq, dnsmasq(machine), FORWARDS);
    note(Who::Consul, consul(machine), CONSUL);
    note(Who::Resolvconf, resolvconf(machine, &resolv), REWRITES);
    note(Who::CloudInit, cloud_init(machine, &resolv), AT_BOOT);
    let order = nss::Order::read(machine.root);
    let line = || Some(order.line.clone());
    let nss_resolve = order.asks_resolved_first().then(line).flatten();
    note(Who::NssResolve, nss_resolve, if machine.split { RESOLVE_SPLIT } else { RESOLVE_PROXY });
    note(Who::NssMdns, order.asks_mdns_finally().then(line).flatten(), MDNS);
    note(Who::NssOrder, order.asks_dns_before_files().then(line).flatten(), FILES_LATE);
    found
}

/// The program that answers at an address of this machine, as far as that can be seen.
pub fn behind(neighbours: &[Neighbour], address: IpAddr) -> Option<Who> {
    let is_there = |who| neighbours.iter().any(|one| one.who == who);
    let stub = [[127, 0, 0, 53], [127, 0, 0, 54]].map(IpAddr::from).contains(&address);
    match address {
        _ if stub && is_there(Who::SystemdResolved) => Some(Who::SystemdResolved),
        _ if stub => None,
        _ if !address.is_loopback() => None,
        _ if is_there(Who::Dnsmasq) => Some(Who::Dnsmasq),
        _ if is_there(Who::Consul) => Some(Who::Consul),
        _ => None,
    }
}

/// Tells the journal, once.
pub fn tell(neighbours: &[Neighbour]) {
    for Neighbour { who, evidence, meaning } in neighbours {
        info!(%who, evidence, meaning, "another has to do with names here");
    }
}

fn resolved(machine: &Machine<'_>, resolv: &Conf) -> Option<String> {
    let linked = resolv.target.contains("systemd/resolve/");
    let listens = ports::listener(machine.root, [127, 0, 0, 53], 53);
    match (linked, listens) {
        (true, _) => Some(format!("/etc/resolv.conf leads to {}", resolv.target)),
        (false, true) => Some("127.0.0.53:53 is taken".to_owned()),
        (false, false) => machine.has("run/systemd/resolve/io.systemd.Resolve"),
    }
}

fn resolved_means(machine: &Machine<'_>, resolv: &Conf) -> &'static str {
    let stub = resolv.servers.iter().any(|server| server == "127.0.0.53" || server == "127.0.0.54");
    match (machine.split, stub) {
        (true, true) => {
            "programs reach the mesh through it; hawser asks the servers that it lists in \
             /run/systemd/resolve/resolv.conf"
        }
        (true, false) => {
            "programs that read /etc/resolv.conf go past it and do not see the mesh: link the file \
             to /run/systemd/resolve/stub-resolv.conf"
        }
        (false, true) => {
            "hawser relays names outside the mesh to it; programs that ask it see the mesh only \
             when port 53 is redirected, or with dns.mode = \"resolved\""
        }
        (false, false) => "it is not asked by programs that read /etc/resolv.conf",
    }
}

fn network_manager(machine: &Machine<'_>, resolv: &Conf) -> Option<String> {
    let wrote = resolv.text.lines().find(|line| line.contains("NetworkManager"));
    match wrote {
        Some(line) => Some(format!("/etc/resolv.conf says \"{}\"", line.trim())),
        None if resolv.target.contains("NetworkManager/") => {
            Some(format!("/etc/resolv.conf leads to {}", resolv.target))
        }
        None => None,
    }
    .or_else(|| machine.has("run/NetworkManager/dnsmasq.pid"))
}

fn dnsmasq(machine: &Machine<'_>) -> Option<String> {
    let pids = ["run/dnsmasq/dnsmasq.pid", "run/dnsmasq.pid", "run/NetworkManager/dnsmasq.pid"];
    pids.iter().find_map(|pid| machine.has(pid))
}

fn consul(machine: &Machine<'_>) -> Option<String> {
    if ports::listener(machine.root, [127, 0, 0, 1], 8600) {
        return Some("127.0.0.1:8600 is taken".to_owned());
    }
    let places = ["etc/dnsmasq.d", "etc/systemd/resolved.conf.d", "etc/NetworkManager/dnsmasq.d"];
    places.iter().find_map(|place| {
        let mut files: Vec<_> = fs::read_dir(machine.root.join(place))
            .ok()?
            .flatten()
            .map(|file| file.path())
            .collect();
        files.sort();
        let names_it = |file: &&std::path::PathBuf| {
            let text = text(file).unwrap_or_default();
            text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains("consul"))
        };
        let file = files.iter().take(MOST_FILES).find(names_it)?;
        Some(format!("/{place}/{}", file.file_name()?.to_string_lossy()))
    })
}

fn resolvconf(machine: &Machine<'_>, resolv: &Conf) -> Option<String> {
    let wrote =
        resolv.text.lines().find(|line| line.starts_with('#') && line.contains("resolvconf"));
    match wrote {
        Some(line) => Some(format!("/etc/resolv.conf says \"{}\"", line.trim())),
        None if resolv.target.contains("resolvconf/") => {
            Some(format!("/etc/resolv.conf leads to {}", resolv.target))
        }
        None => None,
    }
    .or_else(|| machine.has("run/resolvconf/interface"))
}

fn cloud_init(machine: &Machine<'_>, resolv: &Conf) -> Option<String> {
    let wrote =
        resolv.text.lines().any(|line| line.starts_with('#') && line.contains("cloud-init"));
    if wrote {
        return Some("/etc/resolv.conf says so".to_owned());
    }
    let hosts = text(&machine.root.join("etc/hosts")).unwrap_or_default();
    let manages =
        hosts.lines().any(|line| line.starts_with('#') && line.contains("manage_etc_hosts"));
    manages.then(|| "/etc/hosts says so".to_owned())
}

impl Machine<'_> {
    fn has(&self, path: &str) -> Option<String> {
        fs::symlink_metadata(self.root.join(path)).ok().map(|_| format!("/{path}"))
    }
}

/// `/etc/resolv.conf`, as far as it tells who keeps it.
struct Conf {
    text: String,
    /// Where it leads, if it is a link.
    target: String,
    servers: Vec<String>,
}

impl Conf {
    fn read(root: &Path) -> Self {
        let path = root.join("etc/resolv.conf");
        let target = fs::read_link(&path).map(|target| target.to_string_lossy().into_owned());
        let target = target.unwrap_or_default();
        // A link from the root has to stay below the one that is looked at.
        let text = match target.strip_prefix('/') {
            Some(below) => text(&root.join(below)),
            None => text(&path),
        };
        let text = text.unwrap_or_default();
        let server = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            (words.next()? == "nameserver").then(|| words.next().map(str::to_owned)).flatten()
        };
        let servers = text.lines().filter_map(server).collect();
        Self { text, target, servers }
    }
}

/// The text of a regular file, or of its beginning.
fn text(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file).and(File::open(path).ok())?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SystemdResolved => "systemd-resolved",
            Self::NssResolve => "nss-resolve",
            Self::NssMdns => "nss-mdns",
            Self::NssOrder => "nsswitch.conf",
            Self::NetworkManager => "NetworkManager",
            Self::Dnsmasq => "dnsmasq",
            Self::Consul => "Consul",
            Self::Resolvconf => "resolvconf",
            Self::CloudInit => "cloud-init",
        })
    }
}

const MOST_FILES: usize = 64;
const REWRITES: &str = "it writes /etc/resolv.conf anew when networks change, which hawser follows";
const FORWARDS: &str = "hawser relays names outside the mesh to it if /etc/resolv.conf names it; it \
                        must not forward names to hawser that hawser asks it for";
const CONSUL: &str = "names below .consul are relayed to whoever /etc/resolv.conf names, which has \
                      to know the way to Consul";
const AT_BOOT: &str =
    "it may write /etc/resolv.conf and /etc/hosts anew at boot, which hawser follows";
const RESOLVE_SPLIT: &str = "programs of glibc ask systemd-resolved without a packet, and it asks \
                             hawser for names of the mesh";
const RESOLVE_PROXY: &str = "programs of glibc ask systemd-resolved without a packet, so no redirect \
                             of port 53 sees them: take `resolve` out of the line, or set \
                             dns.mode = \"resolved\"";
const MDNS: &str = "names below .local are answered by mDNS or not at all, before DNS is asked: a mesh \
                    below .local (svc.cluster.local) is not seen by programs of glibc; let `dns` \
                    stand before it, or take [NOTFOUND=return] away";
const FILES_LATE: &str = "DNS is asked before /etc/hosts, so what stands there does not count for \
                          names of the mesh";

#[cfg(test)]
mod tests;
