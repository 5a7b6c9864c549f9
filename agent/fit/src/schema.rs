//! Where in Envoy's messages extensions are: only the fields on the way to them.
//!
//! Field numbers are those of the v3 API, which never change. A message that is not named here is
//! never looked into.

use crate::Place;

/// A message that is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ApiListener,
    ClusterWeight,
    Cluster,
    CommonTlsContext,
    FilterChain,
    HttpConnectionManager,
    HttpProtocolOptions,
    Listener,
    Route,
    RouteAction,
    RouteConfiguration,
    Router,
    ScopedRoute,
    ScopedRouteList,
    ScopedRoutes,
    TcpProxy,
    TlsContext,
    TransportSocket,
    TransportSocketMatch,
    TypedExtensionConfig,
    UpgradeConfig,
    VirtualHost,
    WeightedCluster,
    /// A transport socket around another one, which is in the field of that number.
    Wrapper(u32),
}

/// What a field leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing that could be left out.
    Stay,
    /// A message that is looked into.
    Into(Kind),
    /// An `Any`, which may hold one.
    Any,
    /// An extension with a name and a configuration.
    Extension(Slot),
    /// An entry of a map from the name of a filter to what is said to it.
    PerFilter,
    /// An entry of a map from the name of an extension to its options.
    Options,
    /// A protocol to negotiate.
    Protocol,
}

/// How a message holds an extension. Its name is field 1 in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) place: Place,
    /// Its `typed_config`.
    pub(crate) config: u32,
    /// Its `config_discovery`; 0: none.
    pub(crate) discovery: u32,
    /// Its `is_optional`, with which Envoy does without it; 0: none.
    pub(crate) optional: u32,
}

impl Kind {
    /// The resources that are looked into.
    pub(crate) fn of_resource(type_name: &str) -> Option<Self> {
        Some(match type_name {
            "envoy.config.listener.v3.Listener" => Self::Listener,
            "envoy.config.cluster.v3.Cluster" => Self::Cluster,
            "envoy.config.route.v3.RouteConfiguration" => Self::RouteConfiguration,
            "envoy.config.route.v3.ScopedRouteConfiguration" => Self::ScopedRoute,
            "envoy.config.route.v3.VirtualHost" => Self::VirtualHost,
            "envoy.config.core.v3.TypedExtensionConfig" => Self::TypedExtensionConfig,
            _ => return None,
        })
    }

    /// The configurations of extensions that are looked into.
    pub(crate) fn of_config(type_name: &str) -> Option<Self> {
        let name = type_name.strip_prefix("envoy.extensions.")?;
        Some(match name {
            "filters.network.http_connection_manager.v3.HttpConnectionManager" => {
                Self::HttpConnectionManager
            }
            "filters.network.tcp_proxy.v3.TcpProxy" => Self::TcpProxy,
            "filters.http.router.v3.Router" => Self::Router,
            "upstreams.http.v3.HttpProtocolOptions" => Self::HttpProtocolOptions,
            "transport_sockets.tls.v3.DownstreamTlsContext"
            | "transport_sockets.tls.v3.UpstreamTlsContext" => Self::TlsContext,
            "transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport"
            | "transport_sockets.tcp_stats.v3.Config" => Self::Wrapper(1),
            "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
            | "transport_sockets.tap.v3.Tap" => Self::Wrapper(2),
            "transport_sockets.internal_upstream.v3.InternalUpstreamTransport" => Self::Wrapper(3),
            _ => return None,
        })
    }

    /// What the field of that number leads to.
    pub(crate) fn step(self, number: u32) -> Step {
        match (self, number) {
            (Self::Listener, 3 | 25) => Step::Into(Self::FilterChain),
            (Self::Listener, 9) => Step::Extension(LISTENER_FILTER),
            (Self::Listener, 19) => Step::Into(Self::ApiListener),
            (Self::Listener, 22)
            | (Self::HttpConnectionManager, 13)
            | (Self::TcpProxy, 5)
            | (Self::Router, 3) => Step::Extension(ACCESS_LOG),
            (Self::FilterChain, 3) => Step::Extension(NETWORK_FILTER),
            (Self::FilterChain, 6) | (Self::Cluster, 24) | (Self::TransportSocketMatch, 3) => {
                Step::Into(Self::TransportSocket)
            }
            (Self::ApiListener, 1) | (Self::TransportSocket, 3) => Step::Any,
            (Self::HttpConnectionManager, 4) | (Self::ScopedRoute, 5) => {
                Step::Into(Self::RouteConfiguration)
            }
            (Self::HttpConnectionManager, 5) | (Self::UpgradeConfig, 2) => {
                Step::Extension(HTTP_FILTER)
            }
            (Self::HttpConnectionManager, 23) => Step::Into(Self::UpgradeConfig),
            (Self::HttpConnectionManager, 31) => Step::Into(Self::ScopedRoutes),
            (Self::ScopedRoutes, 4) => Step::Into(Self::ScopedRouteList),
            (Self::ScopedRouteList, 1) => Step::Into(Self::ScopedRoute),
            (Self::Router, 8) | (Self::HttpProtocolOptions, 6) => {
                Step::Extension(UPSTREAM_HTTP_FILTER)
            }
            (Self::Cluster, 36) => Step::Options,
            (Self::Cluster, 40) => Step::Extension(CLUSTER_FILTER),
            (Self::Cluster, 43) => Step::Into(Self::TransportSocketMatch),
            (Self::TlsContext, 1) => Step::Into(Self::CommonTlsContext),
            (Self::CommonTlsContext, 4) => Step::Protocol,
            (Self::RouteConfiguration, 2) => Step::Into(Self::VirtualHost),
            (Self::VirtualHost, 3) => Step::Into(Self::Route),
            (Self::Route, 2) => Step::Into(Self::RouteAction),
            (Self::RouteAction, 3) => Step::Into(Self::WeightedCluster),
            (Self::WeightedCluster, 1) => Step::Into(Self::ClusterWeight),
            (Self::RouteConfiguration, 16)
            | (Self::VirtualHost, 15)
            | (Self::Route, 13)
            | (Self::ClusterWeight, 10) => Step::PerFilter,
            (Self::Wrapper(inner), _) if inner == number => Step::Into(Self::TransportSocket),
            _ => Step::Stay,
        }
    }
}

const HTTP_FILTER: Slot = Slot { place: Place::HttpFilter, config: 4, discovery: 5, optional: 6 };
const UPSTREAM_HTTP_FILTER: Slot = Slot { place: Place::UpstreamFilter, ..HTTP_FILTER };
const NETWORK_FILTER: Slot =
    Slot { place: Place::NetworkFilter, config: 4, discovery: 5, optional: 0 };
const CLUSTER_FILTER: Slot =
    Slot { place: Place::UpstreamFilter, config: 2, discovery: 3, optional: 0 };
const LISTENER_FILTER: Slot =
    Slot { place: Place::ListenerFilter, config: 3, discovery: 5, optional: 0 };
const ACCESS_LOG: Slot = Slot { place: Place::AccessLog, config: 4, discovery: 0, optional: 0 };
/// What ECDS delivers. It is no part of a list, so it is told and never left out.
pub(crate) const EXTENSION_CONFIG: Slot =
    Slot { place: Place::ExtensionConfig, config: 2, discovery: 0, optional: 0 };
