//! Golden documents, and what each option changes in them.

use std::collections::BTreeMap;

use hawser_node::{Facts, Ports};
use insta::assert_json_snapshot;

use super::*;

fn node() -> Node {
    let meta = [("AUTO_REGISTER_GROUP", "foo"), ("MESH_ID", ""), ("NETWORK", "vm"), ("free", "x")];
    let facts = Facts {
        ips: vec!["10.0.0.5".parse().unwrap()],
        name: "vm-1".into(),
        namespace: "bar".into(),
        domain: None,
        service_account: Some("default".into()),
        meta: BTreeMap::from(meta.map(|(key, value)| (key.into(), value.into()))),
        meta_json: vec![("LABELS".into(), r#"{"istio-locality": "r.z", "app": "foo"}"#.into())],
        pod_labels: BTreeMap::new(),
        pod_annotations: BTreeMap::new(),
        proxy_config: json!({"serviceCluster": "foo.bar"}),
        dns_proxy_addr: None,
        ports: Ports::default(),
        skip_deprecated_logs: true,
        metadata_discovery: None,
        workload_identity_socket: "socket".into(),
        istio_version: "1.32.0".into(),
    };
    Node::new(&facts).unwrap().0
}

fn options() -> Options {
    Options {
        xds_socket: "/run/hawser/xds.sock".into(),
        certificates: Some("/etc/certs".into()),
        registers: false,
    }
}

#[test]
fn a_program_beside_envoy() {
    assert_json_snapshot!(bootstrap(&options(), &node()));
}

#[test]
fn without_certificates_there_is_no_provider_of_them() {
    let options = Options { certificates: None, ..options() };

    let mut expected = bootstrap(&self::options(), &node());
    expected.as_object_mut().unwrap().remove("certificate_providers").unwrap();
    assert_eq!(bootstrap(&options, &node()), expected);
}

#[test]
fn a_machine_without_envoy_is_registered_by_its_programs() {
    let options = Options { registers: true, ..options() };

    let mut expected = bootstrap(&self::options(), &node());
    expected["node"]["metadata"]["AUTO_REGISTER_GROUP"] = "foo".into();
    assert_eq!(bootstrap(&options, &node()), expected);
}
