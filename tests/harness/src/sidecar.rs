//! What istiod tells the Envoy of a machine whose traffic is intercepted: two listeners that take
//! what the traffic rules redirect, and others behind them that listen nowhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hawser_proto::envoy::envoy::config::cluster::v3::Cluster;
use hawser_proto::envoy::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbPolicy,
};
use hawser_proto::envoy::envoy::config::core::v3::{BindConfig, TransportSocket, transport_socket};
use hawser_proto::envoy::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, listener_filter,
};
use hawser_proto::envoy::envoy::config::route::v3::RouteConfiguration;
use hawser_proto::envoy::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use hawser_proto::envoy::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use hawser_proto::envoy::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use hawser_proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager,
};
use hawser_proto::envoy::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy,
};
use hawser_proto::envoy::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, common_tls_context,
};
use hawser_proto::envoy::google::protobuf::{BoolValue, UInt32Value};
use hawser_proto::istio::nds::NameTable;
use prost::{Message, Name};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::ca::TestCa;
use crate::istiod::State;
use crate::istiod::caller::client;
use crate::service::{
    Secrets, Service, agent, all_to, filter, header, pack, router, seconds, socket,
};

/// How what comes in gets to Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Redirected: programs see Envoy's address.
    Redirected,
    /// Handed over as it is (TPROXY): programs see the caller's.
    Transparent,
}

/// Makes this service, and these ports of the machine itself, the whole mesh.
pub fn publish(service: &Service, inbound: &[u16], arrival: Arrival, state: &mut State) {
    let listener = Listener { bind_to_port: Some(no()), ..service.listener() };
    state.set([service.cluster(Secrets::Agent), passthrough(OUT, None), passthrough(IN, Some(ME))]);
    state.set([service.assignment()]);
    state.set([listener, virtual_outbound(), virtual_inbound(inbound, arrival)]);
    state.set([service.routes()]);
    state.names(&NameTable { table: [(service.host(), service.name_info())].into() });
}

/// What a call of the machine has brought.
#[derive(Debug, Clone)]
pub struct Called {
    /// Whose certificate it has shown.
    pub machine: String,
    /// Head and body of its answer.
    pub reply: String,
}

/// Calls a port of the machine as somebody of the mesh.
///
/// # Errors
/// When there is no connection, no handshake or no end within ten seconds.
pub async fn call_as(ca: &TestCa, identity: &str, to: SocketAddr, path: &str) -> Result<Called> {
    let own = ca.workload(identity, Duration::from_secs(3600))?;
    let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).context("read the key")?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anyone::Anyone))
        .with_client_auth_cert(chain.context("read the chain")?, key)?;
    let call = async {
        let stream = TcpStream::connect(to).await.with_context(|| format!("connect to {to}"))?;
        let name = ServerName::try_from("machine.mesh").context("a name")?;
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.context("TLS handshake")?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: machine\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.context("send a request")?;
        let mut reply = Vec::new();
        // Who closes without a TLS goodbye has answered all the same.
        drop(stream.read_to_end(&mut reply).await);
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let machine = shown.and_then(client).map(|shown| shown.identity).unwrap_or_default();
        Ok(Called { machine, reply: String::from_utf8_lossy(&reply).into_owned() })
    };
    tokio::time::timeout(Duration::from_secs(10), call).await.context("no end")?
}

/// The header in which the machine's Envoy tells a program there who calls.
pub const CALLER_HEADER: &str = "x-caller-spiffe";

fn virtual_outbound() -> Listener {
    Listener {
        name: "virtualOutbound".to_owned(),
        address: Some(socket(any(15001))),
        use_original_dst: Some(yes()),
        filter_chains: vec![chain(tcp(OUT))],
        ..Listener::default()
    }
}

