//! What is known of the machine before it introduces itself.
//!
//! Filled in by whoever reads the configuration: nothing here looks at the environment, at a
//! file or at the network.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::Value;

/// Everything a [`Node`](crate::Node) is made from.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The machine's addresses; the first is the one the mesh reaches the workload at.
    pub ips: Vec<IpAddr>,
    /// `POD_NAME`: the machine's short host name.
    pub name: String,
    /// `POD_NAMESPACE`.
    pub namespace: String,
    /// Last part of the node id; `NAMESPACE.svc.cluster.local` if there is none.
    pub domain: Option<String>,
    /// `SERVICE_ACCOUNT`.
    pub service_account: Option<String>,
    /// `ISTIO_META_*` of the environment, by what follows the prefix. They win over those in
    /// the proxy configuration's `proxyMetadata`.
    pub meta: BTreeMap<String, String>,
    /// `ISTIO_METAJSON_*` in order, by what follows the prefix. The keys of each object become
    /// metadata, a later one wins; `LABELS` gives the workload's labels as well.
    pub meta_json: Vec<(String, String)>,
    /// Labels of `./etc/istio/pod/labels`, where there is such a file.
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations of `./etc/istio/pod/annotations`, where there is such a file.
    pub pod_annotations: BTreeMap<String, String>,
    /// The effective ProxyConfig in proto3 JSON: camelCase names, zero values left out.
    pub proxy_config: Value,
    /// `DNS_PROXY_ADDR`, if it was set.
    pub dns_proxy_addr: Option<String>,
    /// Where Envoy answers for itself.
    pub ports: Ports,
    /// `ENVOY_SKIP_DEPRECATED_LOGS`.
    pub skip_deprecated_logs: bool,
    /// `PEER_METADATA_DISCOVERY`, if it was set; otherwise it follows `ENABLE_HBONE`.
    pub metadata_discovery: Option<bool>,
    /// `WORKLOAD_IDENTITY_SOCKET_FILE`: file name of the SDS socket.
    pub workload_identity_socket: String,
    /// The Istio version this agent behaves like. istiod decides by it what to send, so it is
    /// Istio's numbering (`1.32.0`), not the agent's own.
    pub istio_version: String,
}

/// Ports of Envoy that are named in metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// `ENVOY_STATUS_PORT`: readiness, asked by the outside.
    pub status: u16,
    /// `ENVOY_PROMETHEUS_PORT`: statistics.
    pub prometheus: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { status: 15021, prometheus: 15090 }
    }
}
