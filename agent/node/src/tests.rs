//! The node of a machine that joined with the files of `istioctl x workload entry configure`,
//! and what happens to it when something else is said.

use std::collections::BTreeMap;

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::{Facts, Node, Ports};

/// `cluster.env` of group `foo` in namespace `bar`, revision `rev-1`, without labels and ports.
const CLUSTER_ENV: &str = r#"
CANONICAL_REVISION='latest'
CANONICAL_SERVICE='foo'
CA_ADDR='istiod-rev-1.istio-system.svc:15012'
ISTIO_INBOUND_PORTS='*'
ISTIO_LOCAL_EXCLUDE_PORTS='22,15090,15021,15020'
ISTIO_METAJSON_LABELS='{"service.istio.io/canonical-name":"foo","service.istio.io/canonical-revision":"latest"}'
ISTIO_META_CLUSTER_ID='Kubernetes'
ISTIO_META_DNS_CAPTURE='true'
ISTIO_META_MESH_ID=''
ISTIO_META_NETWORK=''
ISTIO_META_WORKLOAD_NAME='foo'
ISTIO_NAMESPACE='bar'
ISTIO_SERVICE='foo.bar'
ISTIO_SERVICE_CIDR='*'
ISTIO_SVC_IP='10.10.10.10'
POD_NAMESPACE='bar'
SERVICE_ACCOUNT='vm-serviceaccount'
TRUST_DOMAIN=''
"#;

/// What `mesh.yaml` of the same machine says, over the defaults, with Istio's `PROXY_CONFIG`.
fn proxy_config() -> Value {
    json!({
        "configPath": "./etc/istio/proxy",
        "binaryPath": "/usr/local/bin/envoy",
        "serviceCluster": "foo.bar",
        "drainDuration": "45s",
        "terminationDrainDuration": "5s",
        "discoveryAddress": "istiod-rev-1.istio-system.svc:15012",
        "proxyAdminPort": 15000,
        "controlPlaneAuthPolicy": "MUTUAL_TLS",
        "statNameLength": 189,
        "statusPort": 15020,
        "proxyMetadata": {
            "CANONICAL_REVISION": "latest",
            "CANONICAL_SERVICE": "foo",
            "ISTIO_META_CLUSTER_ID": "Kubernetes",
            "ISTIO_META_DNS_CAPTURE": "true",
            "ISTIO_META_MESH_ID": "",
            "ISTIO_META_NETWORK": "",
            "ISTIO_META_WORKLOAD_NAME": "foo",
            "ISTIO_METAJSON_LABELS": r#"{"service.istio.io/canonical-name":"foo","service.istio.io/canonical-revision":"latest"}"#,
            "POD_NAMESPACE": "bar",
            "SERVICE_ACCOUNT": "vm-serviceaccount",
            "TRUST_DOMAIN": "",
        },
        "readinessProbe": {"httpGet": {"port": 8080}},
    })
}

/// The facts of that machine.
pub(crate) fn facts() -> Facts {
    let env: BTreeMap<&str, &str> = CLUSTER_ENV
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key, value.trim_matches('\'')))
        .collect();
    let after = |prefix: &'static str| {
        env.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, *value)))
    };
    Facts {
        ips: vec![env["ISTIO_SVC_IP"].parse().unwrap()],
        name: "vm-1".into(),
        namespace: env["POD_NAMESPACE"].into(),
        domain: None,
        service_account: Some(env["SERVICE_ACCOUNT"].into()),
        meta: after("ISTIO_META_").map(|(key, value)| (key.into(), value.into())).collect(),
        meta_json: after("ISTIO_METAJSON_")
            .map(|(key, value)| (key.into(), value.into()))
            .collect(),
        pod_labels: BTreeMap::new(),
        pod_annotations: BTreeMap::new(),
        proxy_config: proxy_config(),
        dns_proxy_addr: None,
        ports: Ports::default(),
        skip_deprecated_logs: true,
        metadata_discovery: None,
        workload_identity_socket: "socket".into(),
        istio_version: "1.32.0".into(),
    }
}

/// The facts, with one variable more.
fn with_meta(key: &str, value: &str) -> Facts {
    let mut facts = facts();
    facts.meta.insert(key.into(), value.into());
    facts
}

fn with_json(variable: &str, text: &str) -> Facts {
    let mut facts = facts();
    facts.meta_json.push((variable.into(), text.into()));
    facts
}

/// The node, which must not have cost a warning.
fn node(facts: &Facts) -> Node {
    let (node, warnings) = Node::new(facts).unwrap();
    assert_eq!(warnings, []);
    node
}

