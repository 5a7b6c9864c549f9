//! What the agent says of itself: one snapshot, asked for over two doors.
//!
//! [`admin`] gives the whole of it to whoever may open a Unix socket; [`health`] says over HTTP
//! whether this machine is ready, which is all that Envoy's status port needs. Neither reads
//! anything from whoever asks that could change anything.

pub mod admin;
pub mod health;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_dns::Counts as DnsCounts;
use hawser_envoy::supervise::{EnvoyState, Phase};
use hawser_identity::Progress;
use hawser_pki::Identity;
use hawser_proto::istio::nds::NameTable;
use hawser_rt::Gates;
use hawser_xds::{Exchange, Seen};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Where every fact of a snapshot comes from.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The node id.
    pub node: String,
    /// Where istiod is.
    pub istiod: String,
    /// What is not ready yet.
    pub gates: Gates,
    /// The identity that is served.
    pub identity: watch::Receiver<Option<Arc<Identity>>>,
    /// How obtaining the next one goes.
    pub progress: watch::Receiver<Progress>,
    /// The names that istiod has sent.
    pub names: watch::Receiver<Option<Arc<NameTable>>>,
    /// What passes between istiod, the agent and Envoy.
    pub seen: Seen,
    /// What Envoy has asked for and taken of its secrets.
    pub secrets: Arc<hawser_sds::Counts>,
    /// The DNS proxy, if there is one: where it listens, and what it has done.
    pub dns: Option<(Vec<SocketAddr>, Arc<DnsCounts>)>,
    /// Envoy's admin interface.
    pub admin: SocketAddr,
    /// Envoy's life, if the agent leads it.
    pub envoy: Option<watch::Receiver<EnvoyState>>,
}

/// Whether the agent does what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Ready,
    /// Something is still missing.
    Starting,
}

/// Everything that `hawser status` shows. Fields are added, and never change their meaning.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Snapshot {
    pub version: String,
    pub state: State,
    pub waits_for: Vec<String>,
    pub node: String,
    pub identity: IdentityStatus,
    pub istiod: IstiodStatus,
    pub names: Option<usize>,
    pub secrets: SecretStatus,
    pub relay: RelayStatus,
    pub dns: Option<DnsStatus>,
    pub envoy: EnvoyStatus,
}

/// The certificate that is served.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct IdentityStatus {
    pub spiffe_id: Option<String>,
    /// Seconds since 1970.
    pub not_after: Option<u64>,
    /// Seconds; below zero if it has expired.
    pub expires_in: Option<i64>,
    pub trouble: Option<String>,
}

/// The agent's own stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct IstiodStatus {
    pub address: String,
    pub connected: bool,
    /// Seconds since 1970.
    pub since: Option<u64>,
    pub trouble: Option<String>,
}

/// What Envoy has of its certificates.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct SecretStatus {
    pub streams: u64,
    pub accepted: u64,
    pub rejected: u64,
}

/// What Envoy has of its configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct RelayStatus {
    pub streams: usize,
    /// Those that istiod has answered on.
    pub joined: usize,
    pub trouble: Option<String>,
    pub types: BTreeMap<String, TypeStatus>,
}

/// The last response of one type.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct TypeStatus {
    /// The last that was passed to Envoy.
    pub sent: Option<VersionStatus>,
    /// The last that Envoy has taken.
    pub accepted: Option<VersionStatus>,
    pub responses: u64,
    pub rejections: u64,
    /// Why Envoy refused the last one that it refused.
    pub rejected: Option<String>,
}

impl TypeStatus {
    /// Whether Envoy works with something older than what was sent last.
    pub fn sent_is_refused(&self) -> bool {
        let version = |of: &Option<VersionStatus>| of.as_ref().map(|it| it.version.clone());
        self.rejections > 0 && version(&self.sent) != version(&self.accepted)
    }
}

/// A version of the resources of a type.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct VersionStatus {
    pub version: String,
    pub resources: usize,
    /// Seconds since 1970.
    pub at: u64,
}

/// The DNS proxy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct DnsStatus {
    pub listen: Vec<SocketAddr>,
    /// Names that are answered, aliases and search domains included.
    pub names: u64,
    pub queries: u64,
    pub answered: u64,
    pub relayed: u64,
    pub relay_failed: u64,
}

/// Envoy, as far as the agent knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct EnvoyStatus {
    pub admin: SocketAddr,
    /// `elsewhere` if the agent does not lead its life.
    pub state: String,
    pub pid: Option<u32>,
    pub restarts: u64,
}

