//! DNS: where programs ask, whom to ask about the rest, and what is kept of what they say.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV6},
    path::PathBuf,
    time::Duration,
};

use hawser_dns::{Style, Upstream};
use hawser_rt::Cidr;

use super::{Reader, parse, problem::Problem, values::Source};

/// The DNS proxy.
#[derive(Debug, Clone)]
pub struct Dns {
    /// How programs get here.
    pub mode: Mode,
    /// Where programs ask.
    pub listen: Vec<SocketAddr>,
    /// Who may ask, besides this machine.
    pub allow: Vec<Cidr>,
    /// What is asked here besides the domains of the mesh.
    pub domains: Vec<String>,
    /// Domains that the mesh is not believed about.
    pub exclude: Vec<String>,
    /// Who answers for names outside the mesh; `resolv_conf` if there are none.
    pub upstreams: Vec<Upstream>,
    /// Where the machine's resolvers are listed.
    pub resolv_conf: PathBuf,
    /// How long a program may have to wait for them.
    pub timeout: Duration,
    /// Whether all are asked at once.
    pub parallel: bool,
    /// How many bytes of what they said are kept.
    pub cache: usize,
    /// How long past its time that may be used; zero is never.
    pub stale: Duration,
    /// Whose rules hold for what is answered.
    pub style: Style,
    /// Threads that answer; 0 is one per core.
    pub workers: usize,
    /// What nobody has said of it.
    pub open: Open,
}

/// What the file of services may say, where the settings do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Where programs ask.
    pub listen: bool,
    /// Who may ask.
    pub allow: bool,
}

/// How programs get here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They ask where we listen.
    Proxy,
    /// systemd-resolved sends them.
    Resolved,
}

impl Reader<'_> {
    pub(super) fn dns(&mut self) -> Option<Option<Dns>> {
        let enabled = self.required("dns.enabled", parse::boolean);
        let mode = self.required("dns.mode", |text| match text {
            "proxy" => Some(Mode::Proxy),
            "resolved" => Some(Mode::Resolved),
            _ => None,
        });
        let listen = self.required("dns.listen", parse::sockets);
        let allow = self.required("dns.allow", parse::networks);
        let domains = self.required("dns.domains", parse::domains);
        let exclude = self.required("dns.exclude", parse::domains);
        let upstreams = self.required("dns.upstreams", |text| parse::list(text, upstream));
        let resolv_conf = self.required("dns.resolv_conf", parse::file);
        let timeout = self.required("dns.timeout", parse::some_time);
        let parallel = self.required("dns.parallel", parse::boolean);
        let cache = self.required("dns.cache", |text| {
            parse::bytes(text).and_then(|bytes| usize::try_from(bytes).ok())
        });
        let stale = self.required("dns.stale", parse::duration);
        let style = self.required("dns.compat", |text| match text {
            "off" => Some(Style::Plain),
            "istio" => Some(Style::Istio),
            _ => None,
        });
        let workers = self.required("dns.workers", |text| {
            text.parse().ok().filter(|workers| *workers <= MOST_WORKERS)
        });
        let dns = Dns {
            mode: mode?,
            listen: listen?,
            allow: allow?,
            domains: domains?,
            exclude: exclude?,
            upstreams: upstreams?,
            resolv_conf: resolv_conf?,
            timeout: timeout?,
            parallel: parallel?,
            cache: cache?,
            stale: stale?,
            style: style?,
            workers: workers?,
            open: Open { listen: self.is_unsaid("dns.listen"), allow: self.is_unsaid("dns.allow") },
        };
        if enabled? {
            self.reachable(&dns)?;
            return Some(Some(dns));
        }
        Some(None)
    }

    fn is_unsaid(&self, key: &str) -> bool {
        self.values.source_of(key) == Some(Source::Default)
    }

    /// What is a mistake only together.
    fn reachable(&mut self, dns: &Dns) -> Option<()> {
        let ours = dns.upstreams.iter().find(|upstream| dns.listen.contains(&upstream.address));
        if let Some(ours) = ours {
            let expected = format!(
                "{} is where this agent answers (dns.listen), and would ask itself: \
                 expected the address of another resolver",
                ours.address
            );
            self.problems.push(Problem::with("dns.upstreams", expected));
            return None;
        }
        if dns.mode == Mode::Proxy && !dns.domains.is_empty() {
            let expected =
                "they are told to systemd-resolved: expected dns.mode = \"resolved\" too";
            self.problems.push(Problem::with("dns.domains", expected));
            return None;
        }
        Some(())
    }
}

/// `10.0.0.2`, `[fd00::1]:5353`, `fe80::1%eth0`, `tls://9.9.9.9#dns.quad9.net`.
fn upstream(text: &str) -> Option<Upstream> {
    let Some(rest) = text.strip_prefix("tls://") else {
        return Some(Upstream { address: address(text, DNS_PORT)?, tls: None });
    };
    let (place, name) = match rest.split_once('#') {
        Some((place, name)) => (place, Some(parse::name(name)?)),
        None => (rest, None),
    };
    let address = address(place, TLS_PORT)?;
    // A certificate may be for an address too, and those of the large ones are.
    let name = name.unwrap_or_else(|| address.ip().to_string());
    Some(Upstream { address, tls: Some(name) })
}

/// An address whose port may be left out; one that is of a link says which.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    if let Some(whole) = parse::socket(text) {
        return Some(whole).filter(|whole| whole.port() != 0);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let Some((address, link)) = bare.split_once('%') else {
        return Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, port));
    };
    let index = link.parse().ok().or_else(|| nix::net::if_::if_nametoindex(link).ok())?;
    Some(SocketAddrV6::new(address.parse().ok()?, port, 0, index).into())
}

const DNS_PORT: u16 = 53;
const TLS_PORT: u16 = 853;
const MOST_WORKERS: usize = 64;

#[cfg(test)]
mod tests;
