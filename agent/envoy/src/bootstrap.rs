//! What Envoy starts with: everything that it cannot be told over xDS.
//!
//! Values in, a JSON document out; the same values give the same document. Statistics, ports and
//! clusters carry the names that istiod, dashboards and people's scripts know from Istio.
//!
//! - Nothing is in it that the wanted [`Flavour`] of Envoy refuses to start with.
//! - The agent is reached over absolute socket paths: Envoy's working directory does not matter.
//! - Envoy waits for ever for its first clusters and listeners, and says so on `/ready`.

mod addresses;
mod clusters;
mod listeners;
mod proxy_config;
mod stats;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf};

use hawser_node::{Node, Ports};
use serde_json::{Map, Value, json};

use addresses::Addresses;
use proxy_config::ProxyConfig;

/// Which Envoy the bootstrap is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Upstream's own build.
    Stock,
    /// Istio's build, which has extensions that no other can load.
    Istio,
}

/// How Envoy asks for configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Changes only.
    Delta,
    /// Every resource of a type, at each change of one.
    StateOfTheWorld,
}

/// What a line of Envoy's log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Columns for people.
    Text,
    /// One object for machines.
    Json,
}

/// What the bootstrap says beside who the [`Node`] is and what its ProxyConfig wants.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which Envoy has to accept it.
    pub flavour: Flavour,
    /// How Envoy asks for configuration.
    pub transport: Transport,
    /// `ISTIO_DUAL_STACK`: whether a machine with both families listens on both.
    pub dual_stack: bool,
    /// Where the agent serves configuration; absolute.
    pub xds_socket: PathBuf,
    /// Where the agent serves certificates; absolute.
    pub sds_socket: PathBuf,
    /// Envoy's admin interface, on loopback.
    pub admin_port: u16,
    /// The agent's status server: what Envoy's status port leads to.
    pub agent: SocketAddr,
    /// Where Envoy answers for itself; the same as in the node's metadata.
    pub ports: Ports,
    /// Where a profile asked for over the admin interface goes; absolute.
    pub profile: PathBuf,
    /// What a line of Envoy's log looks like.
    pub log_format: LogFormat,
}

/// Where Envoy's admin interface will be.
pub fn admin_address(options: &Options, node: &Node) -> SocketAddr {
    SocketAddr::new(Addresses::of(&node.ips, options.dual_stack).loopback, options.admin_port)
}

/// The bootstrap document.
pub fn render(options: &Options, node: &Node) -> Value {
    let addresses = Addresses::of(&node.ips, options.dual_stack);
    let proxy_config = ProxyConfig::of(node);
    // Istio's discovery of peers' metadata is a delta-only subscription of an extension.
    let discovery = options.flavour == Flavour::Istio
        && options.transport == Transport::Delta
        && node.metadata.get("METADATA_DISCOVERY").is_some_and(|on| on == "true");
    json!({
        "application_log_config": {"log_format": log_format(options.log_format)},
        "node": node.to_json(),
        "layered_runtime": {"layers": [
            {"name": "global config", "static_layer": runtime(&proxy_config)},
            {"name": "admin", "admin_layer": {}},
        ]},
        "bootstrap_extensions": extensions(discovery),
        "stats_config": stats::config(&proxy_config, &node.ips, discovery),
        "deferred_stat_options": {"enable_deferred_creation_stats": true},
        "admin": {
            "access_log": [{
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": "/dev/null",
                },
            }],
            "profile_path": options.profile.to_string_lossy(),
            "address": addresses::socket_address(addresses.loopback, options.admin_port),
        },
        "dynamic_resources": dynamic_resources(options.transport),
        "static_resources": {
            "clusters": clusters::all(options, &addresses),
            "listeners": listeners::all(options.ports, &addresses, &proxy_config),
        },
        "overload_manager": {"resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": proxy_config.max_connections(),
            },
        }]},
    })
}

fn log_format(format: LogFormat) -> Value {
    match format {
        LogFormat::Text => {
            json!({"text_format": "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t"})
        }
        LogFormat::Json => json!({"json_format": {
            "time": "%Y-%m-%dT%T.%fZ",
            "level": "%l",
            "scope": "envoy %n",
            "msg": "%j",
            "caller": "%g:%#",
            "thread": "%t",
        }}),
    }
}

/// Istio's flags, then the ProxyConfig's own; an empty value takes a flag back.
fn runtime(proxy_config: &ProxyConfig<'_>) -> Map<String, Value> {
    let mut flags = Map::from_iter(
        [
            ("re2.max_program_size.error_level", json!("32768")),
            (
                "envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst",
                json!(true),
            ),
            ("envoy.reloadable_features.http_reject_path_with_fragment", json!(false)),
            ("envoy.reloadable_features.fixed_heap_use_allocated", json!(true)),
            // envoyproxy/envoy#45212
            ("envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update", json!(false)),
        ]
        .map(|(flag, value)| (flag.to_owned(), value)),
    );
    for (flag, value) in proxy_config.runtime_values() {
        match value {
            "" => flags.remove(flag),
            // Envoy refuses a boolean in quotes, and a ProxyConfig has nothing but quotes.
            "true" => flags.insert(flag.to_owned(), true.into()),
            "false" => flags.insert(flag.to_owned(), false.into()),
            text => flags.insert(flag.to_owned(), text.into()),
        };
    }
    flags
}

fn extensions(discovery: bool) -> Vec<Value> {
    let mut extensions = Vec::new();
    if discovery {
        extensions.push(json!({
            "name": "metadata_discovery",
            "typed_config": {
                "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                "type_url": "type.googleapis.com/istio.workload.BootstrapExtension",
                "value": {"config_source": {"ads": {}}},
            },
        }));
    }
    extensions.push(json!({
        "name": "envoy.bootstrap.internal_listener",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            "buffer_size_kb": 64,
        },
    }));
    extensions
}

fn dynamic_resources(transport: Transport) -> Value {
    let over_ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    let api_type = match transport {
        Transport::Delta => "DELTA_GRPC",
        Transport::StateOfTheWorld => "GRPC",
    };
    json!({
        "lds_config": over_ads,
        "cds_config": over_ads,
        "ads_config": {
            "api_type": api_type,
            "set_node_on_first_message_only": true,
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": clusters::XDS}}],
        },
    })
}
