//! Who is in a cluster, who of them is well, and who is a gateway into another network.

use serde_json::{Value, json};

use super::{
    cluster,
    dump::{Assignment, Cluster, ClusterStatus, HealthStatus, Host, Metadata},
};

/// One who can be called.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where.
    pub address: String,
    /// Its port, where it has one.
    pub port: Option<u16>,
    /// What is said of it.
    pub health: Health,
    /// Region, zone and part of it, as far as said.
    pub locality: String,
    /// Who is called only when those before are not well has a higher number.
    pub priority: u32,
    /// Its share.
    pub weight: u32,
    /// Whether its cluster has nobody but gateways.
    pub only_gateways: bool,
    /// What istiod says beside it.
    pub metadata: Metadata,
}

/// How somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Well.
    Well,
    /// Well enough.
    Degraded,
    /// Not called, for this reason.
    Ill(String),
}

/// Everybody in a cluster: as Envoy has them, with what istiod says of each.
pub fn all(status: &ClusterStatus, assignment: Option<&Assignment>) -> Vec<Endpoint> {
    let said = assignment.into_iter().flat_map(|own| &own.endpoints);
    let said: Vec<_> = said.flat_map(|place| &place.lb_endpoints).collect();
    let of = |host: &Host| {
        let same = said.iter().find(|one| one.endpoint.address == host.address);
        let metadata = same.map(|one| one.metadata.clone()).unwrap_or_default();
        let locality = [&host.locality.region, &host.locality.zone, &host.locality.sub_zone];
        let locality: Vec<&str> =
            locality.iter().map(|part| part.as_str()).filter(|part| !part.is_empty()).collect();
        Endpoint {
            address: host.address.to_string(),
            port: host.address.socket_address.as_ref().map(|own| own.port_value),
            health: health(&host.health_status),
            locality: locality.join("/"),
            priority: host.priority,
            weight: host.weight,
            only_gateways: cluster::of_file(&status.name),
            metadata,
        }
    };
    let mut all: Vec<Endpoint> = status.host_statuses.iter().map(of).collect();
    all.sort_by_key(|one| one.priority);
    all
}

impl Endpoint {
    /// Whether Envoy calls it while somebody like it is there.
    pub fn is_called(&self) -> bool {
        !matches!(self.health, Health::Ill(_))
    }

    /// Whether it is a gateway, behind which those are who answer: on the port that gateways have
    /// for it, or said to be somebody's TLS and nobody's workload.
    pub fn is_gateway(&self) -> bool {
        let workload = self.metadata.text("istio", "workload").map(|said| said.starts_with(';'));
        let sealed = self.metadata.text(SOCKET, "tlsMode") == Some("istio");
        self.only_gateways || self.port == Some(GATEWAY) || sealed && workload == Some(true)
    }

    /// The workload that it is, if istiod says.
    pub fn workload(&self) -> Option<String> {
        let mut parts = self.metadata.text("istio", "workload")?.split(';');
        let (name, namespace) = (parts.next()?, parts.next()?);
        (!name.is_empty()).then(|| format!("{name}.{namespace}"))
    }

    /// In a line.
    pub fn line(&self) -> String {
        let mut text = self.address.clone();
        match &self.health {
            Health::Well => text.push_str(" healthy"),
            Health::Degraded => text.push_str(" degraded"),
            Health::Ill(why) => text.push_str(&format!(" unhealthy ({why})")),
        }
        if let Some(workload) = self.workload() {
            text.push_str(&format!(", {workload}"));
        }
        if !self.locality.is_empty() {
            text.push_str(&format!(", {}", self.locality));
        }
        if self.priority > 0 {
            text.push_str(&format!(", priority {}", self.priority));
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let (health, reason) = match &self.health {
            Health::Well => ("healthy", None),
            Health::Degraded => ("degraded", None),
            Health::Ill(why) => ("unhealthy", Some(why)),
        };
        json!({
            "address": self.address,
            "health": health,
            "reason": reason,
            "locality": self.locality,
            "priority": self.priority,
            "weight": self.weight,
            "gateway": self.is_gateway(),
            "workload": self.workload(),
        })
    }
}

/// Whether a cluster calls everybody when nobody is well.
pub fn panics(cluster: &Cluster) -> bool {
    let threshold = cluster.common_lb_config.healthy_panic_threshold;
    // Half of them, unless somebody says otherwise.
    threshold.is_none_or(|own| own.value > 0.0)
}

fn health(status: &HealthStatus) -> Health {
    let said = status.eds_health_status.as_deref().unwrap_or("HEALTHY");
    let reasons = [
        (matches!(said, "UNHEALTHY" | "DRAINING" | "TIMEOUT"), said),
        (status.failed_active_health_check, "failed its health check"),
        (status.failed_outlier_check, "put aside for its errors"),
        (status.excluded_via_immediate_hc_fail, "failed its health check"),
        (status.pending_dynamic_removal, "about to be removed"),
    ];
    let word = |reason: &str| match reason {
        "UNHEALTHY" => "istiod says so".to_owned(),
        "DRAINING" => "draining".to_owned(),
        "TIMEOUT" => "its health check timed out".to_owned(),
        other => other.to_owned(),
    };
    let reasons: Vec<String> =
        reasons.iter().filter(|(is, _)| *is).map(|(_, why)| word(why)).collect();
    if !reasons.is_empty() {
        return Health::Ill(reasons.join(", "));
    }
    let degraded = said == "DEGRADED" || status.failed_active_degraded_check;
    if degraded { Health::Degraded } else { Health::Well }
}

/// Under which word Envoy looks for what decides how an endpoint is spoken to.
pub const SOCKET: &str = "envoy.transport_socket_match";
/// The port of gateways between networks.
const GATEWAY: u16 = 15443;

#[cfg(test)]
mod tests;