/// Mutual TLS of the mesh on the given ports; what is not TLS passes, as with a permissive policy.
fn virtual_inbound(ports: &[u16], arrival: Arrival) -> Listener {
    let tls = TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(&mutual()))),
    };
    let sealed = |port: &u16| FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            destination_port: Some(UInt32Value { value: u32::from(*port) }),
            transport_protocol: "tls".to_owned(),
            ..FilterChainMatch::default()
        }),
        transport_socket: Some(tls.clone()),
        ..chain(http())
    };
    let mut listener_filters = vec![
        inspector("envoy.filters.listener.original_dst", &OriginalDst::default()),
        inspector("envoy.filters.listener.tls_inspector", &TlsInspector::default()),
    ];
    if arrival == Arrival::Transparent {
        let source = OriginalSrc { mark: MARK, ..OriginalSrc::default() };
        listener_filters.push(inspector("envoy.filters.listener.original_src", &source));
    }
    Listener {
        name: "virtualInbound".to_owned(),
        address: Some(socket(any(15006))),
        transparent: (arrival == Arrival::Transparent).then(yes),
        listener_filters,
        listener_filters_timeout: Some(seconds(0)),
        continue_on_listener_filters_timeout: true,
        filter_chains: ports.iter().map(sealed).collect(),
        default_filter_chain: Some(chain(tcp(IN))),
        ..Listener::default()
    }
}

fn mutual() -> DownstreamTlsContext {
    let secret = |name: &str| SdsSecretConfig { name: name.to_owned(), sds_config: Some(agent()) };
    let roots = common_tls_context::ValidationContextType::ValidationContextSdsSecretConfig(
        secret("ROOTCA"),
    );
    DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![secret("default")],
            validation_context_type: Some(roots),
            ..CommonTlsContext::default()
        }),
        require_client_certificate: Some(yes()),
        ..DownstreamTlsContext::default()
    }
}

/// Wherever it was meant to go; with a source that the rules know Envoy by.
fn passthrough(name: &str, source: Option<SocketAddr>) -> Cluster {
    let source = source.map(|source| BindConfig {
        source_address: match socket(source).address {
            Some(
                hawser_proto::envoy::envoy::config::core::v3::address::Address::SocketAddress(
                    address,
                ),
            ) => Some(address),
            _ => None,
        },
        ..BindConfig::default()
    });
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into())),
        lb_policy: LbPolicy::ClusterProvided.into(),
        connect_timeout: Some(seconds(10)),
        upstream_bind_config: source,
        ..Cluster::default()
    }
}

fn tcp(cluster: &str) -> Filter {
    let proxy = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..TcpProxy::default()
    };
    filter("envoy.filters.network.tcp_proxy", &proxy)
}

fn http() -> Filter {
    let routes = RouteConfiguration {
        request_headers_to_add: header(CALLER_HEADER, "%DOWNSTREAM_PEER_URI_SAN%"),
        ..all_to(IN, IN.to_owned())
    };
    let manager = HttpConnectionManager {
        stat_prefix: IN.to_owned(),
        route_specifier: Some(http_connection_manager::RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![router()],
        ..HttpConnectionManager::default()
    };
    filter("envoy.filters.network.http_connection_manager", &manager)
}

fn inspector<M: Message + Name>(name: &str, config: &M) -> ListenerFilter {
    let config_type = Some(listener_filter::ConfigType::TypedConfig(pack(config)));
    ListenerFilter { name: name.to_owned(), config_type, ..ListenerFilter::default() }
}

fn chain(filter: Filter) -> FilterChain {
    FilterChain { filters: vec![filter], ..FilterChain::default() }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

fn yes() -> BoolValue {
    BoolValue { value: true }
}

fn no() -> BoolValue {
    BoolValue { value: false }
}

/// The client does not ask who the machine is; what the machine is shown is what is tested.
mod anyone {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::aws_lc_rs;
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    #[derive(Debug)]
    pub(super) struct Anyone;

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
}

/// Clusters that lead wherever a connection was meant to go.
const OUT: &str = "PassthroughCluster";
const IN: &str = "InboundPassthroughCluster";
/// By which rules know what Envoy sends in a caller's name.
const MARK: u32 = 1337;
/// The source of what Envoy lets in.
const ME: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)), 0);
