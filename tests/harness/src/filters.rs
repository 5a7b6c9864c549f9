//! What istiod sends that only Istio's own build of Envoy can load, and filters that come by
//! themselves (ECDS).
//!
//! [`dress`] and [`extend`] work on a world that has its services already. Places, names and types
//! are those of a real istiod 1.32 in its default installation.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use hawser_proto::envoy::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbPolicy,
};
use hawser_proto::envoy::envoy::config::cluster::v3::{self as cds, Cluster};
use hawser_proto::envoy::envoy::config::core::v3::{
    AsyncDataSource, ExtensionConfigSource, HttpUri, RemoteDataSource, TypedExtensionConfig,
    async_data_source, http_uri,
};
use hawser_proto::envoy::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, filter,
};
use hawser_proto::envoy::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action,
    route_match,
};
use hawser_proto::envoy::envoy::extensions::filters::http::router::v3::Router;
use hawser_proto::envoy::envoy::extensions::filters::http::wasm::v3::Wasm;
use hawser_proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_connection_manager, http_filter,
};
use hawser_proto::envoy::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy,
};
use hawser_proto::envoy::envoy::extensions::wasm::v3::{
    EnvironmentVariables, FailurePolicy, PluginConfig, VmConfig, plugin_config,
};
use hawser_proto::envoy::google::protobuf::{
    Any, ListValue, Struct, UInt32Value, Value, value::Kind,
};
use hawser_proto::type_url;
use prost::Message;

use crate::istiod::State;
use crate::service::{ads, pack, seconds, socket};

/// The type of what is wrapped for an Envoy that may not know it.
pub const TYPED_STRUCT: &str = "type.googleapis.com/udpa.type.v1.TypedStruct";
/// Inside one: the filter of a TCP connection that tells the other end who it is.
pub const NETWORK_EXCHANGE: &str =
    "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange";
/// Inside one: the same for HTTP.
pub const HTTP_EXCHANGE: &str = "type.googleapis.com/io.istio.http.peer_metadata.Config";
/// Chooses protocols; it is not wrapped.
pub const ALPN: &str =
    "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig";
/// Istio's metrics, HTTP and TCP; it is not wrapped either.
pub const STATS: &str = "type.googleapis.com/stats.PluginConfig";

/// The name of both kinds of exchange.
pub const EXCHANGE: &str = "istio.metadata_exchange";
/// The type of a Wasm filter.
pub const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const INBOUND: &str = "InboundPassthroughCluster";

/// Gives clusters and listeners the filters that Istio has in them, and adds what every sidecar
/// has beside its services: the static clusters, and `virtualInbound`, here at an address that is
/// free instead of 0.0.0.0:15006.
///
/// # Errors
/// When the world has a cluster or a listener that is none.
pub fn dress(state: &mut State, inbound: SocketAddr) -> Result<()> {
    for cluster in statics() {
        state.put(&cluster);
    }
    for any in state.all(type_url::CLUSTER).values() {
        let mut cluster = Cluster::decode(any.value.as_slice()).context("read a cluster")?;
        if exchanges(&cluster.name) {
            let filter = cds::Filter {
                name: EXCHANGE.to_owned(),
                typed_config: Some(network_exchange()),
                ..cds::Filter::default()
            };
            cluster.filters.insert(0, filter);
            state.put(&cluster);
        }
    }
    managers(state, |manager| {
        let router = manager.http_filters.pop();
        manager.http_filters.insert(0, http(EXCHANGE, http_exchange("upstream")));
        manager.http_filters.push(http("istio.alpn", alpn()));
        manager.http_filters.push(http("istio.stats", stats()));
        manager.http_filters.extend(router);
    })?;
    state.put(&virtual_inbound(inbound));
    Ok(())
}

/// A Wasm module for every HTTP listener, delivered by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Namespace and name of the object that asks for it, `ns.name`.
    pub name: String,
    /// Where the module is: `http://`, `https://`, `oci://`.
    pub uri: String,
    /// Its digest, in hexadecimal, or empty.
    pub sha256: String,
    /// What is to become of requests without it.
    pub policy: FailurePolicy,
    /// More variables, such as `ISTIO_META_WASM_IMAGE_PULL_SECRET`.
    pub env: Vec<(String, String)>,
}

