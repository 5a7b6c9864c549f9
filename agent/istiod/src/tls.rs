//! TLS with istiod: the configuration of one connection, and what its failures mean.

use std::{io, net::SocketAddr, sync::Arc};

use hawser_pki::Identity;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore, client::Resumption,
    crypto::CryptoProvider,
};

use crate::{Endpoint, Error, Roots, Shown};

/// The configuration for one handshake. The certificate is shown whatever issuers the server
/// hints at: istiod's hints do not cover every root it accepts.
pub(crate) fn config(
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
    identity: Option<&Identity>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Provider { source })?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain.ders().to_vec(), identity.key.der())
            .map_err(|source| Error::ClientCertificate { source })?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Each connection proves itself anew: a ticket would carry an identity past its renewal.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Where a handshake was when it failed: all that an error needs to say.
pub(crate) struct Handshake<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) peer: SocketAddr,
    pub(crate) roots: &'a Roots,
    pub(crate) shown: Shown,
}

impl Handshake<'_> {
    /// What a failed handshake, or a first read that failed, means to the operator.
    pub(crate) fn failed(&self, source: io::Error) -> Error {
        let (endpoint, peer) = (self.endpoint.to_string(), self.peer);
        let cause = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
                // istiod's own roots all have the same subject: a rotated one is found by name
                // and fails by signature.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Error::UnknownIssuer { endpoint, peer, roots: self.roots.to_string() }
                }
                CertificateError::NotValidForNameContext { presented, .. } => Error::WrongName {
                    endpoint,
                    peer,
                    expected: self.endpoint.verified_name().to_owned(),
                    presented: named(presented),
                },
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => {
                    let source = rustls::Error::InvalidCertificate(wrong.clone());
                    Error::NotValidNow { endpoint, peer, source }
                }
                _ => Error::Tls { endpoint, peer, source },
            },
            Some(&rustls::Error::AlertReceived(alert)) if is_about_the_client(alert) => {
                Error::Rejected { endpoint, peer, shown: self.shown, alert }
            }
            _ => Error::Tls { endpoint, peer, source },
        }
    }
}

/// rustls gives names in the form of its own types: `DnsName("istiod.example")`.
fn named(presented: &[String]) -> Vec<String> {
    if presented.is_empty() {
        return vec!["no name at all".to_owned()];
    }
    let plain = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    presented.iter().map(plain).collect()
}

fn is_about_the_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}
