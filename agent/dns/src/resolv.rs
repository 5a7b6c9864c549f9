//! Whom to ask about names outside the mesh: a list, or the file that the system keeps.
//!
//! What is read is pure and here; `watch` follows the file, and `keep` puts what it says to use and
//! goes around resolvers that lead back here.

pub mod keep;
pub mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::relay::resolvers::Upstream;
use watch::Sources;

/// Where the resolvers for names outside the mesh are listed.
#[derive(Clone, Debug)]
pub enum Upstreams {
    /// Here.
    Fixed(Vec<Upstream>),
    /// Here, while search domains are those of a file.
    Beside(Vec<Upstream>, Sources),
    /// In a file like `/etc/resolv.conf`, which may change at any time.
    ResolvConf(Sources),
}

impl Upstreams {
    /// The list that is given, if one is, and what is to be followed: both without ourselves, `own`
    /// being the addresses that we listen on.
    pub(crate) fn apart(self, own: &[SocketAddr]) -> (Option<Vec<Upstream>>, Option<Sources>) {
        let others = |mut list: Vec<Upstream>| {
            list.retain(|upstream| !own.iter().any(|&own| is_same(own, upstream.address)));
            list
        };
        let followed = |sources| Sources { own: own.to_vec(), ..sources };
        match self {
            Self::Fixed(list) => (Some(others(list)), None),
            Self::Beside(list, sources) => (Some(others(list)), Some(followed(sources))),
            Self::ResolvConf(sources) => (None, Some(followed(sources))),
        }
    }
}

/// What a file like `/etc/resolv.conf` says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Resolvers in the order of the file.
    pub servers: Vec<SocketAddr>,
    /// Domains that are appended to names.
    pub search: Vec<String>,
    /// `nameserver` lines that are none, or too many.
    pub skipped: usize,
}

/// Resolvers of one file; glibc takes 3, others more.
const MAX_SERVERS: usize = 8;
/// Search domains of one file.
const MAX_SEARCH: usize = 32;

/// Reads the text of a file like `/etc/resolv.conf`; `interface` gives the index of a network
/// interface, for addresses that mean nothing without one (`fe80::1%eth0`).
///
/// A port may be given as `[address]:port`; lines that say nothing useful are passed over.
pub fn parse(text: &[u8], interface: impl Fn(&str) -> Option<u32>) -> ResolvConf {
    let mut found = ResolvConf::default();
    for line in String::from_utf8_lossy(text).lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => match words.next().and_then(|word| server(word, &interface)) {
                Some(server) if found.servers.contains(&server) => {}
                Some(server) if found.servers.len() < MAX_SERVERS => found.servers.push(server),
                _ => found.skipped += 1,
            },
            Some("domain") => found.search = words.take(1).map(str::to_owned).collect(),
            Some("search") => found.search = words.take(MAX_SEARCH).map(str::to_owned).collect(),
            _ => {}
        }
    }
    found
}

fn server(word: &str, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if word.starts_with('[') {
        let (address, port) = word.strip_prefix('[')?.split_once("]:")?;
        let port = port.parse().ok().filter(|&port| port != 0)?;
        return Some(SocketAddr::new(address.parse().ok()?, port));
    }
    match word.split_once('%') {
        Some((address, zone)) => {
            let address: Ipv6Addr = address.parse().ok()?;
            let index = zone.parse().ok().or_else(|| interface(zone))?;
            Some(SocketAddrV6::new(address, 53, 0, index).into())
        }
        None => Some(SocketAddr::new(word.parse().ok()?, 53)),
    }
}

/// Whether a query sent to `server` would come in at `own`.
fn is_same(own: SocketAddr, server: SocketAddr) -> bool {
    // Nothing listens on "any address": a query sent there arrives at the loopback address.
    let server_ip = match server.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let any = own.ip().is_unspecified() && own.is_ipv4() == server_ip.is_ipv4();
    own.port() == server.port() && (own.ip() == server_ip || any && server_ip.is_loopback())
}

#[cfg(test)]
mod tests;