impl Extension {
    /// A module that requests are not to pass without.
    #[must_use]
    pub fn new(name: &str, uri: &str) -> Self {
        Self {
            name: name.to_owned(),
            uri: uri.to_owned(),
            sha256: String::new(),
            policy: FailurePolicy::FailClosed,
            env: Vec::new(),
        }
    }

    /// The name that listeners ask for it by.
    #[must_use]
    pub fn resource(&self) -> String {
        format!("extensions.istio.io/trafficextension/{}", self.name)
    }

    /// What is asked for.
    #[must_use]
    pub fn config(&self) -> TypedExtensionConfig {
        let uri = HttpUri {
            uri: self.uri.clone(),
            timeout: Some(seconds(30)),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster("_".to_owned())),
        };
        let remote = RemoteDataSource {
            http_uri: Some(uri),
            sha256: self.sha256.clone(),
            ..RemoteDataSource::default()
        };
        let own = [
            ("ISTIO_META_WASM_IMAGE_PULL_POLICY".to_owned(), "Always".to_owned()),
            ("ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION".to_owned(), String::new()),
        ];
        let variables = EnvironmentVariables {
            key_values: own.into_iter().chain(self.env.iter().cloned()).collect(),
            ..EnvironmentVariables::default()
        };
        let vm = VmConfig {
            runtime: "envoy.wasm.runtime.v8".to_owned(),
            code: Some(AsyncDataSource {
                specifier: Some(async_data_source::Specifier::Remote(remote)),
            }),
            environment_variables: Some(variables),
            ..VmConfig::default()
        };
        let plugin = PluginConfig {
            name: self.name.clone(),
            vm: Some(plugin_config::Vm::VmConfig(vm)),
            failure_policy: self.policy.into(),
            ..PluginConfig::default()
        };
        let wasm = pack(&Wasm { config: Some(plugin) });
        TypedExtensionConfig { name: self.resource(), typed_config: Some(wasm) }
    }
}

/// Puts an extension into the world, and the wish for it into every HTTP listener.
///
/// # Errors
/// When the world has a listener that is none.
pub fn extend(state: &mut State, extension: &Extension) -> Result<()> {
    state.put(&extension.config());
    let source = ExtensionConfigSource {
        config_source: Some(ads()),
        type_urls: vec![WASM.to_owned(), RBAC.to_owned()],
        ..ExtensionConfigSource::default()
    };
    managers(state, |manager| {
        let filter = HttpFilter {
            name: extension.resource(),
            config_type: Some(http_filter::ConfigType::ConfigDiscovery(source.clone())),
            ..HttpFilter::default()
        };
        let last = manager.http_filters.len().saturating_sub(1);
        manager.http_filters.insert(last, filter);
    })
}

/// Changes the connection manager of every outbound HTTP listener.
fn managers(state: &mut State, mut edit: impl FnMut(&mut HttpConnectionManager)) -> Result<()> {
    for any in state.all(type_url::LISTENER).values() {
        let mut listener = Listener::decode(any.value.as_slice()).context("read a listener")?;
        if listener.name == "virtualInbound" {
            continue;
        }
        for filter in listener.filter_chains.iter_mut().flat_map(|chain| &mut chain.filters) {
            let Some(filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else {
                continue;
            };
            if config.type_url.ends_with(".HttpConnectionManager") {
                let read = HttpConnectionManager::decode(config.value.as_slice());
                let mut manager = read.context("read a connection manager")?;
                edit(&mut manager);
                *config = pack(&manager);
            }
        }
        state.put(&listener);
    }
    Ok(())
}

fn exchanges(cluster: &str) -> bool {
    cluster.starts_with("outbound|") || cluster.ends_with("PassthroughCluster")
}

fn statics() -> [Cluster; 3] {
    let cluster = |name: &str, kind: DiscoveryType, policy: LbPolicy| Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        lb_policy: policy.into(),
        connect_timeout: Some(seconds(10)),
        ..Cluster::default()
    };
    let passing = |name| cluster(name, DiscoveryType::OriginalDst, LbPolicy::ClusterProvided);
    [
        cluster("BlackHoleCluster", DiscoveryType::Static, LbPolicy::RoundRobin),
        passing("PassthroughCluster"),
        passing(INBOUND),
    ]
}

