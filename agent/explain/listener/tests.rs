//! Listeners and filter chains, case by case.

use serde_json::{Value, json};

use super::*;

fn listener(value: Value) -> Listener {
    serde_json::from_value(value).unwrap()
}

fn named(name: &str, matching: &Value) -> Value {
    json!({ "name": name, "filter_chain_match": matching })
}

fn to(text: &str) -> Connection<'static> {
    Connection { to: text.parse().unwrap(), server_name: None, http: true }
}

fn taken(own: &Listener, connection: &Connection<'_>) -> String {
    chain(own, connection).map_or("none".to_owned(), |chain| chain.name.clone())
}

fn index(places: &[(&str, &str, u16)]) -> Vec<Listening> {
    let one = |(name, address, port): &(&str, &str, u16)| {
        let place = json!({ "socket_address": { "address": address, "port_value": port } });
        serde_json::from_value(json!({ "name": name, "local_address": place })).unwrap()
    };
    places.iter().map(one).collect()
}

#[test]
fn the_address_comes_before_the_port_and_that_before_where_the_kernel_leads() {
    let index = index(&[
        ("virtualOutbound", "0.0.0.0", 15001),
        ("web", "0.0.0.0", 80),
        ("db", "10.96.0.10", 3306),
        ("one", "10.96.0.11", 80),
        ("six", "::", 81),
    ]);
    let names = |to: &str, arrival| -> Vec<String> {
        candidates(&index, to.parse().unwrap(), arrival).into_iter().map(|(name, _)| name).collect()
    };
    let redirected = Arrival::Redirected(15001);
    assert_eq!(names("10.96.0.11:80", redirected), ["one", "web", "virtualOutbound"]);
    assert_eq!(names("10.96.0.12:80", redirected), ["web", "virtualOutbound"]);
    assert_eq!(names("10.96.0.12:99", redirected), ["virtualOutbound"]);
    assert_eq!(names("10.96.0.12:81", redirected), ["six", "virtualOutbound"]);
    assert_eq!(names("[fd00::1]:81", redirected), ["six"]);
    assert_eq!(names("10.96.0.10:3306", Arrival::Directly), ["db"]);
    assert_eq!(names("10.96.0.10:3307", Arrival::Directly), [""; 0]);
}

#[test]
fn chains_are_left_out_by_one_criterion_after_the_other() {
    let range = |prefix: &str, len: u8| json!([{ "address_prefix": prefix, "prefix_len": len }]);
    let own = listener(json!({
        "filter_chains": [
            named("any", &json!({})),
            named("wide", &json!({ "prefix_ranges": range("10.0.0.0", 8) })),
            named("narrow", &json!({ "prefix_ranges": range("10.1.0.0", 16) })),
            named("port", &json!({ "destination_port": 81, "prefix_ranges": range("10.2.0.0", 16) })),
        ],
        "default_filter_chain": { "name": "default" },
    }));
    assert_eq!(taken(&own, &to("192.0.2.1:80")), "any");
    assert_eq!(taken(&own, &to("10.9.0.1:80")), "wide");
    assert_eq!(taken(&own, &to("10.1.0.1:80")), "narrow");
    assert_eq!(taken(&own, &to("10.2.0.1:81")), "port");
    // The port has left one chain, and its network does not fit: nothing is gone back to.
    assert_eq!(taken(&own, &to("10.1.0.1:81")), "default");
    assert_eq!(taken(&listener(json!({})), &to("10.1.0.1:81")), "none");
}

#[test]
fn names_in_tls_are_seen_by_an_inspector_alone() {
    let chains = json!([
        named("whole", &json!({ "server_names": ["a.example.com"] })),
        named("end", &json!({ "server_names": ["*.example.com"] })),
        named("longer", &json!({ "server_names": ["*.b.example.com"] })),
        named("tls", &json!({ "transport_protocol": "tls" })),
        named("plain", &json!({ "transport_protocol": "raw_buffer" })),
    ]);
    let inspector = json!([{ "name": "envoy.filters.listener.tls_inspector" }]);
    let seeing = listener(json!({ "filter_chains": chains, "listener_filters": inspector }));
    let blind = listener(json!({ "filter_chains": chains }));
    let tls = |name| Connection { server_name: Some(name), http: false, ..to("10.0.0.1:443") };
    let cases = [
        ("a.example.com", "whole"),
        ("A.Example.com", "whole"),
        ("x.example.com", "end"),
        ("x.b.example.com", "longer"),
        ("example.com", "tls"),
    ];
    for (name, expected) in cases {
        assert_eq!(taken(&seeing, &tls(name)), expected, "{name}");
        assert_eq!(taken(&blind, &tls(name)), "plain", "{name}");
    }
    assert_eq!(taken(&seeing, &to("10.0.0.1:80")), "plain");
}

#[test]
fn http_is_seen_by_an_inspector_alone() {
    let chains = json!([named("http", &json!({ "application_protocols": ["http/1.1", "h2c"] }))]);
    let inspector = json!([{ "name": "envoy.filters.listener.http_inspector" }]);
    let own = |filters: Value| {
        listener(json!({
            "filter_chains": chains,
            "listener_filters": filters,
            "default_filter_chain": { "name": "octets" },
        }))
    };
    let octets = Connection { http: false, ..to("10.0.0.1:80") };
    assert_eq!(taken(&own(inspector.clone()), &to("10.0.0.1:80")), "http");
    assert_eq!(taken(&own(inspector), &octets), "octets");
    assert_eq!(taken(&own(json!([])), &to("10.0.0.1:80")), "octets");
}

#[test]
fn the_last_filter_says_what_becomes_of_it() {
    let ends = |config: Value| {
        led(&serde_json::from_value(json!({
            "filters": [{ "name": "first" }, { "name": "last", "typed_config": config }],
        }))
        .unwrap())
    };
    let http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let named = ends(
        json!({ "@type": http, "rds": { "route_config_name": "80" }, "strip_matching_host_port": true }),
    );
    assert!(
        matches!(named, Led::Http(Http { routes: Routes::Named(name), strip: Strip::Same }) if name == "80")
    );
    let inline = ends(json!({ "@type": http, "route_config": { "name": "own" } }));
    assert!(
        matches!(inline, Led::Http(Http { routes: Routes::Inline(own), .. }) if own.name == "own")
    );
    assert!(matches!(
        ends(json!({ "@type": http, "scoped_routes": {} })),
        Led::Http(Http { routes: Routes::Scoped, .. })
    ));
    let names = |led| match led {
        Led::Tcp(clusters) => {
            clusters.into_iter().map(|one| one.name).collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    };
    assert_eq!(names(ends(json!({ "@type": tcp, "cluster": "db" }))), "db");
    let shared =
        json!({ "clusters": [{ "name": "a", "weight": 9 }, { "name": "b", "weight": 1 }] });
    assert_eq!(names(ends(json!({ "@type": tcp, "weighted_clusters": shared }))), "a b");
    assert!(matches!(ends(json!({})), Led::Other(name) if name == "last"));
}
