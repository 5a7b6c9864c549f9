//! What there is to say of configuration, names and Envoy.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hawser_envoy::{
    admin::Admin,
    readiness::Verdict,
    supervise::{EnvoyState, Phase},
};
use hawser_lastgood::PROGRAM;
use hawser_proto::Names;
use hawser_rt::Chain;
use hawser_xds::{Exchange, Seen};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    dns::{Dns, DnsStatus},
    seconds,
    services::ServicesStatus,
    web::PATIENCE,
};
use crate::{drain::Drain, maintenance::Maintenance, services::Standing};

/// Where every fact comes from.
#[derive(Debug, Clone)]
pub struct Mesh {
    /// The names that istiod has sent.
    pub names: watch::Receiver<Option<Names>>,
    /// What passes between istiod, the agent and Envoy.
    pub seen: Seen,
    /// What Envoy took last, on disk.
    pub kept: watch::Receiver<hawser_lastgood::Standing>,
    /// The filters whose modules were not to be had, if the agent fetches modules.
    pub replaced: Option<watch::Receiver<hawser_wasm::AllReplaced>>,
    /// How many strangers were refused at the door.
    pub refused: Arc<AtomicU64>,
    /// Whether the workload is well, if somebody looks.
    pub health: watch::Receiver<hawser_health::Verdict>,
    /// Whether the machine is being taken out of the mesh.
    pub drain: Drain,
    /// Whether somebody has the machine in maintenance.
    pub maintenance: Maintenance,
    /// The file of services, if there is one.
    pub services: Option<watch::Receiver<Arc<Standing>>>,
    /// The DNS proxy, if there is one.
    pub dns: Option<Dns>,
    /// Envoy's admin interface.
    pub admin: SocketAddr,
    /// Envoy's life, if the agent leads it.
    pub envoy: Option<watch::Receiver<EnvoyState>>,
}

/// All of it, or nothing on a machine that only keeps certificates.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) services: Option<ServicesStatus>,
    pub(super) istiod: Option<IstiodStatus>,
    pub(super) names: Option<usize>,
    pub(super) relay: Option<RelayStatus>,
    pub(super) health: Option<HealthStatus>,
    pub(super) dns: Option<DnsStatus>,
    pub(super) envoy: Option<EnvoyStatus>,
    /// Since when istiod answers Envoy's streams.
    pub(super) joined: Option<u64>,
    pub(super) draining: Option<String>,
}

/// The agent's own stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct IstiodStatus {
    pub address: String,
    pub connected: bool,
    /// Seconds since 1970.
    pub since: Option<u64>,
    pub trouble: Option<String>,
    /// The endpoint and the address that answer, or did last.
    #[serde(default)]
    pub peer: Option<String>,
    /// When it has last sent anything, of whatever type.
    #[serde(default)]
    pub heard: Option<u64>,
    /// Since when there was no good answer.
    #[serde(default)]
    pub away: Option<u64>,
    /// How often another address than the one before has answered.
    #[serde(default)]
    pub failovers: u64,
}

/// What Envoy has of its configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct RelayStatus {
    pub streams: usize,
    /// Those that istiod has answered on.
    pub joined: usize,
    /// Those of programs that speak xDS themselves.
    pub programs: usize,
    /// Which istiod answers, or did last.
    pub source: Option<String>,
    /// Attempts since istiod last answered.
    pub attempts: u64,
    pub trouble: Option<String>,
    /// Set while Envoy works with what it took before, and nobody confirms it.
    pub stale: Option<StaleStatus>,
    /// What Envoy cannot load.
    pub lacks: Vec<LacksStatus>,
    /// Filters that Envoy was given something else for.
    pub replaced: Vec<ReplacedStatus>,
    /// What programs have refused, and not taken since.
    pub refusing: Vec<RefusingStatus>,
    /// Messages that were none, and were kept from Envoy.
    pub unreadable: u64,
    /// Strangers who wanted to connect.
    pub refused_peers: u64,
    pub kept: KeptStatus,
    pub types: BTreeMap<String, TypeStatus>,
}

/// What istiod is told of the workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthStatus {
    /// While it is not, the mesh sends no traffic here.
    pub well: bool,
    /// Why it is not.
    pub reason: Option<String>,
}

/// Configuration that may not hold any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StaleStatus {
    /// When Envoy took the oldest part of it. Seconds since 1970.
    pub of: u64,
    /// Since when nobody confirms it.
    pub since: u64,
}

/// A part of the configuration that Envoy cannot load.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct LacksStatus {
    pub place: String,
    pub name: String,
    pub type_url: String,
    /// Whether Envoy is given it all the same, and refuses what holds it.
    pub passes: bool,
}

/// A program that refuses its configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct RefusingStatus {
    pub program: String,
    pub type_url: String,
    pub reason: String,
}

/// A filter whose module is not to be had.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct ReplacedStatus {
    pub name: String,
    /// Nothing passes; else everything does.
    pub stops: bool,
    pub reason: String,
}

/// What Envoy took last, on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct KeptStatus {
    pub bytes: u64,
    pub resources: usize,
    pub trouble: Option<String>,
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
    /// It has not taken since what it refused.
    pub refuses: bool,
    /// Resources of it that are kept of what Envoy took; null where nothing is kept of it.
    #[serde(default)]
    pub kept: Option<usize>,
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

/// Envoy, as far as the agent knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct EnvoyStatus {
    pub admin: SocketAddr,
    /// `elsewhere` if the agent does not lead its life.
    pub state: String,
    pub pid: Option<u32>,
    pub restarts: u64,
    /// What it says at its admin interface; null where nobody is to be asked.
    #[serde(default)]
    pub says: Option<SaysStatus>,
}

