//! Listeners.

use serde::Deserialize;

use super::{Address, Present, RouteConfig, Socket};

/// A listener, in `dynamic_listeners` or `static_listeners`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are Envoy's")]
pub struct ListenerDump {
    pub name: String,
    pub active_state: Option<State>,
    pub warming_state: Option<State>,
    pub error_state: Option<Refused>,
    /// Where it is static.
    pub listener: Option<Listener>,
}

impl ListenerDump {
    /// What takes connections now.
    pub fn active(self) -> Option<Listener> {
        self.active_state.map(|state| state.listener).or(self.listener)
    }
}

/// What it is at the moment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct State {
    pub listener: Listener,
}

/// What Envoy has said of something that it did not take.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Refused {
    pub details: String,
    pub last_update_attempt: String,
}

/// The name and the places of a listener, in `/listeners`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Listening {
    pub name: String,
    pub local_address: Address,
    pub additional_local_addresses: Vec<Address>,
}

/// A listener.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Listener {
    pub name: String,
    pub address: Address,
    pub filter_chains: Vec<Chain>,
    pub default_filter_chain: Option<Chain>,
    pub listener_filters: Vec<Filter>,
    pub use_original_dst: Option<bool>,
    pub bind_to_port: Option<bool>,
}

/// A chain of filters.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Chain {
    pub name: String,
    pub filter_chain_match: ChainMatch,
    pub filters: Vec<Filter>,
    pub transport_socket: Option<Socket>,
}

/// For which connections a chain is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct ChainMatch {
    pub destination_port: Option<u32>,
    pub prefix_ranges: Vec<Range>,
    pub server_names: Vec<String>,
    pub transport_protocol: String,
    pub application_protocols: Vec<String>,
    pub direct_source_prefix_ranges: Vec<Range>,
    pub source_type: String,
    pub source_prefix_ranges: Vec<Range>,
    pub source_ports: Vec<u32>,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Range {
    pub address_prefix: String,
    pub prefix_len: u8,
}

/// A filter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Filter {
    pub name: String,
    pub typed_config: FilterConfig,
}

/// What filters that end a chain are told: for HTTP, and for octets.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct FilterConfig {
    #[serde(rename = "@type")]
    pub kind: String,
    pub rds: Option<Rds>,
    pub route_config: Option<RouteConfig>,
    pub scoped_routes: Option<Present>,
    pub strip_matching_host_port: bool,
    pub strip_any_host_port: bool,
    pub cluster: String,
    pub weighted_clusters: Option<WeightedClusters>,
}

/// Routes that come apart from their listener.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Rds {
    pub route_config_name: String,
}

/// Clusters that share requests or connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct WeightedClusters {
    pub clusters: Vec<Weighted>,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Weighted {
    pub name: String,
    pub weight: Option<u32>,
}

impl FilterConfig {
    /// Whether it is of this type.
    pub fn is(&self, name: &str) -> bool {
        self.kind.rsplit('.').next() == Some(name)
    }
}
