//! Clusters, who is in them, and how they are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Address, Metadata, Present, StringMatch};

/// A cluster, in `dynamic_active_clusters` and the like.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are Envoy's")]
pub struct ClusterDump {
    pub cluster: Cluster,
}

/// A cluster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Cluster {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub cluster_type: Option<Custom>,
    pub lb_policy: Option<String>,
    pub load_balancing_policy: Option<Policies>,
    pub connect_timeout: Option<String>,
    pub common_lb_config: Common,
    pub transport_socket: Option<Socket>,
    pub transport_socket_matches: Vec<SocketMatch>,
    pub metadata: Metadata,
}

/// A kind of cluster that Envoy does not know by itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Custom {
    pub name: String,
}

/// How requests are shared out, said in the newer way.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Policies {
    pub policies: Vec<Policy>,
}

/// One way of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Policy {
    pub typed_extension_config: Custom,
}

/// What holds for every way.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Common {
    pub healthy_panic_threshold: Option<Panic>,
}

/// Below how many in a hundred who are well everybody is called, well or not.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Panic {
    pub value: f64,
}

/// A way to talk, for endpoints of which this is said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct SocketMatch {
    pub name: String,
    pub r#match: BTreeMap<String, Value>,
    pub transport_socket: Socket,
}

/// A way to talk.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Socket {
    pub name: String,
    pub typed_config: Tls,
}

/// Over TLS; what it is for others is empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Tls {
    #[serde(rename = "@type")]
    pub kind: String,
    pub sni: String,
    pub auto_host_sni: bool,
    pub common_tls_context: Context,
    /// Of a socket around another one.
    pub transport_socket: Option<Box<Socket>>,
}

/// What both sides of TLS say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Context {
    pub alpn_protocols: Vec<String>,
    pub tls_certificates: Vec<Present>,
    pub tls_certificate_sds_secret_configs: Vec<Secret>,
    pub validation_context: Option<Validation>,
    pub validation_context_sds_secret_config: Option<Secret>,
    pub combined_validation_context: Option<Combined>,
}

/// A secret that comes apart.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Secret {
    pub name: String,
}

/// Who is believed: roots that come apart, and names that are here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Combined {
    pub default_validation_context: Validation,
    pub validation_context_sds_secret_config: Option<Secret>,
}

/// Who is believed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Validation {
    pub match_typed_subject_alt_names: Vec<NameMatch>,
    pub match_subject_alt_names: Vec<StringMatch>,
}

/// A name in a certificate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct NameMatch {
    pub san_type: String,
    pub matcher: StringMatch,
}

/// How it is with a cluster, in `/clusters`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct ClusterStatus {
    pub name: String,
    pub host_statuses: Vec<Host>,
}

/// One who is in it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Host {
    pub address: Address,
    pub hostname: String,
    pub health_status: HealthStatus,
    pub weight: u32,
    pub locality: Locality,
    pub priority: u32,
}

/// What speaks against it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct HealthStatus {
    pub eds_health_status: Option<String>,
    pub failed_active_health_check: bool,
    pub failed_outlier_check: bool,
    pub failed_active_degraded_check: bool,
    pub pending_dynamic_removal: bool,
    pub pending_active_hc: bool,
    pub excluded_via_immediate_hc_fail: bool,
    pub active_hc_timeout: bool,
}

/// Where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

/// Who istiod says is in a cluster, in `dynamic_endpoint_configs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct EndpointDump {
    pub endpoint_config: Assignment,
}

/// All of a cluster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Assignment {
    pub cluster_name: String,
    pub endpoints: Vec<LocalityEndpoints>,
}

/// Those at a place.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct LocalityEndpoints {
    pub lb_endpoints: Vec<LbEndpoint>,
}

/// One of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct LbEndpoint {
    pub endpoint: Endpoint,
    pub metadata: Metadata,
}

/// Where it is reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Endpoint {
    pub address: Address,
}
