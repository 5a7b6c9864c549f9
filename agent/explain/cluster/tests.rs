//! Clusters, and how they talk.

use serde_json::{Value, json};

use super::*;

const TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const RAW: &str = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

fn sealed(names: &[&str]) -> Value {
    let names: Vec<Value> = names
        .iter()
        .map(|name| json!({ "san_type": "URI", "matcher": { "exact": name } }))
        .collect();
    json!({ "name": "tls", "typed_config": {
        "@type": TLS,
        "sni": "outbound_.80_._.hello.demo.svc.cluster.local",
        "common_tls_context": {
            "alpn_protocols": ["istio"],
            "tls_certificate_sds_secret_configs": [{ "name": "default" }],
            "combined_validation_context": {
                "default_validation_context": { "match_typed_subject_alt_names": names },
                "validation_context_sds_secret_config": { "name": "ROOTCA" },
            },
        },
    } })
}

fn cluster(value: Value) -> Cluster {
    serde_json::from_value(value).unwrap()
}

fn said(metadata: &Value) -> Metadata {
    serde_json::from_value(json!({ "filter_metadata": metadata })).unwrap()
}

#[test]
fn an_endpoint_is_spoken_to_as_what_is_said_of_it_has_it() {
    let own = cluster(json!({ "transport_socket_matches": [
        { "name": "tlsMode-istio", "match": { "tlsMode": "istio" }, "transport_socket": sealed(&["spiffe://a"]) },
        { "name": "tlsMode-disabled", "match": {}, "transport_socket": { "typed_config": { "@type": RAW } } },
    ] }));
    let istio = way(&own, &said(&json!({ SOCKET: { "tlsMode": "istio" } })));
    let Way::Sealed(seal) = istio else { panic!("{istio:?}") };
    assert!(seal.mutual && seal.verified);
    assert_eq!((seal.names, seal.alpn), (vec!["spiffe://a".to_owned()], vec!["istio".to_owned()]));
    assert_eq!(way(&own, &said(&json!({}))), Way::Plain);
    assert_eq!(way(&cluster(json!({})), &said(&json!({}))), Way::Plain);
}

#[test]
fn one_socket_is_for_all_and_one_around_another_is_looked_through() {
    let own = cluster(json!({ "transport_socket": sealed(&[]) }));
    assert!(matches!(way(&own, &Metadata::default()), Way::Sealed(seal) if seal.names.is_empty()));
    let around = json!({ "typed_config": { "@type": "x.v3.UpstreamProxyProtocol", "transport_socket": sealed(&[]) } });
    let own = cluster(json!({ "transport_socket": around }));
    assert!(matches!(way(&own, &Metadata::default()), Way::Sealed(_)));
}

#[test]
fn names_may_be_said_in_the_older_way_and_by_a_part() {
    let context = json!({ "match_subject_alt_names": [{ "exact": "a.example.com" }, { "suffix": ".example.org" }] });
    let own = cluster(json!({ "transport_socket": { "typed_config": {
        "@type": TLS, "common_tls_context": { "validation_context": context },
    } } }));
    let Way::Sealed(seal) = way(&own, &Metadata::default()) else { panic!("plain") };
    assert!(!seal.mutual && seal.verified);
    assert_eq!(seal.names, ["a.example.com", "*.example.org"]);
}

#[test]
fn a_clusters_name_has_port_subset_and_host() {
    assert_eq!(parts("outbound|80|v1|hello.demo"), Some(("80", "v1", "hello.demo")));
    assert_eq!(parts("hawser/80/v1/hello.demo"), Some(("80", "v1", "hello.demo")));
    assert_eq!(parts("hawser/80//hello.demo"), Some(("80", "", "hello.demo")));
    assert_eq!(parts("xds-grpc"), None);
    let own = cluster(json!({ "type": "EDS", "lb_policy": "LEAST_REQUEST" }));
    assert_eq!((kind(&own), sharing(&own)), ("EDS", "LEAST_REQUEST"));
    assert_eq!(
        (kind(&cluster(json!({}))), sharing(&cluster(json!({})))),
        ("STATIC", "ROUND_ROBIN")
    );
}
