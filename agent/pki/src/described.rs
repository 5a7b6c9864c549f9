//! What a certificate says of itself, for people who have to tell one from another.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::{Error, chain};

/// What a certificate says of itself. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Described {
    pub subject: String,
    pub issuer: String,
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// The beginning of its SHA-256: roots of a mesh all have the same subject.
    pub fingerprint: String,
}

impl Described {
    /// Reads a certificate that somebody has shown.
    pub fn of(der: &[u8]) -> Result<Self, Error> {
        let unreadable = |source| Error::ChainCertificate { position: 1, source };
        let (not_before, not_after) = chain::validity(der).map_err(unreadable)?;
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| unreadable(error.into()))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|source| Error::AlternativeName { source: source.into() })?;
        let names = names.map(|extension| extension.value.general_names.as_slice());
        Ok(Self {
            subject: plain(&certificate.subject().to_string()),
            issuer: plain(&certificate.issuer().to_string()),
            names: names.unwrap_or_default().iter().filter_map(name).take(MOST_NAMES).collect(),
            not_before,
            not_after,
            fingerprint: fingerprint(der),
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some(plain(name)),
        GeneralName::IPAddress(octets) => match <[u8; 4]>::try_from(*octets) {
            Ok(v4) => Some(std::net::Ipv4Addr::from(v4).to_string()),
            Err(_) => {
                let v6 = <[u8; 16]>::try_from(*octets).ok()?;
                Some(std::net::Ipv6Addr::from(v6).to_string())
            }
        },
        _ => None,
    }
}

fn fingerprint(der: &[u8]) -> String {
    let digest = digest(&SHA256, der);
    digest.as_ref().iter().take(8).map(|octet| format!("{octet:02x}")).collect()
}

/// Somebody else chose the text: no terminal is to obey it.
pub(crate) fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(plain).take(MOST_LETTERS).collect()
}

const MOST_NAMES: usize = 16;
const MOST_LETTERS: usize = 200;