impl Facts {
    /// What holds at this moment.
    pub fn snapshot(&self, now: SystemTime) -> Snapshot {
        let waits_for: Vec<String> = self.gates.closed().into_iter().map(str::to_owned).collect();
        let standing = self.seen.standing();
        Snapshot {
            version: crate::VERSION.to_owned(),
            state: if waits_for.is_empty() { State::Ready } else { State::Starting },
            waits_for,
            node: self.node.clone(),
            identity: self.identity(now),
            istiod: self.istiod(&standing.names),
            names: self.names.borrow().as_ref().map(|names| names.table.len()),
            secrets: SecretStatus {
                streams: self.secrets.streams(),
                accepted: self.secrets.accepted(),
                rejected: self.secrets.rejected(),
            },
            relay: relay(standing),
            dns: self.dns.as_ref().map(|(listen, counts)| dns(listen, counts)),
            envoy: self.envoy(),
        }
    }

    /// Whether everything that has to be there is there.
    pub fn ready(&self) -> bool {
        self.gates.closed().is_empty()
    }

    fn identity(&self, now: SystemTime) -> IdentityStatus {
        let identity = self.identity.borrow().clone();
        let not_after = identity.as_ref().map(|identity| seconds(identity.not_after()));
        let left = not_after.map(|end| end.cast_signed() - seconds(now).cast_signed());
        IdentityStatus {
            spiffe_id: identity.map(|identity| identity.spiffe_id().to_string()),
            not_after,
            expires_in: left,
            trouble: self.progress.borrow().trouble(),
        }
    }

    fn istiod(&self, names: &hawser_xds::Names) -> IstiodStatus {
        let away = names.joined.is_none();
        IstiodStatus {
            address: self.istiod.clone(),
            connected: !away,
            since: names.joined.map(seconds),
            trouble: names.failure.as_ref().filter(|_| away).map(|failure| failure.error.clone()),
        }
    }

    fn envoy(&self) -> EnvoyStatus {
        let state = self.envoy.as_ref().map(|state| state.borrow().clone());
        let (word, pid) = match state.as_ref().map(|state| state.phase) {
            None => ("elsewhere", None),
            Some(Phase::Starting) => ("starting", None),
            Some(Phase::Running { pid }) => ("running", Some(pid)),
            Some(Phase::Restarting { .. }) => ("restarting", None),
            Some(Phase::Stopping { pid }) => ("stopping", Some(pid)),
            Some(Phase::Stopped) => ("stopped", None),
        };
        EnvoyStatus {
            admin: self.admin,
            state: word.to_owned(),
            pid,
            restarts: state.map_or(0, |state| state.restarts),
        }
    }
}

fn relay(standing: hawser_xds::Standing) -> RelayStatus {
    let trouble = standing.failure.filter(|_| standing.joined == 0);
    RelayStatus {
        streams: standing.streams,
        joined: standing.joined,
        trouble: trouble.map(|failure| failure.error),
        types: standing.types.into_iter().map(|(type_url, seen)| (type_url, seen.into())).collect(),
    }
}

impl From<Exchange> for TypeStatus {
    fn from(seen: Exchange) -> Self {
        Self {
            sent: seen.sent.map(Into::into),
            accepted: seen.accepted.map(Into::into),
            responses: seen.responses,
            rejections: seen.rejections,
            rejected: seen.rejected.map(|rejection| rejection.error),
        }
    }
}

impl From<hawser_xds::Version> for VersionStatus {
    fn from(seen: hawser_xds::Version) -> Self {
        Self { version: seen.version, resources: seen.resources, at: seconds(seen.at) }
    }
}

fn dns(listen: &[SocketAddr], counts: &DnsCounts) -> DnsStatus {
    let totals = counts.totals();
    DnsStatus {
        listen: listen.to_vec(),
        names: totals.names,
        queries: totals.queries,
        answered: totals.answered,
        relayed: totals.relayed,
        relay_failed: totals.relay_failed,
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

impl fmt::Display for DnsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for address in &self.listen {
            write!(f, "{address} ")?;
        }
        write!(f, "{} answered, {} relayed", self.answered, self.relayed)?;
        if self.relay_failed > 0 {
            write!(f, ", {} failed", self.relay_failed)?;
        }
        Ok(())
    }
}

impl fmt::Display for EnvoyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        if let Some(pid) = self.pid {
            write!(f, " (pid {pid})")?;
        }
        if self.restarts > 0 {
            write!(f, ", restarted {} times", self.restarts)?;
        }
        write!(f, ", admin at {}", self.admin)
    }
}
