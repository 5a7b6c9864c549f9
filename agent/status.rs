//! What the agent says of itself, over HTTP and two doors.
//!
//! [`admin`] gives all of it to whoever may open a Unix socket; [`port`] says whether this machine
//! is ready, which is what Envoy's status port needs, and shows what is counted. Neither takes
//! anything from whoever asks that could change anything.

pub mod admin;
pub mod advice;
mod crowd;
pub mod dns;
#[cfg(test)]
pub(crate) mod examples;
pub mod identity;
pub mod lacks;
mod maintenance;
pub mod mesh;
pub mod metrics;
mod ndsz;
pub mod past;
pub mod port;
pub mod registration;
pub mod services;
pub mod units;
mod vips;
mod web;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_node::Node;
use hawser_rt::{
    Gates,
    metrics::{Kind, Registry, Sample},
    uds::Claim,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::{
    advice::Trouble,
    past::{Past, PastStatus},
    registration::RegistrationStatus,
    units::UnitsStatus,
};
use crate::{Reloads, config::paths::Paths};

pub use self::{
    dns::DnsStatus,
    identity::IdentityStatus,
    mesh::{EnvoyStatus, HealthStatus, IstiodStatus, Mesh, RelayStatus, TypeStatus, VersionStatus},
    services::ServicesStatus,
};

/// Where every fact of a snapshot comes from.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Where the files are.
    pub paths: Paths,
    /// Whether something of this machine's traffic is to be redirected.
    pub redirects: bool,
    /// Who the machine is, which changes with its address.
    pub node: watch::Receiver<Arc<Node>>,
    /// Where istiod is.
    pub istiod: String,
    /// What is not ready yet.
    pub gates: Gates,
    /// The certificate, and the way to the next.
    pub identity: identity::Facts,
    /// What Envoy has asked for and taken of its secrets.
    pub secrets: Arc<hawser_sds::Counts>,
    /// What the parts count.
    pub metrics: Registry,
    /// How much is logged, and what was told last.
    pub log: crate::log::Log,
    /// What was found of it all when somebody asked for what is counted.
    pub found: metrics::Found,
    /// Since when the agent runs, and what was before it.
    pub past: Arc<Past>,
    /// What of the settings does not hold yet.
    pub settings: Arc<watch::Sender<Reloads>>,
    /// What there is besides certificates, if there is.
    pub mesh: Option<Mesh>,
}

/// Whether the agent does what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Ready,
    /// It does, and something is wrong: [`Snapshot::troubles`] says what.
    Degraded,
    /// Something is still missing.
    Starting,
    /// The machine is being taken out of the mesh, since its Envoy is to stop.
    Draining,
    /// Somebody has taken the machine out of the mesh.
    Maintenance,
    /// Nobody answers; said by the command line alone.
    Down,
}

/// Everything that `hawser status` shows. Fields are added, and never change their meaning:
/// packaging/docs/status.schema.json describes them. Times are seconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Snapshot {
    pub version: String,
    pub pid: u32,
    pub state: State,
    pub waits_for: Vec<String>,
    /// When this was said, and since when the agent runs.
    #[serde(default)]
    pub at: u64,
    #[serde(default)]
    pub since: u64,
    /// The agents before this one, since the service was started.
    #[serde(default)]
    pub past: PastStatus,
    /// What of the settings does not hold yet: `systemctl reload hawser` has not taken it over.
    #[serde(default)]
    pub settings: Reloads,
    /// Why the machine is being taken out of the mesh, while it is.
    #[serde(default)]
    pub draining: Option<String>,
    /// While somebody has taken the machine out of the mesh.
    #[serde(default)]
    pub maintenance: Option<crate::maintenance::Spell>,
    /// What is wrong, and what to do: the first is the first to mend.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    pub node: String,
    pub identity: IdentityStatus,
    pub secrets: SecretStatus,
    /// Null where there is no file of services.
    #[serde(default)]
    pub services: Option<ServicesStatus>,
    /// Null on a machine without istiod, whose services are all in a file. This and what follows is
    /// null on a machine that only keeps certificates.
    pub istiod: Option<IstiodStatus>,
    pub names: Option<usize>,
    pub relay: Option<RelayStatus>,
    /// As what istiod knows the machine.
    #[serde(default)]
    pub registration: Option<RegistrationStatus>,
    /// Null where nobody probes the workload, or nobody knows yet.
    pub health: Option<HealthStatus>,
    pub dns: Option<DnsStatus>,
    pub envoy: Option<EnvoyStatus>,
    #[serde(default)]
    pub units: UnitsStatus,
    #[serde(default)]
    pub wanted: Wanted,
}

