//! Paths through what an Envoy of a machine with interception has, and where they break.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::explain::dump;

/// An Envoy that has this.
#[derive(Default)]
struct Has {
    listeners: Vec<Value>,
    refused: Vec<Value>,
    routes: Vec<Value>,
    clusters: Vec<Value>,
    warming: Vec<Value>,
    hosts: Vec<Value>,
    endpoints: Vec<Value>,
}

impl Answers for Has {
    async fn lists<T: DeserializeOwned + Send + 'static>(
        &self,
        path: String,
        list: &'static str,
        wanted: impl Fn(&T) -> bool + Send + 'static,
    ) -> Result<Vec<T>, Error> {
        let all = |kind: &str| path.contains(kind);
        let elements: Vec<Value> = if path.starts_with("/listeners") {
            let place =
                |own: &Value| json!({ "name": own["name"], "local_address": own["address"] });
            self.listeners.iter().map(place).collect()
        } else if path.starts_with("/clusters") {
            self.hosts.clone()
        } else if all("mask=name") {
            self.refused.clone()
        } else if all("=dynamic_listeners") {
            let dump =
                |own: &Value| json!({ "name": own["name"], "active_state": { "listener": own } });
            self.listeners.iter().map(dump).collect()
        } else if all("=dynamic_route_configs") {
            self.routes.iter().map(|own| json!({ "route_config": own })).collect()
        } else if all("=dynamic_active_clusters") {
            self.clusters.iter().map(|own| json!({ "cluster": own })).collect()
        } else if all("=dynamic_warming_clusters") {
            self.warming.iter().map(|own| json!({ "cluster": own })).collect()
        } else if all("=dynamic_endpoint_configs") {
            self.endpoints.clone()
        } else {
            Vec::new()
        };
        let text = json!({ "something": [1, 2], list: elements }).to_string();
        let mut found = Vec::new();
        let mut keep = |one: T| {
            if wanted(&one) {
                found.push(one);
            }
        };
        dump::each(text.as_bytes(), list, &mut keep).unwrap();
        Ok(found)
    }
}

fn place(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

fn listener(name: &str, address: &str, port: u16, filter: &Value) -> Value {
    json!({
        "name": name,
        "address": place(address, port),
        "bind_to_port": port == 15001,
        "filter_chains": [{ "filters": [filter] }],
    })
}

fn tcp(cluster: &str) -> Value {
    json!({ "typed_config": { "@type": "envoy.TcpProxy", "cluster": cluster } })
}

fn http(routes: &str) -> Value {
    json!({ "typed_config": {
        "@type": "envoy.HttpConnectionManager", "rds": { "route_config_name": routes },
    } })
}

fn hello() -> Has {
    let host = |address: &str| json!({ "address": place(address, 8080), "health_status": {} });
    let tls = json!({ "typed_config": {
        "@type": "envoy.UpstreamTlsContext",
        "sni": "outbound_.80_._.hello.demo",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{ "name": "default" }],
            "combined_validation_context": { "default_validation_context": {
                "match_typed_subject_alt_names": [{ "matcher": { "exact": "spiffe://x/hello" } }],
            } },
        },
    } });
    Has {
        listeners: vec![
            listener("virtualOutbound", "0.0.0.0", 15001, &tcp("PassthroughCluster")),
            listener("0.0.0.0_80", "0.0.0.0", 80, &http("80")),
            listener("10.96.0.20_3306", "10.96.0.20", 3306, &tcp("outbound|3306||db.demo")),
        ],
        routes: vec![json!({ "name": "80", "virtual_hosts": [
            { "name": "hello:80", "domains": ["hello.demo"], "routes": [
                { "match": { "prefix": "/" }, "route": { "cluster": "outbound|80||hello.demo" } },
            ] },
            { "name": "split", "domains": ["split.demo"], "routes": [
                { "match": { "prefix": "/" }, "route": { "weighted_clusters": { "clusters": [
                    { "name": "outbound|80||hello.demo", "weight": 75 },
                    { "name": "outbound|80||gone.demo", "weight": 25 },
                ] } } },
            ] },
            { "name": "block_all", "domains": ["blocked.demo"], "routes": [
                { "match": { "prefix": "/" }, "direct_response": { "status": 502 } },
            ] },
            { "name": "empty", "domains": ["empty.demo"], "routes": [] },
        ] })],
        clusters: vec![
            json!({ "name": "PassthroughCluster", "type": "ORIGINAL_DST" }),
            json!({ "name": "BlackHoleCluster" }),
            json!({ "name": "outbound|80||hello.demo", "type": "EDS", "transport_socket": tls }),
            json!({ "name": "outbound|3306||db.demo", "type": "EDS" }),
        ],
        hosts: vec![
            json!({ "name": "outbound|80||hello.demo", "host_statuses": [host("10.0.0.1"), host("10.0.0.2")] }),
            json!({ "name": "outbound|3306||db.demo", "host_statuses": [host("10.0.0.3")] }),
        ],
        ..Has::default()
    }
}

fn own() -> Own {
    Own { known: true, spiffe_id: Some("spiffe://x/vm".to_owned()), expires_in: Some(3600) }
}

async fn walked(envoy: &Has, request: &str, to: &str, own: &Own) -> Vec<Step> {
    let request = request.parse().unwrap();
    let (to, arrival) = (to.parse().unwrap(), Arrival::Redirected(15001));
    walk(envoy, &Start { request: &request, to, arrival, ours: true }, own).await
}

