//! Endpoints, case by case.

use serde_json::{Value, json};

use super::*;

fn host(health: &Value) -> Value {
    json!({
        "address": { "socket_address": { "address": "10.0.0.1", "port_value": 8080 } },
        "health_status": health,
        "weight": 1,
        "locality": { "region": "eu", "zone": "eu-1" },
    })
}

fn only(health: &Value) -> Endpoint {
    let status = json!({ "name": "a", "host_statuses": [host(health)] });
    all(&serde_json::from_value(status).unwrap(), None).remove(0)
}

#[test]
fn somebody_is_well_unless_istiod_or_envoy_says_otherwise() {
    let cases = [
        (json!({}), Health::Well),
        (json!({ "eds_health_status": "HEALTHY" }), Health::Well),
        (json!({ "eds_health_status": "UNKNOWN" }), Health::Well),
        (json!({ "eds_health_status": "DEGRADED" }), Health::Degraded),
        (json!({ "eds_health_status": "UNHEALTHY" }), Health::Ill("istiod says so".to_owned())),
        (json!({ "eds_health_status": "DRAINING" }), Health::Ill("draining".to_owned())),
        (
            json!({ "failed_outlier_check": true }),
            Health::Ill("put aside for its errors".to_owned()),
        ),
        (
            json!({ "failed_active_health_check": true }),
            Health::Ill("failed its health check".to_owned()),
        ),
    ];
    for (health, expected) in cases {
        assert_eq!(only(&health).health, expected, "{health}");
    }
    assert_eq!(only(&json!({})).line(), "10.0.0.1:8080 healthy, eu/eu-1");
}

#[test]
fn gateways_are_known_by_their_port_and_by_being_nobodys_workload() {
    let of = |port: u16, metadata: Value| Endpoint {
        port: Some(port),
        metadata: serde_json::from_value(json!({ "filter_metadata": metadata })).unwrap(),
        ..only(&json!({}))
    };
    let sealed = |workload: &str| json!({ SOCKET: { "tlsMode": "istio" }, "istio": { "workload": workload } });
    assert!(of(15443, json!({})).is_gateway());
    assert!(of(31443, sealed(";;;;cluster2")).is_gateway());
    assert!(!of(8080, sealed("hello-0;demo;hello;;Kubernetes")).is_gateway());
    assert!(!of(8080, json!({})).is_gateway());
    let known = of(8080, sealed("hello-0;demo;hello;;Kubernetes"));
    assert_eq!(known.workload().as_deref(), Some("hello-0.demo"));
    assert!(known.line().contains("hello-0.demo"));
}

#[test]
fn everybody_is_called_when_nobody_is_well_unless_that_is_forbidden() {
    let panicking = |value: Value| panics(&serde_json::from_value(value).unwrap());
    assert!(panicking(json!({})));
    assert!(panicking(
        json!({ "common_lb_config": { "healthy_panic_threshold": { "value": 10 } } })
    ));
    assert!(!panicking(json!({ "common_lb_config": { "healthy_panic_threshold": {} } })));
}

#[test]
fn what_istiod_says_of_an_endpoint_is_found_by_its_address() {
    let said = json!({ "cluster_name": "a", "endpoints": [{ "lb_endpoints": [{
        "endpoint": { "address": { "socket_address": { "address": "10.0.0.1", "port_value": 8080 } } },
        "metadata": { "filter_metadata": { "istio": { "workload": "w;n;c;;k" } } },
    }] }] });
    let status = json!({ "name": "a", "host_statuses": [host(&json!({}))] });
    let said = serde_json::from_value(said).unwrap();
    let all = all(&serde_json::from_value(status).unwrap(), Some(&said));
    assert_eq!(all[0].workload().as_deref(), Some("w.n"));
}
