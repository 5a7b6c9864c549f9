//! A service of the fake mesh, as istiod describes it to a sidecar.
//!
//! Nothing in it needs Istio's own build of Envoy. Service addresses are taken from 127.0.0.0/8,
//! so that Envoy can listen on them without traffic rules and without root.

use std::net::SocketAddr;

use anyhow::Result;
use hawser_proto::envoy::envoy::config::cluster::v3::Cluster;
use hawser_proto::envoy::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use hawser_proto::envoy::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService,
    HeaderValue, HeaderValueOption, Http1ProtocolOptions, Http2ProtocolOptions, SocketAddress,
    TransportSocket, address, api_config_source, config_source, grpc_service, socket_address,
    transport_socket,
};
use hawser_proto::envoy::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use hawser_proto::envoy::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use hawser_proto::envoy::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action,
    route_match,
};
use hawser_proto::envoy::envoy::extensions::filters::http::router::v3::Router;
use hawser_proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
};
use hawser_proto::envoy::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy,
};
use hawser_proto::envoy::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    UpstreamTlsContext, common_tls_context, subject_alt_name_matcher,
};
use hawser_proto::envoy::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions, http_protocol_options,
};
use hawser_proto::envoy::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use hawser_proto::envoy::google::protobuf::{Any, Duration};
use hawser_proto::istio::nds::{NameInfo, NameTable};
use prost::{Message, Name};

use crate::ca::spiffe_id;
use crate::free;
use crate::istiod::State;

/// The header in which Envoy tells a client whom it talked to.
pub const PEER_HEADER: &str = "x-peer-spiffe";

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Where Envoy gets its certificate from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// From the agent, by the static cluster `sds-grpc`: what istiod tells a sidecar.
    Agent,
    /// From istiod over ADS, for an Envoy without an agent.
    Istiod,
}

/// A Kubernetes service with HTTP on one port.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The service account of what is behind it.
    pub service_account: String,
    /// Its address and port.
    pub vip: SocketAddr,
    /// What is behind it.
    pub endpoints: Vec<SocketAddr>,
}

impl Service {
    /// A service on a free address, in front of one endpoint.
    ///
    /// # Errors
    /// When no address is free.
    pub fn new(name: &str, namespace: &str, endpoint: SocketAddr) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            service_account: name.to_owned(),
            vip: free::vip()?,
            endpoints: vec![endpoint],
        })
    }

    /// Its name in the mesh, without trailing dot.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }

    /// Its entry in the name table.
    #[must_use]
    pub fn name_info(&self) -> NameInfo {
        NameInfo {
            ips: vec![self.vip.ip().to_string()],
            registry: "Kubernetes".to_owned(),
            shortname: self.name.clone(),
            namespace: self.namespace.clone(),
            ..NameInfo::default()
        }
    }

    /// Makes these services the whole mesh.
    pub fn publish(services: &[Self], secrets: Secrets, state: &mut State) {
        state.set(services.iter().map(|one| one.cluster(secrets)));
        state.set(services.iter().map(Self::assignment));
        state.set(services.iter().map(Self::listener));
        state.set(services.iter().map(Self::routes));
        let table = services.iter().map(|one| (one.host(), one.name_info())).collect();
        state.names(&NameTable { table });
    }

    fn cluster_name(&self) -> String {
        format!("outbound|{}||{}", self.vip.port(), self.host())
    }

    fn route_name(&self) -> String {
        format!("{}:{}", self.host(), self.vip.port())
    }

    pub(crate) fn cluster(&self, secrets: Secrets) -> Cluster {
        let eds = EdsClusterConfig { eds_config: Some(ads()), service_name: self.cluster_name() };
        let socket = TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(pack(&self.tls(secrets)))),
        };
        Cluster {
            name: self.cluster_name(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            eds_cluster_config: Some(eds),
            connect_timeout: Some(seconds(10)),
            transport_socket: Some(socket),
            typed_extension_protocol_options: [(
                PROTOCOL_OPTIONS.to_owned(),
                pack(&same_protocol()),
            )]
            .into(),
            ..Cluster::default()
        }
    }

    fn tls(&self, secrets: Secrets) -> UpstreamTlsContext {
        let exact =
            string_matcher::MatchPattern::Exact(spiffe_id(&self.namespace, &self.service_account));
        let san = SubjectAltNameMatcher {
            san_type: subject_alt_name_matcher::SanType::Uri.into(),
            matcher: Some(StringMatcher { match_pattern: Some(exact), ignore_case: false }),
            oid: String::new(),
        };
        let validation = common_tls_context::CombinedCertificateValidationContext {
            default_validation_context: Some(CertificateValidationContext {
                match_typed_subject_alt_names: vec![san],
                ..CertificateValidationContext::default()
            }),
            validation_context_sds_secret_config: Some(secrets.of("ROOTCA")),
            ..Default::default()
        };
        let common = CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![secrets.of("default")],
            validation_context_type: Some(
                common_tls_context::ValidationContextType::CombinedValidationContext(validation),
            ),
            ..CommonTlsContext::default()
        };
        let sni = format!("outbound_.{}_._.{}", self.vip.port(), self.host());
        UpstreamTlsContext { common_tls_context: Some(common), sni, ..Default::default() }
    }

    pub(crate) fn assignment(&self) -> ClusterLoadAssignment {
        let endpoint = |addr: &SocketAddr| LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
                address: Some(socket(*addr)),
                ..Endpoint::default()
            })),
            ..LbEndpoint::default()
        };
        ClusterLoadAssignment {
            cluster_name: self.cluster_name(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: self.endpoints.iter().map(endpoint).collect(),
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }
    }

    pub(crate) fn listener(&self) -> Listener {
        let manager = HttpConnectionManager {
            stat_prefix: format!("outbound_{}", self.vip),
            route_specifier: Some(http_connection_manager::RouteSpecifier::Rds(Rds {
                config_source: Some(ads()),
                route_config_name: self.route_name(),
            })),
            http_filters: vec![router()],
            ..HttpConnectionManager::default()
        };
        let filter = filter("envoy.filters.network.http_connection_manager", &manager);
        Listener {
            name: format!("{}_{}", self.vip.ip(), self.vip.port()),
            address: Some(socket(self.vip)),
            filter_chains: vec![FilterChain { filters: vec![filter], ..FilterChain::default() }],
            ..Listener::default()
        }
    }

    /// Its listener for a protocol that istiod does not know: no request in it, octets alone.
    #[must_use]
    pub fn listener_of_octets(&self) -> Listener {
        let proxy = TcpProxy {
            stat_prefix: self.cluster_name(),
            cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(self.cluster_name())),
            ..TcpProxy::default()
        };
        let filter = Filter {
            name: "envoy.filters.network.tcp_proxy".to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(pack(&proxy))),
        };
        Listener {
            filter_chains: vec![FilterChain { filters: vec![filter], ..FilterChain::default() }],
            ..self.listener()
        }
    }

    pub(crate) fn routes(&self) -> RouteConfiguration {
        RouteConfiguration {
            response_headers_to_add: header(PEER_HEADER, "%UPSTREAM_PEER_URI_SAN%"),
            ..all_to(&self.cluster_name(), self.route_name())
        }
    }
}

