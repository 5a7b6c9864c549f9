//! What there is to say of DNS: what was answered and from where, whom others are, and why a
//! name resolves as it does.

mod metrics;

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::SystemTime,
};

use hawser_dns::{
    Proxy, Upstream,
    explain::Explanation,
    neighbours::{self, Machine},
};
use hawser_proto::Names;
use serde::{Deserialize, Serialize};

use super::seconds;

/// The DNS proxy.
#[derive(Debug, Clone)]
pub struct Dns {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// What it knows and has done.
    pub proxy: Proxy,
    /// Whether systemd-resolved is to send it the names of the mesh.
    pub split: bool,
}

/// The DNS proxy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct DnsStatus {
    pub listen: Vec<SocketAddr>,
    /// Names that are answered, aliases included, search domains not.
    pub names: u64,
    /// The table that they are from; null before there is one.
    pub table: Option<TableStatus>,
    /// Messages that came in.
    pub queries: u64,
    /// From the table.
    pub answered: u64,
    /// From the cache, in time, and after its time.
    pub cached: u64,
    pub stale: u64,
    /// From a resolver.
    pub upstream: u64,
    /// Faulty, or for what is not offered.
    pub refused: u64,
    /// From addresses that dns.allow does not have.
    pub forbidden: u64,
    /// Given to a resolver, and given in vain.
    pub relayed: u64,
    pub relay_failed: u64,
    /// Turned away because too many were waiting.
    pub shed: u64,
    pub in_flight: u64,
    pub cache: CacheStatus,
    pub resolvers: Vec<ResolverStatus>,
    /// Who else has to do with names on this machine.
    pub neighbours: Vec<NeighbourStatus>,
}

/// Where the names are from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableStatus {
    /// Hosts in it.
    pub hosts: usize,
    /// When istiod said it. Seconds since 1970.
    pub at: u64,
    /// Whether it was kept from before, and istiod has not spoken since.
    pub stale: bool,
}

/// What resolvers said, kept.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct CacheStatus {
    pub entries: u64,
    pub bytes: u64,
    /// Those that made room for others.
    pub evicted: u64,
}

/// One of those who are asked about names outside the mesh.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct ResolverStatus {
    pub address: SocketAddr,
    /// `udp` or `tls`.
    pub transport: String,
    /// `new`, `good`, `slow`, `silent` or `looping`.
    pub state: String,
    /// What an answer takes as a rule, in microseconds.
    pub srtt_us: Option<u32>,
    pub asked: u64,
    pub answered: u64,
    pub failed: u64,
    pub last_error: Option<String>,
    /// What is asked of it comes back to the agent.
    pub looping: bool,
    /// The program of this machine that it is.
    pub program: Option<String>,
}

/// Somebody else who has to do with names here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct NeighbourStatus {
    pub who: String,
    pub evidence: String,
    pub meaning: String,
}

/// Why a name resolves as it does, and what else has to do with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explained {
    /// What the agent does with it.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// The names that it goes by.
    pub table: Option<TableStatus>,
    /// Who is asked if it is relayed, in this order.
    pub resolvers: Vec<ResolverStatus>,
    /// Lines of `/etc/hosts` that answer it before anybody is asked.
    pub hosts: Vec<HostsLine>,
    /// Who else has to do with names on this machine.
    pub neighbours: Vec<NeighbourStatus>,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct HostsLine {
    pub line: usize,
    pub address: IpAddr,
}

impl Dns {
    /// Why a name resolves as it does; none, if that is no name.
    pub(super) fn explain(&self, name: &str, kind: u16) -> Option<Explained> {
        let explanation = self.proxy.explain(name, kind)?;
        let mut resolvers = self.resolvers();
        // As they are asked: those that are behind others by what is known of them come later.
        let behind = |state: &str| ["slow", "silent", "looping"].iter().position(|it| *it == state);
        resolvers.sort_by_key(|it| behind(&it.state).map_or(0, |place| place + 1));
        Some(Explained::of(explanation, self.table(), resolvers, self.split))
    }

    pub(super) fn status(&self) -> DnsStatus {
        let totals = self.proxy.totals();
        DnsStatus {
            listen: self.listen.clone(),
            names: totals.names,
            table: self.table(),
            queries: totals.queries,
            answered: totals.answered,
            cached: totals.cached,
            stale: totals.stale,
            upstream: totals.upstream,
            refused: totals.refused,
            forbidden: totals.forbidden,
            relayed: totals.relayed,
            relay_failed: totals.relay_failed,
            shed: totals.shed,
            in_flight: totals.in_flight,
            cache: CacheStatus {
                entries: totals.cache_entries,
                bytes: totals.cache_bytes,
                evicted: totals.cache_evicted,
            },
            resolvers: self.resolvers(),
            neighbours: neighbours(self.split),
        }
    }

    pub(super) fn table(&self) -> Option<TableStatus> {
        let known = self.proxy.names()?;
        Some(TableStatus::of(&known.names, known.since, known.stale))
    }

    pub(super) fn resolvers(&self) -> Vec<ResolverStatus> {
        let here = neighbours::look(&Machine { root: Path::new("/"), split: self.split });
        let program = |address| neighbours::behind(&here, address).map(|who| who.to_string());
        let resolvers = self.proxy.resolvers().into_iter();
        resolvers
            .map(|resolver| ResolverStatus {
                address: resolver.address,
                transport: resolver.transport.to_owned(),
                state: resolver.state.to_owned(),
                srtt_us: resolver.srtt_us,
                asked: resolver.asked,
                answered: resolver.answered,
                failed: resolver.failed,
                last_error: resolver.last_error,
                looping: resolver.looping,
                program: program(resolver.address.ip()),
            })
            .collect()
    }
}

impl TableStatus {
    pub(crate) fn of(names: &Names, since: SystemTime, stale: bool) -> Self {
        Self { hosts: names.len(), at: seconds(since), stale }
    }
}

impl ResolverStatus {
    /// One of whom nothing is known.
    pub(crate) fn unasked(upstream: &Upstream) -> Self {
        Self {
            address: upstream.address,
            transport: if upstream.tls.is_some() { "tls" } else { "udp" }.to_owned(),
            state: "new".to_owned(),
            srtt_us: None,
            asked: 0,
            answered: 0,
            failed: 0,
            last_error: None,
            looping: false,
            program: None,
        }
    }
}

impl Explained {
    /// With what this machine's files say of it.
    pub fn of(
        explanation: Explanation,
        table: Option<TableStatus>,
        resolvers: Vec<ResolverStatus>,
        split: bool,
    ) -> Self {
        let line = |it: neighbours::Shadow| HostsLine { line: it.line, address: it.address };
        let hosts = neighbours::shadows(Path::new("/"), &explanation.name).into_iter();
        let (hosts, neighbours) = (hosts.map(line).collect(), neighbours(split));
        Self { explanation, table, resolvers, hosts, neighbours }
    }
}

/// Who else has to do with names on this machine.
fn neighbours(split: bool) -> Vec<NeighbourStatus> {
    let found = neighbours::look(&Machine { root: Path::new("/"), split });
    let status = |it: neighbours::Neighbour| NeighbourStatus {
        who: it.who.to_string(),
        evidence: it.evidence,
        meaning: it.meaning.to_owned(),
    };
    found.into_iter().map(status).collect()
}