/// The metadata and the one warning.
fn dropped(facts: &Facts) -> (serde_json::Map<String, Value>, String) {
    let (node, warnings) = Node::new(facts).unwrap();
    let [warning] = warnings.as_slice() else { panic!("one warning expected: {warnings:?}") };
    (node.metadata, warning.to_string())
}

#[test]
fn a_machine_that_joined_with_the_files_of_istioctl() {
    let node = node(&facts());

    assert_eq!(node.id, "sidecar~10.10.10.10~vm-1.bar~bar.svc.cluster.local");
    assert_eq!(node.cluster, "foo.bar");
    assert_json_snapshot!(node.to_json());
}

#[test]
fn a_machine_with_everything() {
    let mut facts = facts();
    facts.ips.extend(
        ["10.10.10.11", "fd00::1", "10.10.10.10"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()),
    );
    facts.meta.extend(
        [
            ("AUTO_REGISTER_GROUP", "foo"),
            ("NETWORK", "vm-network"),
            ("POD_PORTS", r#"[{"name":"http","containerPort":8080,"protocol":""}]"#),
            ("ENABLE_HBONE", "1"),
            ("ENABLE_SELF_DISCOVERY", "f"),
            ("LOAD_STATS_CONFIG_JSON", "{}"),
        ]
        .map(|(key, value)| (key.into(), value.into())),
    );
    facts
        .meta_json
        .push(("X".into(), r#"{"ANNOTATIONS": {"a": "1"}, "depth": {"n": 1.5}}"#.into()));
    facts.pod_labels = BTreeMap::from([
        ("pod-template-hash".into(), "h".into()),
        ("topology.istio.io/locality".into(), "r.z.s".into()),
    ]);
    facts.pod_annotations = BTreeMap::from([("b".into(), "2".into())]);
    facts.dns_proxy_addr = Some("127.0.0.1:15053".into());

    assert_json_snapshot!(node(&facts).to_json());
}

#[test]
fn the_environment_wins_over_proxy_metadata_and_an_object_over_both() {
    let environment = with_meta("NETWORK", "environment");
    let mut object = environment.clone();
    object.meta_json.push(("X".into(), r#"{"NETWORK": "first"}"#.into()));
    object.meta_json.push(("Y".into(), r#"{"NETWORK": "object"}"#.into()));
    let mut proxy_metadata = facts();
    proxy_metadata.meta.remove("NETWORK");
    proxy_metadata.proxy_config["proxyMetadata"]["ISTIO_META_NETWORK"] = "proxy metadata".into();

    assert_eq!(node(&proxy_metadata).metadata["NETWORK"], "proxy metadata");
    assert_eq!(node(&environment).metadata["NETWORK"], "environment");
    assert_eq!(node(&object).metadata["NETWORK"], "object");
}

#[test]
fn labels_that_fold_to_a_key_of_istiod_stay_labels_only() {
    let facts = with_json("LABELS", r#"{"network": "n", "name": "m", "team": "t"}"#);

    let metadata = node(&facts).metadata;

    assert_eq!(metadata["LABELS"], json!({"network": "n", "name": "m", "team": "t"}));
    assert_eq!(metadata["STATIC_LABELS"], metadata["LABELS"]);
    assert_eq!(metadata["team"], "t");
    assert_eq!((&metadata["NETWORK"], &metadata["NAME"]), (&"".into(), &"vm-1".into()));
    assert!(!metadata.contains_key("network") && !metadata.contains_key("name"));
}

#[test]
fn a_locality_label_is_written_back_with_slashes() {
    let facts = with_json("LABELS", r#"{"istio-locality": "r.z"}"#);

    let node = node(&facts);

    assert_eq!(node.to_json()["locality"], json!({"region": "r", "zone": "z"}));
    assert_eq!(node.metadata["LABELS"]["istio-locality"], "r/z");
    assert_eq!(node.metadata["STATIC_LABELS"]["istio-locality"], "r/z");
    assert_eq!(node.metadata["istio-locality"], "r.z");
}

#[test]
fn what_cannot_be_understood_is_left_out_and_named() {
    let cases = [
        (
            with_meta("DNS_CAPTURE", ""),
            "DNS_CAPTURE",
            r#"ISTIO_META_DNS_CAPTURE = "": expected "true" or "false""#,
        ),
        (
            with_meta("POD_PORTS", "80,81"),
            "POD_PORTS",
            r#"ISTIO_META_POD_PORTS = "80,81": expected a JSON array of {"name", "containerPort", "protocol"}, as one string"#,
        ),
        (
            with_meta("network", "n"),
            "network",
            r#"ISTIO_META_network = "n": expected the key in capitals, as istiod spells it"#,
        ),
        (
            with_json("X", r#"{"NETWORK": 7}"#),
            "NETWORK",
            r#"ISTIO_METAJSON_X["NETWORK"] = "7": expected a string"#,
        ),
        (
            with_json("X", r#"{"DNS_CAPTURE": true}"#),
            "DNS_CAPTURE",
            r#"ISTIO_METAJSON_X["DNS_CAPTURE"] = "true": expected "true" or "false""#,
        ),
        (
            with_json("LABELS", r#"{"version": 1}"#),
            "version",
            r#"ISTIO_METAJSON_LABELS["version"] = "1": expected a string, in quotes"#,
        ),
        (with_json("X", "{"), "X", r#"ISTIO_METAJSON_X = "{": expected a JSON object"#),
        (with_json("X", "[]"), "X", r#"ISTIO_METAJSON_X = "[]": expected a JSON object"#),
        (
            with_json("X", r#"{"ANNOTATIONS": "a=b"}"#),
            "ANNOTATIONS",
            r#"ISTIO_METAJSON_X["ANNOTATIONS"] = "a=b": expected a JSON object of strings"#,
        ),
    ];

    for (facts, key, expected) in cases {
        let (metadata, warning) = dropped(&facts);
        assert_eq!(warning, expected);
        assert!(!metadata.contains_key(key), "{key} is still there");
    }
}

#[test]
fn nobody_overrides_what_the_agent_says_itself() {
    let (metadata, warning) = dropped(&with_meta("INSTANCE_IPS", "1.2.3.4"));

    assert_eq!(
        warning,
        r#"ISTIO_META_INSTANCE_IPS = "1.2.3.4": expected nothing: the agent sets this itself"#
    );
    assert_eq!(metadata["INSTANCE_IPS"], "10.10.10.10");
}

#[test]
fn a_value_from_an_object_that_means_nothing_is_no_value() {
    let metadata = node(&with_json("X", r#"{"NETWORK": null, "free": null}"#)).metadata;

    assert!(!metadata.contains_key("NETWORK"));
    assert_eq!(metadata["free"], Value::Null);
}

#[test]
fn istiod_is_named_only_if_it_has_to_prove_itself() {
    let cases = [
        ("istiod.istio-system.svc:15012", "MUTUAL_TLS", Some("istiod.istio-system.svc")),
        ("localhost:15012", "MUTUAL_TLS", Some("istiod.istio-system.svc")),
        ("[fd00::1]:15012", "MUTUAL_TLS", Some("fd00::1")),
        ("istiod.istio-system.svc:15010", "NONE", None),
    ];

    for (address, policy, expected) in cases {
        let mut facts = facts();
        facts.proxy_config["discoveryAddress"] = address.into();
        facts.proxy_config["controlPlaneAuthPolicy"] = policy.into();
        let expected = expected.map(|name| json!([name]));
        assert_eq!(node(&facts).metadata.get("PILOT_SAN"), expected.as_ref());
    }
}

#[test]
fn metadata_discovery_follows_hbone_unless_it_is_set() {
    let cases = [
        (None, "false", "false"),
        (None, "true", "true"),
        (Some(false), "true", "false"),
        (Some(true), "false", "true"),
    ];

    for (set, hbone, expected) in cases {
        let facts = Facts { metadata_discovery: set, ..with_meta("ENABLE_HBONE", hbone) };
        assert_eq!(node(&facts).metadata["METADATA_DISCOVERY"], expected);
    }
}

#[test]
fn a_version_that_was_set_stays() {
    assert_eq!(node(&with_meta("ISTIO_VERSION", "1.30.1")).metadata["ISTIO_VERSION"], "1.30.1");
    assert_eq!(node(&with_meta("ISTIO_VERSION", "")).metadata["ISTIO_VERSION"], "1.32.0");
}

#[test]
fn a_proxy_configuration_that_is_no_object_is_an_error() {
    let facts = Facts { proxy_config: Value::Null, ..facts() };

    assert_eq!(Node::new(&facts), Err(crate::Error::ProxyConfig));
}

#[test]
fn what_istiod_has_no_use_for_is_not_among_what_it_knows() {
    let facts = with_json("X", r#"{"free": 1, "NETWORK": "n"}"#);

    let known = node(&facts).known_metadata();

    assert_eq!((&known["NETWORK"], &known["NAME"]), (&"n".into(), &"vm-1".into()));
    for key in ["free", "service.istio.io/canonical-name", "MESH_ID"] {
        assert!(!known.contains_key(key), "{key}");
    }
}