fn virtual_inbound(at: SocketAddr) -> Listener {
    let routes = RouteConfiguration {
        name: INBOUND.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "inbound|http|0".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![to(INBOUND)],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: INBOUND.to_owned(),
        route_specifier: Some(http_connection_manager::RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![
            http(EXCHANGE, http_exchange("downstream")),
            http("istio.stats", stats()),
            http("envoy.filters.http.router", pack(&Router::default())),
        ],
        ..HttpConnectionManager::default()
    };
    let proxy = TcpProxy {
        stat_prefix: INBOUND.to_owned(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(INBOUND.to_owned())),
        ..TcpProxy::default()
    };
    let only = FilterChainMatch {
        destination_port: Some(UInt32Value { value: at.port().into() }),
        ..FilterChainMatch::default()
    };
    let chain = |name: &str, filters| FilterChain {
        name: name.to_owned(),
        filters,
        ..FilterChain::default()
    };
    let exchange = || network(EXCHANGE, network_exchange());
    let manager = network("envoy.filters.network.http_connection_manager", pack(&manager));
    let http = chain("virtualInbound-catchall-http", vec![exchange(), manager]);
    let proxy = network("envoy.filters.network.tcp_proxy", pack(&proxy));
    let tcp = vec![exchange(), network("istio.stats", stats()), proxy];
    Listener {
        name: "virtualInbound".to_owned(),
        address: Some(socket(at)),
        filter_chains: vec![FilterChain { filter_chain_match: Some(only), ..http }],
        default_filter_chain: Some(chain("virtualInbound", tcp)),
        ..Listener::default()
    }
}

fn to(cluster: &str) -> Route {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..RouteAction::default()
    };
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    }
}

fn http(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
}

fn network(name: &str, config: Any) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(config)) }
}

fn network_exchange() -> Any {
    wrapped(
        NETWORK_EXCHANGE,
        [
            ("enable_discovery", Kind::BoolValue(true)),
            ("protocol", Kind::StringValue("istio-peer-exchange".to_owned())),
        ],
    )
}

fn http_exchange(side: &str) -> Any {
    let by = |how: &str| Value { kind: Some(object([(how, object([]))])) };
    let list = |values| Kind::ListValue(ListValue { values });
    wrapped(
        HTTP_EXCHANGE,
        [
            (
                format!("{side}_discovery").as_str(),
                list(vec![by("istio_headers"), by("workload_discovery")]),
            ),
            (format!("{side}_propagation").as_str(), list(vec![by("istio_headers")])),
        ],
    )
}

fn alpn() -> Any {
    let rule = |protocol, names: [&str; 3]| AlpnOverride {
        protocol,
        names: names.map(str::to_owned).into(),
    };
    let rules = vec![
        rule(0, ["istio-http/1.0", "istio", "http/1.0"]),
        rule(1, ["istio-http/1.1", "istio", "http/1.1"]),
        rule(2, ["istio-h2", "istio", "h2"]),
    ];
    Any { type_url: ALPN.to_owned(), value: Alpn { rules }.encode_to_vec() }
}

fn stats() -> Any {
    Any { type_url: STATS.to_owned(), value: Vec::new() }
}

fn wrapped<'a>(kind: &str, fields: impl IntoIterator<Item = (&'a str, Kind)>) -> Any {
    let Kind::StructValue(value) = object(fields) else { return Any::default() };
    let wrapped = TypedStruct { type_url: kind.to_owned(), value: Some(value) };
    Any { type_url: TYPED_STRUCT.to_owned(), value: wrapped.encode_to_vec() }
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Kind)>) -> Kind {
    let fields = fields.into_iter();
    let fields = fields.map(|(key, kind)| (key.to_owned(), Value { kind: Some(kind) }));
    Kind::StructValue(Struct { fields: fields.collect() })
}

#[derive(Clone, PartialEq, Message)]
struct TypedStruct {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Struct>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Alpn {
    #[prost(message, repeated, tag = "1")]
    rules: Vec<AlpnOverride>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct AlpnOverride {
    #[prost(int32, tag = "1")]
    protocol: i32,
    #[prost(string, repeated, tag = "2")]
    names: Vec<String>,
}
