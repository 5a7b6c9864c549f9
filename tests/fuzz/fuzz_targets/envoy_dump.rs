//! Answers of Envoy's admin interface with any content: read within limits, and a path looked for
//! in what was read; and requests as people type them.

#![no_main]

use hawser::explain::{
    cluster,
    dump::{self, ClusterDump, ClusterStatus, EndpointDump, ListenerDump, Listening, RouteDump},
    endpoint,
    listener::{self, Arrival, Connection},
    request::Request,
    route::{self, Asked},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        is_read_as_it_is_shown(text);
    }
    listeners(bytes);
    routes(bytes);
    clusters(bytes);
});

fn is_read_as_it_is_shown(text: &str) {
    let Ok(request) = text.parse::<Request>() else { return };
    let shown = request.to_string();
    let shown = shown.split_once(' ').map_or(shown.as_str(), |(_method, shown)| shown);
    let again: Request = shown.parse().expect("what is shown can be typed");
    assert_eq!((again.host, again.port, again.talk), (request.host, request.port, request.talk));
}

fn all<T: serde::de::DeserializeOwned>(bytes: &[u8], list: &str) -> Vec<T> {
    let mut found = Vec::new();
    drop(dump::each(bytes, list, &mut |one| found.push(one)));
    found
}

fn listeners(bytes: &[u8]) {
    let to = "10.96.0.10:80".parse().expect("an address");
    let index: Vec<Listening> = all(bytes, "listener_statuses");
    for arrival in [Arrival::Directly, Arrival::Redirected(15001)] {
        assert!(listener::candidates(&index, to, arrival).len() <= 5);
    }
    for one in all::<ListenerDump>(bytes, "configs").into_iter().filter_map(ListenerDump::active) {
        for (server_name, http) in [(None, true), (None, false), (Some("a.example.com"), false)] {
            let connection = Connection { to, server_name, http };
            if let Some(chain) = listener::chain(&one, &connection) {
                drop(listener::led(chain));
            }
        }
    }
}

fn routes(bytes: &[u8]) {
    let asked = Asked { authority: "hello.demo", method: "GET", path: "/a", scheme: "http" };
    for one in all::<RouteDump>(bytes, "configs") {
        let hosts = &one.route_config.virtual_hosts;
        if let Some((host, domain)) = route::host(hosts, asked.authority) {
            assert!(host.domains.iter().any(|own| own == domain));
            let (found, _) = route::route(&host.routes, &asked);
            if let Some(found) = found {
                drop((route::does(found), route::condition(&found.r#match)));
            }
        }
    }
}

fn clusters(bytes: &[u8]) {
    let said: Vec<EndpointDump> = all(bytes, "configs");
    let said = said.first().map(|one| &one.endpoint_config);
    let hosts: Vec<ClusterStatus> = all(bytes, "cluster_statuses");
    let hosts: Vec<_> = hosts.iter().flat_map(|one| endpoint::all(one, said)).collect();
    for one in all::<ClusterDump>(bytes, "configs") {
        for host in &hosts {
            drop((cluster::way(&one.cluster, &host.metadata), host.line(), host.json()));
        }
        std::hint::black_box((cluster::kind(&one.cluster).len(), cluster::sharing(&one.cluster).len()));
    }
}
