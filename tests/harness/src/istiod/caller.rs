//! Who calls: what a connection and a request show, and whom istiod takes them for.
//!
//! A client certificate wins over a token, and the token beside it is not even looked at. On the
//! plaintext port nobody is authenticated.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tonic::metadata::MetadataMap;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::ca::{Certified, TRUST_DOMAIN, TestCa, spiffe_id};
use crate::token::TokenSigner;

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) connection: u64,
    pub(super) tls: bool,
    /// The SPIFFE id of a verified client certificate.
    pub(super) certificate: Option<String>,
}

/// What a request showed to prove who sent it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    /// A client certificate, verified in the handshake.
    pub certificate: bool,
    /// A bearer token, whether good or not.
    pub token: bool,
}

/// Whom istiod takes a caller for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Identities from a client certificate or a token.
    Known(Vec<String>),
    /// Plaintext: nobody asked.
    Unasked,
}

impl Caller {
    /// The identities, none for a caller who was not asked.
    #[must_use]
    pub fn identities(&self) -> &[String] {
        match self {
            Self::Known(identities) => identities,
            Self::Unasked => &[],
        }
    }
}

/// Authenticates a request; `None` is a refusal.
pub(super) fn authenticate(
    peer: &Peer,
    metadata: &MetadataMap,
    tokens: &TokenSigner,
) -> (Shown, Option<Caller>) {
    let token = bearer(metadata);
    let shown = Shown { certificate: peer.certificate.is_some(), token: token.is_some() };
    if !peer.tls {
        return (shown, Some(Caller::Unasked));
    }
    if let Some(identity) = &peer.certificate {
        return (shown, Some(Caller::Known(vec![identity.clone()])));
    }
    let account = token.and_then(|token| tokens.verify(token, SystemTime::now()).ok());
    (shown, account.map(|(ns, sa)| Caller::Known(vec![spiffe_id(&ns, &sa)])))
}

/// The first `Bearer ` value; the prefix is case-sensitive, space around the token is not.
fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let mut values = metadata.get_all("authorization").iter();
    values.find_map(|value| value.to_str().ok()?.strip_prefix("Bearer ")).map(str::trim)
}

/// Whether a server lets callers in without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientCertificate {
    /// As istiod: shown or not, but good if shown.
    Optional,
    /// As a workload in the mesh.
    Required,
}

/// TLS of a server in the mesh, with the roots of this moment.
pub(crate) fn server_tls(
    ca: &TestCa,
    own: &Certified,
    demand: ClientCertificate,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()?), provider.clone());
    let builder = match demand {
        ClientCertificate::Optional => builder.allow_unauthenticated(),
        ClientCertificate::Required => builder,
    };
    let verifier = Arc::new(MeshVerifier(builder.build().context("build client verifier")?));
    let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("read own chain")?;
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).context("read own key")?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("use own certificate")?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    // A resumed session would carry on with what was true before a rotation.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The SPIFFE id of a certificate: its only URI name.
pub(crate) fn certificate_identity(der: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (only, None) = (uris.next()?, uris.next()) else { return None };
    let path = only.strip_prefix("spiffe://")?.strip_prefix(TRUST_DOMAIN)?;
    let parts: Vec<_> = path.split('/').collect();
    matches!(parts.as_slice(), ["", "ns", _, "sa", _]).then(|| only.to_owned())
}

/// Chain checking, and on top what istiod demands of a client: one SPIFFE id of its own trust
/// domain, and a certificate that is good for both sides of a connection.
#[derive(Debug)]
struct MeshVerifier(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for MeshVerifier {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(leaf, intermediates, now)?;
        let bad = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        certificate_identity(leaf).ok_or_else(bad)?;
        good_for_servers(leaf).then_some(verified).ok_or_else(bad)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn good_for_servers(der: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    certificate.extended_key_usage().ok().flatten().is_none_or(|usage| usage.value.server_auth)
}