/// What Envoy says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SaysStatus {
    /// Whether it serves what istiod has told it.
    pub ready: bool,
    /// `LIVE`, `DRAINING`, `PRE_INITIALIZING` or `INITIALIZING`; null if it does not answer.
    pub server: Option<String>,
    /// Its version without the commit and the kind of its build.
    pub version: Option<String>,
    /// Why it is not ready.
    pub reason: Option<String>,
}

impl Mesh {
    /// What holds at this moment; Envoy is asked where there has to be one.
    pub(super) async fn status(&self, address: &str, ask: bool) -> Status {
        let says = if ask { Some(says(self.admin).await) } else { None };
        let standing = self.seen.standing();
        let services = self.services.as_ref().map(|file| ServicesStatus::of(&file.borrow()));
        let alone = services.as_ref().is_some_and(ServicesStatus::is_alone);
        Status {
            istiod: (!alone).then(|| istiod(address, &standing)),
            services,
            joined: standing.since.map(seconds),
            draining: self.drain.reason().map(str::to_owned),
            names: self.names.borrow().as_ref().map(Names::len),
            relay: Some(self.relay(standing)),
            health: self
                .health
                .borrow()
                .clone()
                .map(|verdict| HealthStatus { well: verdict.is_ok(), reason: verdict.err() }),
            dns: self.dns.as_ref().map(Dns::status),
            envoy: Some(self.envoy(says)),
        }
    }

    fn relay(&self, standing: hawser_xds::Standing) -> RelayStatus {
        let types = standing.exchanges().into_iter();
        let trouble = standing.failure.filter(|_| standing.joined == 0);
        RelayStatus {
            streams: standing.streams,
            joined: standing.joined,
            programs: standing.programs,
            source: standing.source,
            attempts: standing.attempts,
            trouble: trouble.map(|failure| failure.error),
            stale: standing
                .stale
                .map(|stale| StaleStatus { of: seconds(stale.of), since: seconds(stale.since) }),
            lacks: standing.lacks.into_iter().map(Into::into).collect(),
            replaced: self.replaced(),
            refusing: standing.refusing.into_iter().map(refusing).collect(),
            unreadable: standing.unreadable,
            refused_peers: self.refused.load(Ordering::Relaxed),
            kept: self.kept(),
            types: types.map(|(type_url, seen)| self.exchange(type_url, seen)).collect(),
        }
    }

    fn exchange(&self, type_url: String, seen: Exchange) -> (String, TypeStatus) {
        let standing = self.kept.borrow();
        let books = standing.books.iter().filter(|(key, _)| !key.ends_with(PROGRAM));
        let kept = books.filter_map(|(_, types)| types.get(&type_url)).map(|kept| kept.resources);
        let status = TypeStatus { kept: kept.max(), ..seen.into() };
        (type_url, status)
    }

    fn replaced(&self) -> Vec<ReplacedStatus> {
        let all = self.replaced.as_ref().map(|all| all.borrow().clone()).unwrap_or_default();
        let status = |(name, it): (String, hawser_wasm::Replaced)| ReplacedStatus {
            name,
            stops: it.stops,
            reason: it.reason,
        };
        all.into_iter().map(status).collect()
    }

    fn kept(&self) -> KeptStatus {
        let kept = self.kept.borrow();
        let types = kept.books.values().flat_map(BTreeMap::values);
        KeptStatus {
            bytes: kept.bytes,
            resources: types.map(|kept| kept.resources).sum(),
            trouble: kept.trouble.clone(),
        }
    }

    fn envoy(&self, says: Option<SaysStatus>) -> EnvoyStatus {
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
            says,
        }
    }
}

fn istiod(address: &str, standing: &hawser_xds::Standing) -> IstiodStatus {
    let names = &standing.names;
    let away = names.joined.is_none();
    IstiodStatus {
        address: address.to_owned(),
        connected: !away,
        since: names.joined.map(seconds),
        trouble: names.failure.as_ref().filter(|_| away).map(|failure| failure.error.clone()),
        peer: names.peer.clone(),
        heard: standing.heard().map(seconds),
        away: names.away.map(seconds),
        failovers: names.failovers,
    }
}

/// What Envoy says of itself, or that it says nothing.
async fn says(admin: SocketAddr) -> SaysStatus {
    let admin = Admin::new(admin).with_limit(PATIENCE);
    let (verdict, info) = tokio::join!(admin.readiness(), admin.server_info());
    let reason = match verdict {
        Ok(Verdict::Ready) => None,
        Ok(Verdict::NotReady(reason)) => Some(reason.to_string()),
        Err(error) => Some(Chain(&error).to_string()),
    };
    let info = info.ok();
    let number = |version: &str| version.split('/').nth(1).unwrap_or(version).to_owned();
    SaysStatus {
        ready: reason.is_none(),
        server: info.as_ref().map(|info| info.state.to_string()),
        version: info.map(|info| number(&info.version)),
        reason,
    }
}

/// The last part of a type URL, which is the part that people say.
pub(crate) fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or(type_url)
}

fn refusing(
    ((program, type_url), refused): ((String, String), hawser_xds::Rejection),
) -> RefusingStatus {
    RefusingStatus { program, type_url, reason: refused.error }
}

impl From<hawser_xds::Lacks> for LacksStatus {
    fn from(lacks: hawser_xds::Lacks) -> Self {
        let hawser_xds::Lacks { place, name, type_url, passes } = lacks;
        Self { place, name, type_url, passes }
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
            refuses: seen.refuses,
            kept: None,
        }
    }
}

impl From<hawser_xds::Version> for VersionStatus {
    fn from(seen: hawser_xds::Version) -> Self {
        Self { version: seen.version, resources: seen.resources, at: seconds(seen.at) }
    }
}
