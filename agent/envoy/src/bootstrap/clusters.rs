//! What Envoy talks to before istiod has told it of anything: the agent and itself.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    Options,
    addresses::{Addresses, socket_address},
};

/// The agent's configuration server.
pub(super) const XDS: &str = "xds-grpc";
/// The agent's status server.
pub(super) const AGENT: &str = "agent";
/// Envoy's own admin interface.
pub(super) const ADMIN: &str = "prometheus_stats";
/// The agent's certificate server; istiod's listeners and clusters refer to it by this name.
const SDS: &str = "sds-grpc";

pub(super) fn all(options: &Options, addresses: &Addresses) -> Vec<Value> {
    let tcp = |port| socket_address(addresses.loopback, port);
    let status = cluster(ADMIN, "0.250s", &tcp(options.admin_port), Map::new());
    let agent = cluster(
        AGENT,
        "0.250s",
        &socket_address(options.agent.ip(), options.agent.port()),
        Map::new(),
    );
    let sds = cluster(SDS, "1s", &pipe(&options.sds_socket), http2(json!({})));
    let xds = cluster(XDS, "1s", &pipe(&options.xds_socket), xds_settings());
    vec![status, agent, sds, xds]
}

/// One endpoint that never changes. The `;` is where [`super::stats`] finds the end of the name.
fn cluster(name: &str, connect_timeout: &str, address: &Value, more: Map<String, Value>) -> Value {
    let mut cluster = json!({
        "name": name,
        "alt_stat_name": format!("{name};"),
        "type": "STATIC",
        "connect_timeout": connect_timeout,
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    });
    if let Some(cluster) = cluster.as_object_mut() {
        cluster.extend(more);
    }
    cluster
}

/// Limits that no number of streams reaches, and a connection for each stream, so that none waits
/// for another.
fn xds_settings() -> Map<String, Value> {
    let unlimited = |priority: &str| {
        json!({
            "priority": priority,
            "max_connections": 100_000,
            "max_pending_requests": 100_000,
            "max_requests": 100_000,
        })
    };
    let mut settings = http2(json!({"max_requests_per_connection": 1}));
    settings.insert(
        "circuit_breakers".into(),
        json!({"thresholds": [unlimited("DEFAULT"), unlimited("HIGH")]}),
    );
    settings.insert(
        "upstream_connection_options".into(),
        json!({"tcp_keepalive": {"keepalive_time": 300}}),
    );
    settings
}

fn http2(common: Value) -> Map<String, Value> {
    let mut options = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    if let (Some(options), Value::Object(common)) = (options.as_object_mut(), common)
        && !common.is_empty()
    {
        options.insert("common_http_protocol_options".into(), common.into());
    }
    let options = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
    Map::from_iter([("typed_extension_protocol_options".to_owned(), options)])
}

fn pipe(path: &Path) -> Value {
    json!({"pipe": {"path": path.to_string_lossy()}})
}
