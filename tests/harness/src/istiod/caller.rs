//! Who calls: what a connection and a request show, and whom istiod takes them for.
//!
//! A client certificate wins over a token, and the token beside it is not even looked at. On the
//! plaintext port nobody is authenticated.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
use tokio_util::sync::CancellationToken;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::wire::Wire;
use crate::ca::{Certified, TRUST_DOMAIN, TestCa, spiffe_id};
use crate::token::TokenSigner;

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) connection: u64,
    pub(super) tls: bool,
    /// The verified client certificate.
    pub(super) certificate: Option<Client>,
    /// How much of its answers is on the wire.
    pub(super) wire: Arc<Wire>,
    /// Resets this connection.
    pub(super) cut: CancellationToken,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its SPIFFE id.
    pub identity: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// When it ends.
    pub not_after: SystemTime,
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

/// How callers are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) tokens: &'a TokenSigner,
    pub(super) now: SystemTime,
    /// Whether a certificate says who somebody is; else a token alone does.
    pub(super) heeds_certificates: bool,
}

impl Judge<'_> {
    /// Authenticates a request; `None` is a refusal.
    pub(super) fn authenticate(
        &self,
        peer: &Peer,
        metadata: &MetadataMap,
    ) -> (Shown, Option<Caller>) {
        let token = bearer(metadata);
        let shown = Shown { certificate: peer.certificate.is_some(), token: token.is_some() };
        if !peer.tls {
            return (shown, Some(Caller::Unasked));
        }
        if let (Some(client), true) = (&peer.certificate, self.heeds_certificates) {
            return (shown, Some(Caller::Known(vec![client.identity.clone()])));
        }
        let account = token.and_then(|token| self.tokens.verify(token, self.now).ok());
        (shown, account.map(|(ns, sa)| Caller::Known(vec![spiffe_id(&ns, &sa)])))
    }
}

/// Request headers that are not HTTP's own, in their order; no credentials.
pub(super) fn headers(metadata: &MetadataMap) -> Vec<(String, String)> {
    let texts = metadata.iter().filter_map(|pair| match pair {
        KeyAndValueRef::Ascii(key, value) => Some((key.as_str(), value.to_str().ok()?)),
        KeyAndValueRef::Binary(..) => None,
    });
    let own = ["authorization", "content-type", "te", "user-agent"];
    let rest = texts.filter(|(key, _)| !own.contains(key));
    rest.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The first `Bearer ` value; the prefix is case-sensitive, space around the token is not.
pub(super) fn bearer(metadata: &MetadataMap) -> Option<&str> {
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
    /// As istiod, but none is good.
    Rejected,
}

/// TLS of a server in the mesh, with the roots and the time of this moment.
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
        ClientCertificate::Optional | ClientCertificate::Rejected => {
            builder.allow_unauthenticated()
        }
        ClientCertificate::Required => builder,
    };
    let chains = builder.build().context("build client verifier")?;
    let rejects = demand == ClientCertificate::Rejected;
    let verifier = Arc::new(MeshVerifier { chains, rejects });
    let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("read own chain")?;
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).context("read own key")?;
    let time = Arc::new(ca.time().clone());
    let mut config = ServerConfig::builder_with_details(provider, time)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("use own certificate")?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    // A resumed session would carry on with what was true before a rotation.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A certificate as far as callers are told apart by it.
pub(crate) fn client(der: &CertificateDer<'_>) -> Option<Client> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let ends = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Client {
        identity: certificate_identity(der)?,
        serial: format!("{:x}", certificate.serial),
        not_after: UNIX_EPOCH + Duration::from_secs(ends),
    })
}

/// The SPIFFE id of a certificate: its only URI name.
fn certificate_identity(der: &CertificateDer<'_>) -> Option<String> {
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
struct MeshVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    rejects: bool,
}

impl ClientCertVerifier for MeshVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // What Go calls a bad certificate is rustls's word for one that cannot be read.
        let bad = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        if self.rejects {
            return Err(bad());
        }
        let verified = self.chains.verify_client_cert(leaf, intermediates, now);
        let verified = verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            ) => bad(),
            other => other,
        })?;
        certificate_identity(leaf).ok_or_else(bad)?;
        good_for_servers(leaf).then_some(verified).ok_or_else(bad)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

fn good_for_servers(der: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    certificate.extended_key_usage().ok().flatten().is_none_or(|usage| usage.value.server_auth)
}
