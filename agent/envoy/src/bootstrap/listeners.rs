//! What Envoy listens on before istiod has told it of anything: readiness and statistics.
//!
//! Both stay open to whoever asks when Envoy is short of connections or memory, which is when
//! somebody asks.

use std::net::IpAddr;

use hawser_node::Ports;
use serde_json::{Value, json};

use super::{
    addresses::{Addresses, socket_address},
    clusters,
    proxy_config::ProxyConfig,
};

pub(super) fn all(
    ports: Ports,
    addresses: &Addresses,
    proxy_config: &ProxyConfig<'_>,
) -> Vec<Value> {
    let (stats, other_stats) = if proxy_config.metrics_on_loopback_only() {
        (addresses.loopback, addresses.other_loopback)
    } else {
        (addresses.wildcard, addresses.other_wildcard)
    };
    let mut filters = Vec::new();
    if proxy_config.stats_compression() {
        filters.extend(COMPRESSORS.map(compressor));
    }
    filters.push(router());
    let stats_path = manager("stats", "/stats/prometheus", clusters::ADMIN, &filters);
    let ready_path = manager("agent", "/healthz/ready", clusters::AGENT, &[router()]);
    vec![
        listener((stats, other_stats), ports.prometheus, &stats_path),
        listener((addresses.wildcard, addresses.other_wildcard), ports.status, &ready_path),
    ]
}

fn listener((ip, other): (IpAddr, Option<IpAddr>), port: u16, filter: &Value) -> Value {
    let mut listener = json!({
        "name": format!("{ip}_{port}"),
        "address": socket_address(ip, port),
        "ignore_global_conn_limit": true,
        "bypass_overload_manager": true,
        "filter_chains": [{"filters": [filter]}],
    });
    if let (Some(listener), Some(other)) = (listener.as_object_mut(), other) {
        let more = json!([{"address": socket_address(other, port)}]);
        listener.insert("additional_addresses".into(), more);
    }
    listener
}

/// HTTP that leads one path to one cluster.
fn manager(stat_prefix: &str, path: &str, cluster: &str, filters: &[Value]) -> Value {
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "codec_type": "AUTO",
            "stat_prefix": stat_prefix,
            "route_config": {"virtual_hosts": [{
                "name": "backend",
                "domains": ["*"],
                "routes": [{"match": {"prefix": path}, "route": {"cluster": cluster}}],
            }]},
            "http_filters": filters,
        },
    })
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    })
}

fn compressor((algorithm, message): (&str, &str)) -> Value {
    let types = STATS_TYPES.map(|media_type| json!({"exact": media_type}));
    json!({
        "name": format!("envoy.filters.http.compressor.{algorithm}"),
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor",
            "compressor_library": {
                "name": format!("stats_{algorithm}"),
                "typed_config": {
                    "@type": format!("type.googleapis.com/envoy.extensions.compression.{algorithm}.compressor.v3.{message}"),
                },
            },
            "response_direction_config": {"common_config": {"content_type_matcher": types}},
        },
    })
}

/// Best first; the scraper's `accept-encoding` decides. With the names of Envoy's messages.
const COMPRESSORS: [(&str, &str); 3] = [("brotli", "Brotli"), ("zstd", "Zstd"), ("gzip", "Gzip")];

/// What statistics come as. An Envoy that does not know the field they are put in goes by its own
/// list, which has the first of them.
const STATS_TYPES: [&str; 4] = [
    "text/plain",
    "application/vnd.google.protobuf",
    "application/openmetrics-text",
    "application/openmetrics-protobuf",
];
