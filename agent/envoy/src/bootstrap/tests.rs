//! Golden documents, and what each option changes in them.

use std::collections::BTreeMap;

use hawser_node::Facts;
use insta::assert_json_snapshot;

use super::*;

fn node(ips: &[&str], proxy_config: Value) -> Node {
    let facts = Facts {
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        name: "vm-1".into(),
        namespace: "bar".into(),
        domain: None,
        service_account: Some("default".into()),
        meta: BTreeMap::new(),
        meta_json: vec![("LABELS".into(), r#"{"istio-locality": "r.z"}"#.into())],
        pod_labels: BTreeMap::new(),
        pod_annotations: BTreeMap::new(),
        proxy_config,
        dns_proxy_addr: None,
        ports: Ports::default(),
        skip_deprecated_logs: true,
        metadata_discovery: Some(true),
        workload_identity_socket: "socket".into(),
        istio_version: "1.32.0".into(),
    };
    Node::new(&facts).unwrap().0
}

fn options() -> Options {
    Options {
        flavour: Flavour::Stock,
        transport: Transport::Delta,
        dual_stack: false,
        xds_socket: "/run/hawser/xds.sock".into(),
        sds_socket: "/run/hawser/sds.sock".into(),
        admin_port: 15000,
        agent: ([127, 0, 0, 1], 15020).into(),
        ports: Ports::default(),
        profile: "/var/lib/hawser/envoy.prof".into(),
        log_format: LogFormat::Text,
    }
}

#[test]
fn stock_v4_delta() {
    assert_json_snapshot!(render(&options(), &node(&["10.0.0.5"], json!({}))));
}

#[test]
fn stock_v4_state_of_the_world() {
    let options = Options { transport: Transport::StateOfTheWorld, ..options() };

    assert_json_snapshot!(render(&options, &node(&["10.0.0.5"], json!({}))));
}

#[test]
fn stock_v6_delta() {
    assert_json_snapshot!(render(&options(), &node(&["fd00::5"], json!({}))));
}

#[test]
fn stock_dual_stack_delta() {
    let options = Options { dual_stack: true, ..options() };

    assert_json_snapshot!(render(&options, &node(&["10.0.0.5", "fd00::5"], json!({}))));
}

#[test]
fn istio_v4_delta() {
    let options = Options { flavour: Flavour::Istio, ..options() };

    assert_json_snapshot!(render(&options, &node(&["10.0.0.5"], json!({}))));
}

#[test]
fn stock_with_everything_a_proxy_config_can_say() {
    let proxy_config = json!({
        "runtimeValues": {
            "envoy.reloadable_features.fixed_heap_use_allocated": "",
            "envoy.reloadable_features.http_reject_path_with_fragment": "true",
            "re2.max_program_size.error_level": "1024",
        },
        "proxyStatsMatcher": {
            "inclusionPrefixes": ["http.{pod_ip}_"],
            "inclusionSuffixes": ["upstream_rq_timeout"],
            "inclusionRegexps": [".*circuit_breakers.*"],
        },
        "extraStatTags": ["request_host", "", "request_host"],
        "statsCompression": false,
        "connectionSettings": {"globalDownstreamConnectionLimit": 5000},
        "proxyMetadata": {"METRICS_LOCALHOST_ACCESS_ONLY": "true"},
        "tracing": {"zipkin": {"address": "zipkin:9411"}},
        "statsdUdpAddress": "statsd:9125",
        "envoyAccessLogService": {"address": "als:9000"},
        "unheardOf": {"by": "us"},
    });
    let options = Options { dual_stack: true, log_format: LogFormat::Json, ..options() };

    assert_json_snapshot!(render(&options, &node(&["fd00::5", "10.0.0.5"], proxy_config)));
}

#[test]
fn discovery_of_peers_needs_istios_envoy_and_delta() {
    let node = node(&["10.0.0.5"], json!({}));
    let cases = [
        (Flavour::Istio, Transport::Delta, true),
        (Flavour::Istio, Transport::StateOfTheWorld, false),
        (Flavour::Stock, Transport::Delta, false),
        (Flavour::Stock, Transport::StateOfTheWorld, false),
    ];

    for (flavour, transport, expected) in cases {
        let document = render(&Options { flavour, transport, ..options() }, &node).to_string();
        assert_eq!(document.contains("istio.workload.BootstrapExtension"), expected);
        assert_eq!(document.contains("workload_discovery"), expected);
    }
}

#[test]
fn the_newest_way_to_limit_connections_wins() {
    let settings = json!({"globalDownstreamConnectionLimit": 1});
    let metadata = json!({"ISTIO_META_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS": "2"});
    let runtime = json!({"overload.global_downstream_max_connections": "3"});
    let cases = [
        (
            json!({"connectionSettings": settings, "proxyMetadata": metadata, "runtimeValues": runtime}),
            1,
        ),
        (json!({"connectionSettings": {}, "proxyMetadata": metadata, "runtimeValues": runtime}), 2),
        (json!({"proxyMetadata": {}, "runtimeValues": runtime}), 3),
        (
            json!({"runtimeValues": {"overload.global_downstream_max_connections": "many"}}),
            2_147_483_647,
        ),
        (json!({"connectionSettings": {"globalDownstreamConnectionLimit": 0}}), 2_147_483_647),
        (json!({}), 2_147_483_647),
    ];

    for (proxy_config, expected) in cases {
        let node = node(&["10.0.0.5"], proxy_config);
        assert_eq!(ProxyConfig::of(&node).max_connections(), expected);
    }
}

#[test]
fn the_admin_address_is_a_literal_loopback() {
    let cases = [
        (vec!["10.0.0.5"], "127.0.0.1:15000"),
        (vec!["fd00::5"], "[::1]:15000"),
        (vec!["fd00::5", "10.0.0.5"], "127.0.0.1:15000"),
    ];

    for (ips, expected) in cases {
        let address = admin_address(&options(), &node(&ips, json!({})));
        assert_eq!(address.to_string(), expected);
    }
}
