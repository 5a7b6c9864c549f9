//! TLS with istiod: the configuration of one connection, and what its failures mean.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use hawser_rt::Clock;
use rustls::{
    AlertDescription, CertificateError, ClientConfig,
    client::Resumption,
    crypto::CryptoProvider,
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
};
use rustls_pki_types::UnixTime;

use crate::{Endpoint, Error, Shown, roots::Believed};

/// The configuration for one handshake. The certificate is shown whatever issuers the server
/// hints at: istiod's hints do not cover every root it accepts.
pub(crate) fn config(
    provider: Arc<CryptoProvider>,
    roots: &Believed,
    clock: Clock,
    key: Option<Arc<CertifiedKey>>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Wall(clock)))
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Provider { source })?
        .with_root_certificates(roots.store());
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Each connection proves itself anew: a ticket would carry an identity past its renewal.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The clock by which istiod's certificate is judged.
#[derive(Debug)]
struct Wall(Clock);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        let now: SystemTime = self.0.now();
        now.duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// Where a handshake was when it failed: all that an error needs to say.
pub(crate) struct Handshake<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) peer: SocketAddr,
    pub(crate) roots: &'a str,
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
                    Error::UnknownIssuer { endpoint, peer, roots: self.roots.to_owned() }
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
            _ if is_hanging_up(&source) => {
                Error::HungUp { endpoint, peer, shown: self.shown, source }
            }
            _ => Error::Tls { endpoint, peer, source },
        }
    }
}

fn is_hanging_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
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
