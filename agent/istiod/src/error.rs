//! What can go wrong on the way to istiod, said so that an operator knows what to do.

mod attempts;

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use hawser_rt::Chain;
use rustls::AlertDescription;

pub(crate) use self::attempts::Attempt;
pub use self::attempts::Attempts;
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
    #[error(
        "all roots that istiod is checked against have expired ({roots}); \
         copy the mesh's present root-cert.pem there, or check this machine's clock"
    )]
    RootsExpired { roots: String },
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
    #[error(
        "{endpoint} ({peer}) rejects what we show ({shown}; alert {alert:?}); {}",
        remedy(*shown, *alert)
    )]
    Rejected { endpoint: String, peer: SocketAddr, shown: Shown, alert: AlertDescription },
    #[error("{first}; tried as well: {}", tried.join("; "))]
    AllRejected { first: Box<Self>, tried: Vec<String> },
    #[error("{}; elsewhere: {attempts}", Chain(first))]
    Elsewhere { first: Box<Self>, attempts: Attempts },
    #[error("no address of istiod is given; set istiod.address")]
    NoEndpoint,
    #[error(
        "{endpoint} has refused all there is to show ({}); \
         its log says why; write a fresh token with `istioctl x workload entry configure`",
        refused.join(", ")
    )]
    NothingLeft { endpoint: String, refused: Vec<String> },
    #[error("{endpoint} ({peer}) hung up without a word; {}", suspicion(*shown))]
    HungUp { endpoint: String, peer: SocketAddr, shown: Shown, source: io::Error },
    #[error("TLS with {endpoint} ({peer}) failed")]
    Tls { endpoint: String, peer: SocketAddr, source: io::Error },
    #[error("{endpoint} ({peer}) took the connection and sent nothing for {} s", after.as_secs())]
    Silent { endpoint: String, peer: SocketAddr, after: Duration },
    #[error("HTTP/2 with {endpoint} ({peer}) failed; is this istiod's gRPC port?")]
    Http2 { endpoint: String, peer: SocketAddr, source: io::Error },
}

/// What a failed dial says of the certificate that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The far end rejects it.
    Rejected,
    /// The far end hung up before its first word: that is how a rejection may look, and a far end
    /// that goes down.
    CutOff,
}

impl Error {
    /// What this says of a certificate, if it says anything.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Rejected { shown: Shown::Certificate | Shown::Both, .. } => {
                Some(Verdict::Rejected)
            }
            Self::HungUp { .. } => Some(Verdict::CutOff),
            Self::Elsewhere { first, .. } => first.verdict(),
            _ => None,
        }
    }

    /// The error without its remedy, where it is one of several.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Rejected { alert, .. } => format!("alert {alert:?}"),
            Self::Elsewhere { first, .. } => first.brief(),
            error => Chain(error).to_string(),
        }
    }

    /// A rejection, with what was tried besides.
    pub(crate) fn with_tried(self, tried: Vec<String>) -> Self {
        match self {
            Self::Rejected { .. } if !tried.is_empty() => {
                Self::AllRejected { first: Box::new(self), tried }
            }
            Self::Elsewhere { first, attempts } => {
                Self::Elsewhere { first: Box::new(first.with_tried(tried)), attempts }
            }
            error => error,
        }
    }
}

fn suspicion(shown: Shown) -> &'static str {
    match shown {
        Shown::Certificate | Shown::Both => "it may be going down, or reject our certificate",
        Shown::Token | Shown::Nothing => "it may be going down",
    }
}

fn remedy(shown: Shown, alert: AlertDescription) -> &'static str {
    match (shown, alert) {
        (Shown::Token | Shown::Nothing, _) => "it demands a client certificate",
        (_, AlertDescription::CertificateExpired) => {
            "by its clock the certificate is not valid: check this machine's clock, and write a \
             fresh token, with it a new certificate is obtained"
        }
        _ => {
            "the mesh may have another root or trust domain by now: \
             write a fresh token, with it a new certificate is obtained"
        }
    }
}