impl Secrets {
    fn of(self, name: &str) -> SdsSecretConfig {
        let source = match self {
            Self::Agent => agent(),
            Self::Istiod => ads(),
        };
        SdsSecretConfig { name: name.to_owned(), sds_config: Some(source) }
    }
}

pub(crate) fn ads() -> ConfigSource {
    let all = AggregatedConfigSource::default();
    source(config_source::ConfigSourceSpecifier::Ads(all))
}

pub(crate) fn agent() -> ConfigSource {
    let envoy = grpc_service::EnvoyGrpc {
        cluster_name: "sds-grpc".to_owned(),
        ..grpc_service::EnvoyGrpc::default()
    };
    source(config_source::ConfigSourceSpecifier::ApiConfigSource(ApiConfigSource {
        api_type: api_config_source::ApiType::Grpc.into(),
        transport_api_version: ApiVersion::V3.into(),
        grpc_services: vec![GrpcService {
            target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(envoy)),
            ..GrpcService::default()
        }],
        set_node_on_first_message_only: true,
        ..ApiConfigSource::default()
    }))
}

fn source(specifier: config_source::ConfigSourceSpecifier) -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(specifier),
        // Wait for ever: istiod says so too.
        initial_fetch_timeout: Some(seconds(0)),
        resource_api_version: ApiVersion::V3.into(),
        ..ConfigSource::default()
    }
}

fn same_protocol() -> HttpProtocolOptions {
    use http_protocol_options::{UpstreamProtocolOptions, UseDownstreamHttpConfig};
    HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(
            UseDownstreamHttpConfig {
                http_protocol_options: Some(Http1ProtocolOptions::default()),
                http2_protocol_options: Some(Http2ProtocolOptions::default()),
                ..UseDownstreamHttpConfig::default()
            },
        )),
        ..HttpProtocolOptions::default()
    }
}

/// Every request to one cluster.
pub(crate) fn all_to(cluster: &str, name: String) -> RouteConfiguration {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..RouteAction::default()
    };
    let all = RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    };
    let route = Route {
        r#match: Some(all),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    };
    let host = VirtualHost {
        name: name.clone(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    RouteConfiguration { name, virtual_hosts: vec![host], ..RouteConfiguration::default() }
}

/// A header that Envoy sets.
pub(crate) fn header(key: &str, value: &str) -> Vec<HeaderValueOption> {
    let header =
        HeaderValue { key: key.to_owned(), value: value.to_owned(), ..HeaderValue::default() };
    vec![HeaderValueOption { header: Some(header), ..HeaderValueOption::default() }]
}

/// What answers requests once all other filters have seen them.
pub(crate) fn router() -> HttpFilter {
    HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(&Router::default()))),
        ..HttpFilter::default()
    }
}

pub(crate) fn filter<M: Message + Name>(name: &str, config: &M) -> Filter {
    let config_type = Some(filter::ConfigType::TypedConfig(pack(config)));
    Filter { name: name.to_owned(), config_type }
}

pub(crate) fn socket(addr: SocketAddr) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: addr.ip().to_string(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(addr.port().into())),
            ..SocketAddress::default()
        })),
    }
}

pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

pub(crate) fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}
