//! The variables of a bundle, of any content, made into a node.

#![no_main]

use hawser::config::{envfile, proxy};
use hawser_node::{Facts, Node, Ports};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok((node, _warnings)) = Node::new(&facts(text)) else { return };

    let parts: Vec<_> = node.id.split('~').collect();
    assert_eq!(parts.len(), 4, "{}", node.id);
    assert!(parts.iter().all(|part| !part.is_empty()), "{}", node.id);
    assert_eq!(parts[1], node.ips[0].to_string());
    assert!(node.metadata.get("LABELS").is_none_or(Value::is_object));
    let _json = node.to_json();
});

/// What the agent makes of an environment file.
fn facts(text: &str) -> Facts {
    let mut facts = Facts {
        ips: vec!["10.0.0.5".parse().expect("an address")],
        name: "vm".into(),
        namespace: "vms".into(),
        domain: None,
        service_account: None,
        meta: Default::default(),
        meta_json: Vec::new(),
        pod_labels: Default::default(),
        pod_annotations: Default::default(),
        proxy_config: Value::Object(Default::default()),
        dns_proxy_addr: None,
        ports: Ports::default(),
        skip_deprecated_logs: false,
        metadata_discovery: None,
        workload_identity_socket: "socket".into(),
        istio_version: "1.32.0".into(),
    };
    for envfile::Assignment { name, value, .. } in envfile::parse(text).0 {
        if let Some(key) = name.strip_prefix("ISTIO_META_") {
            facts.meta.insert(key.into(), value);
        } else if let Some(key) = name.strip_prefix("ISTIO_METAJSON_") {
            facts.meta_json.push((key.into(), value));
        } else if name == "PROXY_CONFIG" {
            facts.proxy_config = proxy::of_variable(&value).unwrap_or_default().into();
        } else if name == "POD_NAME" {
            facts.name = value;
        } else if name == "POD_NAMESPACE" {
            facts.namespace = value;
        } else if name == "DNS_PROXY_ADDR" {
            facts.dns_proxy_addr = Some(value);
        }
    }
    facts
}
