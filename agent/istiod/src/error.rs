//! What can go wrong on the way to istiod, said so that an operator knows what to do.

use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use rustls::AlertDescription;

use crate::Shown;

/// istiod could not be reached.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("header {name:?} cannot be sent: expected a name of [a-z0-9_.-] and a printable value")]
    Header { name: String },
    #[error("istiod.server_name = {name:?} is neither a DNS name nor an IP address")]
    ServerName { name: String },
    #[error("set up TLS")]
    Provider { source: rustls::Error },
    #[error(
        "read the roots istiod is checked against, {}; \
         copy the mesh's root-cert.pem there",
        path.display()
    )]
    ReadRoots { path: PathBuf, source: io::Error },
    #[error(
        "{} holds no certificate to check istiod against; \
         expected PEM, copy the mesh's root-cert.pem there",
        path.display()
    )]
    NoRoots { path: PathBuf, source: Box<hawser_pki::Error> },
    #[error(
        "the system's trust store holds no certificate; install ca-certificates or name a root file"
    )]
    NoSystemRoots,
    #[error("the client certificate cannot be used")]
    ClientCertificate { source: rustls::Error },
    #[error(
        "cannot resolve {host}; add its address to the hosts file of the bundle \
         (the east-west gateway's), or check this machine's DNS"
    )]
    Resolve { host: String, source: io::Error },
    #[error("cannot connect to {endpoint}: {attempts}")]
    Connect { endpoint: String, attempts: Attempts },
    #[error(
        "{endpoint} ({peer}) shows a certificate that does not chain to {roots}; \
         the root may have rotated: replace it by the mesh's present root-cert.pem"
    )]
    UnknownIssuer { endpoint: String, peer: SocketAddr, roots: String },
    #[error(
        "{endpoint} ({peer}) shows a certificate for {}, not for {expected}; \
         set ISTIOD_SAN (istiod.server_name) to the name it carries",
        presented.join(", ")
    )]
    WrongName { endpoint: String, peer: SocketAddr, expected: String, presented: Vec<String> },
    #[error(
        "{endpoint} ({peer}) shows a certificate that is not valid at this time; \
         check this machine's clock"
    )]
    NotValidNow { endpoint: String, peer: SocketAddr, source: rustls::Error },
    #[error("{endpoint} ({peer}) rejects what we show ({shown}; alert {alert:?}); {}", remedy(*shown))]
    Rejected { endpoint: String, peer: SocketAddr, shown: Shown, alert: AlertDescription },
    #[error("TLS with {endpoint} ({peer}) failed")]
    Tls { endpoint: String, peer: SocketAddr, source: io::Error },
    #[error("{endpoint} ({peer}) took the connection and sent nothing for {} s", after.as_secs())]
    Silent { endpoint: String, peer: SocketAddr, after: Duration },
    #[error("HTTP/2 with {endpoint} ({peer}) failed; is this istiod's gRPC port?")]
    Http2 { endpoint: String, peer: SocketAddr, source: io::Error },
}

impl Error {
    /// Whether the far end refused our client certificate itself.
    pub(crate) fn is_rejected_certificate(&self) -> bool {
        matches!(self, Self::Rejected { shown: Shown::Certificate | Shown::Both, .. })
    }
}

/// How each address of istiod failed, in the order they were tried.
#[derive(Debug)]
pub struct Attempts(pub(crate) Vec<(SocketAddr, io::Error)>);

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it has no address");
        }
        for (index, (address, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            match error.kind() {
                io::ErrorKind::ConnectionRefused => write!(f, "{separator}{address} refused")?,
                io::ErrorKind::TimedOut => write!(f, "{separator}{address} timed out")?,
                _ => write!(f, "{separator}{address}: {error}")?,
            }
        }
        Ok(())
    }
}

fn remedy(shown: Shown) -> &'static str {
    match shown {
        Shown::Certificate | Shown::Both => {
            "the mesh may have another root or trust domain by now: \
             write a fresh token, with it a new certificate is obtained"
        }
        Shown::Token | Shown::Nothing => "it demands a client certificate",
    }
}
