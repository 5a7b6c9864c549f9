//! What the agent says of itself, over HTTP and two doors.
//!
//! [`admin`] gives all of it to whoever may open a Unix socket; [`health`] says whether this machine
//! is ready, which is what Envoy's status port needs, and shows what is counted. Neither takes
//! anything from whoever asks that could change anything.

pub mod admin;
pub mod dns;
pub mod health;
pub mod identity;
pub mod lacks;
pub mod mesh;
mod ndsz;
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

use self::units::UnitsStatus;
use crate::config::paths::Paths;

pub use self::{
    dns::DnsStatus,
    identity::IdentityStatus,
    mesh::{EnvoyStatus, HealthStatus, IstiodStatus, Mesh, RelayStatus, TypeStatus, VersionStatus},
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
    /// What there is besides certificates, if there is.
    pub mesh: Option<Mesh>,
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
    pub pid: u32,
    pub state: State,
    pub waits_for: Vec<String>,
    pub node: String,
    pub identity: IdentityStatus,
    pub secrets: SecretStatus,
    /// This and what follows is null on a machine that only keeps certificates.
    pub istiod: Option<IstiodStatus>,
    pub names: Option<usize>,
    pub relay: Option<RelayStatus>,
    /// Null where nobody probes the workload, or nobody knows yet.
    pub health: Option<HealthStatus>,
    pub dns: Option<DnsStatus>,
    pub envoy: Option<EnvoyStatus>,
    #[serde(default)]
    pub units: UnitsStatus,
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
        let mesh = self.mesh.as_ref().map(|mesh| mesh.status(&self.istiod));
        let mesh = mesh.unwrap_or_default();
        Snapshot {
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            state: if waits_for.is_empty() { State::Ready } else { State::Starting },
            waits_for,
            node: self.node.borrow().id.clone(),
            identity,
            secrets: SecretStatus {
                streams: self.secrets.streams(),
                accepted: self.secrets.accepted(),
                rejected: self.secrets.rejected(),
            },
            istiod: mesh.istiod,
            names: mesh.names,
            relay: mesh.relay,
            health: mesh.health,
            dns: mesh.dns,
            envoy: mesh.envoy,
            units: UnitsStatus::read(&self.paths),
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
