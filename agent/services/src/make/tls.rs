//! TLS: what this machine shows, and whom it believes.

use hawser_proto::envoy::envoy::{
    config::core::v3::{
        ApiConfigSource, ApiVersion, GrpcService, TransportSocket, api_config_source,
        config_source::ConfigSourceSpecifier, grpc_service, transport_socket,
    },
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
        SubjectAltNameMatcher, UpstreamTlsContext,
        common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
        subject_alt_name_matcher::SanType,
    },
};
use prost::{Message, Name};

use super::message::{matching, pack, source, truth};
use crate::model::{Protocol, ServerCertificate, Service};

/// To a service, through a gateway that sees nothing but the name of it and what is spoken.
pub(super) fn upstream(service: &Service) -> TransportSocket {
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: offered(service.protocol),
            ..mutual(&service.identities)
        }),
        sni: service.sni(),
        ..UpstreamTlsContext::default()
    };
    wrapped(&context)
}

/// From somebody of the mesh: one of these, or anybody of it.
pub(super) fn from_mesh(callers: &[String], protocol: Protocol) -> TransportSocket {
    let context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: taken(protocol),
            ..mutual(callers)
        }),
        require_client_certificate: Some(truth(true)),
        ..DownstreamTlsContext::default()
    };
    wrapped(&context)
}

/// From anybody.
pub(super) fn from_anybody(shown: &ServerCertificate, protocol: Protocol) -> TransportSocket {
    let name = match shown {
        ServerCertificate::Own => OWN.to_owned(),
        // The agent reads these files, and again when they change.
        ServerCertificate::Files { chain, key } => {
            format!("file-cert:{}~{}", chain.display(), key.display())
        }
    };
    let context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![secret(&name)],
            alpn_protocols: taken(protocol),
            ..CommonTlsContext::default()
        }),
        ..DownstreamTlsContext::default()
    };
    wrapped(&context)
}

/// This machine's certificate, and whoever has one from the same roots and one of these ids.
fn mutual(ids: &[String]) -> CommonTlsContext {
    let id = |id: &String| SubjectAltNameMatcher {
        san_type: SanType::Uri.into(),
        matcher: Some(matching(id)),
        ..SubjectAltNameMatcher::default()
    };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: ids.iter().map(id).collect(),
            ..CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(secret(ROOTS)),
        ..CombinedCertificateValidationContext::default()
    };
    CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret(OWN)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..CommonTlsContext::default()
    }
}

/// What a gateway lets pass, and a sidecar behind it understands: the first two as Istio's ALPN filter
/// has them. `istio-peer-exchange` is not among them: to whoever has negotiated it, the other side
/// sends who it is in front of what was asked for, and only Istio's own Envoy can read that.
fn offered(protocol: Protocol) -> Vec<String> {
    let names: &[&str] = match protocol {
        Protocol::Http => &["istio-http/1.1", "istio", "http/1.1"],
        Protocol::Http2 | Protocol::Grpc => &["istio-h2", "istio", "h2"],
        Protocol::Tcp => &["istio"],
    };
    names.iter().copied().map(str::to_owned).collect()
}

/// What is understood of what others offer.
fn taken(protocol: Protocol) -> Vec<String> {
    match protocol {
        Protocol::Tcp => Vec::new(),
        _ => vec!["h2".to_owned(), "http/1.1".to_owned()],
    }
}

/// A secret of the agent's, over the cluster that every bootstrap has for it.
fn secret(name: &str) -> SdsSecretConfig {
    let envoy = grpc_service::EnvoyGrpc {
        cluster_name: "sds-grpc".to_owned(),
        ..grpc_service::EnvoyGrpc::default()
    };
    let api = ApiConfigSource {
        api_type: api_config_source::ApiType::Grpc.into(),
        transport_api_version: ApiVersion::V3.into(),
        grpc_services: vec![GrpcService {
            target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(envoy)),
            ..GrpcService::default()
        }],
        set_node_on_first_message_only: true,
        ..ApiConfigSource::default()
    };
    let source = source(ConfigSourceSpecifier::ApiConfigSource(api));
    SdsSecretConfig { name: name.to_owned(), sds_config: Some(source) }
}

fn wrapped<M: Message + Name>(context: &M) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(context))),
    }
}

/// This machine's certificate.
const OWN: &str = "default";
/// The roots of the mesh.
const ROOTS: &str = "ROOTCA";