/// The kinds of the steps, and where and why it breaks.
async fn ends(envoy: &Has, request: &str, to: &str) -> (String, String) {
    let steps = walked(envoy, request, to, &own()).await;
    let kinds: Vec<&str> = steps.iter().map(|step| step.step.name()).collect();
    let breaks = steps.iter().find_map(|step| step.breaks.clone()).unwrap_or_default();
    assert!(steps.iter().all(|step| step.breaks.is_none() || step.next.is_some()));
    (kinds.join(" "), breaks)
}

const HTTP: &str = "http://hello.demo";
const TO: &str = "10.96.0.10:80";

#[tokio::test]
async fn a_request_of_http_goes_all_the_way() {
    let steps = walked(&hello(), HTTP, TO, &own()).await;
    let told: Vec<(&str, &str)> =
        steps.iter().map(|it| (it.step.name(), it.what.as_str())).collect();
    let expected = [
        ("listener", "0.0.0.0_80 takes it, by its port"),
        ("route", "a route, for prefix /"),
        ("cluster", "outbound|80||hello.demo"),
        ("endpoints", "2, all healthy"),
        ("peer", "mutual TLS"),
    ];
    assert_eq!(told, expected);
    assert!(steps.iter().all(|step| step.breaks.is_none()));
    let peer = &steps[4];
    assert_eq!(peer.facts["names"], json!(["spiffe://x/hello"]));
    assert!(peer.more.contains(&"SNI outbound_.80_._.hello.demo".to_owned()), "{peer:?}");
}

#[tokio::test]
async fn octets_go_without_a_route() {
    let (kinds, breaks) = ends(&hello(), "tcp://db.demo:3306", "10.96.0.20:3306").await;
    assert_eq!((kinds.as_str(), breaks.as_str()), ("listener cluster endpoints peer", ""));
}

#[tokio::test]
async fn it_is_said_where_it_breaks() {
    let cases = [
        ("http://other.demo", "listener route", "Envoy answers 404"),
        ("http://empty.demo", "listener route", "Envoy answers 404"),
        ("http://blocked.demo", "listener route", "the request does not leave this machine"),
        (
            "http://split.demo",
            "listener route cluster endpoints peer cluster",
            "Envoy answers 503: it has no such cluster",
        ),
    ];
    for (request, kinds, breaks) in cases {
        assert_eq!(
            ends(&hello(), request, TO).await,
            (kinds.to_owned(), breaks.to_owned()),
            "{request}"
        );
    }
    let passed = ends(&hello(), "tcp://x.demo:99", "10.96.0.30:99").await;
    assert_eq!(passed.0, "listener cluster");
    assert!(passed.1.contains("nothing of Envoy's is for this service"), "{passed:?}");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let hole = listener("virtualOutbound", "0.0.0.0", 15001, &tcp("BlackHoleCluster"));
    let dead = json!({ "name": "outbound|80||hello.demo", "host_statuses": [
        { "address": place("10.0.0.1", 8080), "health_status": { "eds_health_status": "UNHEALTHY" } },
    ] });
    let warming = json!({ "name": "outbound|80||hello.demo" });
    let refused =
        json!({ "name": "10.96.0.10_80", "error_state": { "details": "no such filter" } });
    let calm = json!({ "name": "outbound|80||hello.demo", "common_lb_config": { "healthy_panic_threshold": {} } });
    let cases = [
        (Has { listeners: vec![], ..hello() }, "Envoy refuses the connection"),
        (
            Has { listeners: vec![hole], ..hello() },
            "Envoy drops it: outboundTrafficPolicy is REGISTRY_ONLY",
        ),
        (Has { refused: vec![refused], ..hello() }, "Envoy has refused the listener for it"),
        (Has { routes: vec![], ..hello() }, "Envoy answers 404"),
        (Has { clusters: vec![], ..hello() }, "Envoy answers 503: it has no such cluster"),
        (Has { clusters: vec![], warming: vec![warming], ..hello() }, "Envoy answers 503"),
        (Has { hosts: vec![], ..hello() }, "Envoy answers 503: the cluster has no endpoint"),
        (
            Has { hosts: vec![dead.clone()], ..hello() },
            "no endpoint is healthy; Envoy calls them all the same",
        ),
        (
            Has { hosts: vec![dead], clusters: vec![calm], ..hello() },
            "Envoy answers 503: no endpoint is healthy",
        ),
    ];
    for (envoy, expected) in cases {
        assert_eq!(ends(&envoy, HTTP, TO).await.1, expected);
    }
}

#[tokio::test]
async fn a_certificate_that_is_over_is_where_it_breaks() {
    for expires_in in [None, Some(-5)] {
        let steps = walked(&hello(), HTTP, TO, &Own { expires_in, ..own() }).await;
        let last = steps.last().unwrap();
        assert_eq!(last.step, Kind::Peer);
        assert!(last.breaks.as_ref().unwrap().contains("certificate"), "{last:?}");
    }
    // Where the agent has not told, nothing is said of it.
    let steps = walked(&hello(), HTTP, TO, &Own::default()).await;
    assert!(steps.last().unwrap().breaks.is_none());
}

#[tokio::test]
async fn a_gateway_is_a_step_of_its_own() {
    let mut envoy = hello();
    envoy.hosts[0]["host_statuses"][0]["address"] = place("192.0.2.9", 15443);
    let steps = walked(&envoy, HTTP, TO, &own()).await;
    let kinds: Vec<_> = steps.iter().map(|step| step.step).collect();
    assert_eq!(kinds[3..], [Kind::Endpoints, Kind::Gateway, Kind::Peer]);
    assert_eq!(steps[4].facts["gateways"], json!(["192.0.2.9:15443"]));
}
