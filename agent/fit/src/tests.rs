//! Messages as istiod writes them, cut for an Envoy that lacks Istio's extensions.

mod clusters;
mod listeners;
mod nodes;
mod properties;
mod routes;

use hawser_proto::envoy::{
    envoy::config::{
        core::v3::{Extension, Node},
        listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
    },
    envoy::extensions::filters::network::http_connection_manager::v3::{
        HttpConnectionManager, HttpFilter, http_filter,
    },
    google::protobuf::Any,
};
use hawser_wire::write;
use prost::Message;

use crate::{Fitted, Loadable, PLUMBING, Place, Removed, fit, touches};

const LISTENER: &str = "envoy.config.listener.v3.Listener";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";
const EXTENSION: &str = "envoy.config.core.v3.TypedExtensionConfig";

const HCM: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const FILE_LOG: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

const EXCHANGE: &str = PLUMBING[0].type_name;
const PEER_METADATA: &str = PLUMBING[1].type_name;
const ALPN: &str = PLUMBING[2].type_name;
const STATS: &str = PLUMBING[3].type_name;

/// An authorization filter that no Envoy here has.
const FOREIGN: &str = "example.authorization.v1.Gate";

const STOCK: [&str; 7] = [HCM, TCP_PROXY, ROUTER, RBAC, FILE_LOG, UPSTREAM_TLS, DOWNSTREAM_TLS];

/// A node that lists these types, as Envoy does: bare, one extension each.
fn node(types: &[&str]) -> Node {
    let extensions = types.iter().map(|name| Extension {
        name: format!("extension.{name}"),
        category: "envoy.filters.http".to_owned(),
        type_urls: vec![(*name).to_owned()],
        ..Default::default()
    });
    Node { id: "vm".to_owned(), extensions: extensions.collect(), ..Default::default() }
}

fn stock() -> Loadable {
    Loadable::of(&node(&STOCK).encode_to_vec()).unwrap()
}

fn istio() -> Loadable {
    let own = PLUMBING.iter().map(|plumbing| plumbing.type_name);
    let types: Vec<_> = STOCK.into_iter().chain(own).collect();
    Loadable::of(&node(&types).encode_to_vec()).unwrap()
}

fn url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

fn any(name: &str, value: impl Into<Vec<u8>>) -> Any {
    Any { type_url: url(name), value: value.into() }
}

fn pack(name: &str, message: &impl Message) -> Any {
    any(name, message.encode_to_vec())
}

/// A `TypedStruct` that stands for a type.
fn typed_struct(outer: &str, name: &str) -> Any {
    let mut value = Vec::new();
    write::bytes(&mut value, 1, url(name).as_bytes());
    write::bytes(&mut value, 2, b"\x0a\x05\x0a\x03key");
    any(outer, value)
}

/// As istiod sends metadata filters.
fn wrapped(name: &str) -> Any {
    typed_struct("udpa.type.v1.TypedStruct", name)
}

fn http(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn network(name: &str, config: Any) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) }
}

fn chain(filters: Vec<Filter>) -> FilterChain {
    FilterChain { filters, ..Default::default() }
}

fn listener(filters: Vec<Filter>) -> Listener {
    Listener {
        name: "inbound".to_owned(),
        filter_chains: vec![chain(filters)],
        ..Default::default()
    }
}

/// A listener with one connection manager that has these filters.
fn serving(filters: Vec<HttpFilter>) -> Listener {
    let manager = HttpConnectionManager { http_filters: filters, ..Default::default() };
    listener(vec![network("http", pack(HCM, &manager))])
}

fn router() -> HttpFilter {
    http("envoy.filters.http.router", any(ROUTER, []))
}

/// Fits for a stock Envoy, and checks what holds of every message.
fn fitted(name: &str, message: &impl Message) -> Fitted {
    let value = message.encode_to_vec();
    let fitted = fit(&url(name), &value, &stock()).unwrap();
    assert_eq!(fitted.value.is_none(), fitted.removed.is_empty());
    if let Some(value) = &fitted.value {
        let again = fit(&url(name), value, &stock()).unwrap();
        assert_eq!((again.value, again.removed), (None, Vec::new()));
    }
    let whole = fit(&url(name), &value, &istio()).unwrap();
    assert_eq!((whole.value, whole.removed), (None, Vec::new()), "istio's build loads it");
    fitted
}

/// Checks that `given` becomes `wanted`, and what is told to be left out.
fn becomes<M: Message + PartialEq>(name: &str, given: &M, wanted: &M, removed: &[(Place, &str)]) {
    let fitted = fitted(name, given);
    assert_eq!(fitted.value, Some(wanted.encode_to_vec()));
    assert_eq!(told(&fitted.removed), removed);
    assert_eq!(told(&fitted.kept), []);
}

/// Checks that nothing is left out, and what is told to be lacking.
fn stays(name: &str, given: &impl Message, kept: &[(Place, &str)]) {
    let fitted = fitted(name, given);
    assert_eq!(fitted.value, None);
    assert_eq!(told(&fitted.kept), kept);
}

fn told(told: &[Removed]) -> Vec<(Place, &str)> {
    told.iter().map(|one| (one.place, one.name.as_str())).collect()
}

#[test]
fn types_without_extensions_are_not_touched() {
    for name in [LISTENER, CLUSTER, ROUTES, EXTENSION] {
        assert!(touches(&url(name)), "{name}");
    }
    for name in ["envoy.config.endpoint.v3.ClusterLoadAssignment", "istio.v1.HealthInformation", ""]
    {
        assert!(!touches(&url(name)), "{name}");
        assert_eq!(fit(&url(name), b"\xff", &stock()), Ok(Fitted::default()));
    }
}

#[test]
fn bytes_that_are_no_message_are_an_error() {
    fit(&url(LISTENER), b"\xff", &stock()).unwrap_err();
    fit(&url(LISTENER), b"\x1a\x03\x1a\x01\xff", &stock()).unwrap_err();
}

#[test]
fn what_is_left_out_is_told_with_resource_and_type() {
    let given = serving(vec![http("istio.metadata_exchange", wrapped(PEER_METADATA)), router()]);

    let fitted = fitted(LISTENER, &given);

    assert_eq!(
        fitted.removed,
        [Removed {
            resource: "inbound".to_owned(),
            place: Place::HttpFilter,
            name: "istio.metadata_exchange".to_owned(),
            type_url: url(PEER_METADATA),
        }]
    );
}
