//! Why a key, a certificate or an id was refused.

use crate::{bundle::ROOT_LIMIT, chain::CHAIN_LIMIT, pem, spiffe::ID_LIMIT};

/// A value that cannot be what it was given as.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("PEM text has {length} bytes, at most {limit} are taken")]
    TextTooLong { length: usize, limit: usize },
    #[error("no certificate found: expected at least one PEM block \"BEGIN CERTIFICATE\"")]
    NoCertificate,
    #[error("certificate chain has more than {CHAIN_LIMIT} certificates")]
    ChainTooLong,
    #[error("certificate {position} of the chain is not PEM")]
    ChainPem { position: usize, source: pem::Broken },
    #[error("certificate {position} of the chain is not X.509")]
    ChainCertificate { position: usize, source: BoxError },
    #[error("trust bundle has no usable root: {skipped} PEM blocks are no certificate")]
    NoRoot { skipped: usize },
    #[error("trust bundle has more than {ROOT_LIMIT} roots")]
    TooManyRoots,
    #[error("no revocation list found: expected at least one PEM block \"BEGIN X509 CRL\"")]
    NoCrl,
    #[error("revocation list {position} is not PEM")]
    CrlPem { position: usize, source: pem::Broken },
    #[error("revocation list {position} is not an X.509 CRL")]
    CrlUnreadable { position: usize, source: BoxError },
    #[error(
        "no private key found: expected an unencrypted PEM block \"BEGIN PRIVATE KEY\" \
         (or EC, RSA)"
    )]
    NoKey,
    #[error(
        "private key is not usable: expected ECDSA P-256 or P-384, or RSA of 2048 to 8192 bits"
    )]
    KeyUnusable,
    #[error("make a private key of kind {kind}")]
    Generate { kind: crate::KeyKind },
    #[error("make the certificate signing request for {id}")]
    Request { id: crate::SpiffeId, source: rcgen::Error },
    #[error("certificate has no SPIFFE id: expected one URI in its subject alternative name")]
    NoId,
    #[error("certificate has {count} URIs in its subject alternative name: expected one")]
    ManyIds { count: usize },
    #[error("subject alternative name of the certificate is unreadable")]
    AlternativeName { source: BoxError },
    #[error("SPIFFE id is longer than {ID_LIMIT} bytes")]
    IdTooLong,
    #[error(
        "{text:?} is not a SPIFFE id of a workload: \
         expected spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT"
    )]
    IdShape { text: String },
    #[error("{part} {value:?} cannot be part of a SPIFFE id: expected 1 to {limit} of {expected}")]
    IdPart { part: SpiffePart, value: String, limit: usize, expected: &'static str },
    #[error("private key does not fit the certificate")]
    KeyMismatch,
    #[error("certificate does not chain to any of the {roots} trusted roots")]
    Untrusted { roots: usize, source: rustls::Error },
    #[error("set up the certificate verifier")]
    Verifier { source: BoxError },
}

/// Which part of a SPIFFE id is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum SpiffePart {
    TrustDomain,
    Namespace,
    ServiceAccount,
}

impl std::fmt::Display for SpiffePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TrustDomain => "trust domain",
            Self::Namespace => "namespace",
            Self::ServiceAccount => "service account",
        })
    }
}

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