/// What there has to be on this machine besides the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// An Envoy: the agent leads its life, or its unit has been started.
    pub envoy: bool,
    /// Rules that lead traffic to it.
    pub rules: bool,
}

/// What Envoy has of its certificates.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct SecretStatus {
    pub streams: u64,
    pub accepted: u64,
    pub rejected: u64,
}

impl Facts {
    /// What holds at this moment.
    pub async fn snapshot(&self, now: SystemTime) -> Snapshot {
        let identity = self.identity.status(now).await;
        let waits_for: Vec<String> = self.gates.closed().into_iter().map(str::to_owned).collect();
        let node = self.node.borrow().clone();
        let wanted = self.wanted();
        let mesh = match &self.mesh {
            Some(mesh) => mesh.status(&self.istiod, wanted.envoy).await,
            None => mesh::Status::default(),
        };
        let mut snapshot = Snapshot {
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            state: State::Starting,
            waits_for,
            at: seconds(now),
            since: self.past.since,
            past: self.past.status(),
            settings: self.settings.borrow().clone(),
            draining: mesh.draining,
            maintenance: self.mesh.as_ref().and_then(|mesh| mesh.maintenance.spell()),
            troubles: Vec::new(),
            node: node.id.clone(),
            identity,
            secrets: SecretStatus {
                streams: self.secrets.streams(),
                accepted: self.secrets.accepted(),
                rejected: self.secrets.rejected(),
            },
            registration: mesh.istiod.as_ref().map(|_| RegistrationStatus::of(&node, mesh.joined)),
            services: mesh.services,
            istiod: mesh.istiod,
            names: mesh.names,
            relay: mesh.relay,
            health: mesh.health,
            dns: mesh.dns,
            envoy: mesh.envoy,
            units: UnitsStatus::read(&self.paths),
            wanted,
        };
        snapshot.troubles = advice::troubles(&snapshot);
        snapshot.state = advice::state(&snapshot);
        snapshot
    }

    /// What there has to be besides the agent. Elsewhere than on an installed machine there need
    /// not be anybody who loads rules.
    fn wanted(&self) -> Wanted {
        let Some(mesh) = &self.mesh else { return Wanted::default() };
        let installed = self.paths.is_system() && mesh.envoy.is_none();
        Wanted {
            envoy: mesh.envoy.is_some() || self.paths.envoy_run().is_dir(),
            rules: self.redirects && (installed || self.paths.intercept_run().is_dir()),
        }
    }

    /// Whether everything that has to be there is there.
    pub fn ready(&self) -> bool {
        self.gates.closed().is_empty()
    }
}

/// Counts how often the file of a socket was taken away, and the socket bound again.
pub(crate) fn count_doors(metrics: &Registry, claims: Vec<Claim>) {
    let help = "Sockets that were bound again because their file was removed or replaced.";
    let sample = |claim: &Claim| {
        let name = claim.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
        Sample { labels: vec![("socket", name)], value: claim.again() as f64 }
    };
    let samples = move || claims.iter().map(sample).collect();
    metrics.read("hawser_sockets_bound_again", help, Kind::Counter, samples);
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
