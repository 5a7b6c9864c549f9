//! A certificate with its issuers.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::{Bundle, Error, SpiffeId, described, error::BoxError, pem};

/// A leaf certificate and what leads from it to a root, leaf first.
#[derive(Debug, Clone)]
pub struct Chain {
    pem: String,
    ders: Vec<CertificateDer<'static>>,
    leaf: Leaf,
    /// When each of them became valid.
    starts: Vec<SystemTime>,
}

/// What is read from the leaf once and asked for often.
#[derive(Debug, Clone)]
struct Leaf {
    not_before: SystemTime,
    not_after: SystemTime,
    public_key: Vec<u8>,
    uris: Vec<String>,
    name: String,
}

impl Chain {
    /// Reads every certificate of a PEM text, the leaf first. One that is damaged spoils the
    /// chain.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        Self::from_pems([text])
    }

    /// Reads a chain that came in several PEM texts, each with one certificate or more.
    pub fn from_pems<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut found: Vec<(usize, CertificateDer<'static>)> = Vec::new();
        let mut position = 0;
        for text in texts {
            for block in pem::certificates(text)? {
                if position == CHAIN_LIMIT {
                    return Err(Error::ChainTooLong);
                }
                position += 1;
                let der = block.map_err(|source| Error::ChainPem { position, source })?;
                // istiod sends its root twice if that root signs the leaves.
                if !found.iter().any(|(_, before)| *before == der) {
                    found.push((position, der));
                }
            }
        }
        Self::from_ders(found)
    }

    /// Reads a chain of a PEM text, and the roots that stand among it: certificates that have issued
    /// themselves, other than the leaf.
    pub fn and_roots(text: &str) -> Result<(Self, Option<Bundle>), Error> {
        let (mut found, mut roots) = (Vec::new(), String::new());
        for (block, position) in pem::certificates(text)?.zip(1..) {
            if position > CHAIN_LIMIT {
                return Err(Error::ChainTooLong);
            }
            let der = block.map_err(|source| Error::ChainPem { position, source })?;
            let unreadable = |source| Error::ChainCertificate { position, source };
            let issued_itself = {
                let certificate = parse(&der).map_err(unreadable)?;
                certificate.subject().as_raw() == certificate.issuer().as_raw()
            };
            if issued_itself && position > 1 {
                pem::encode(pem::CERTIFICATE, &der, &mut roots);
            } else if !found.iter().any(|(_, before)| *before == der) {
                found.push((position, der));
            }
        }
        let roots = (!roots.is_empty()).then(|| Bundle::from_pem(&roots)).transpose()?;
        Ok((Self::from_ders(found)?, roots))
    }

    /// Reads a chain in DER, one certificate after the other, the leaf first.
    pub fn from_der(bytes: &[u8]) -> Result<Self, Error> {
        let found = split(bytes, CHAIN_LIMIT)?.ok_or(Error::ChainTooLong)?;
        Self::from_ders(found.into_iter().zip(1..).map(|(der, at)| (at, der)).collect())
    }

    /// Takes certificates with their positions in what was sent.
    fn from_ders(found: Vec<(usize, CertificateDer<'static>)>) -> Result<Self, Error> {
        let mut text = String::new();
        let mut starts = Vec::with_capacity(found.len());
        let mut leaf = None;
        for &(position, ref der) in &found {
            let unreadable = |source| Error::ChainCertificate { position, source };
            let certificate = parse(der).map_err(unreadable)?;
            let (not_before, not_after) = window(&certificate).map_err(unreadable)?;
            starts.push(not_before);
            if leaf.is_none() {
                leaf = Some(Leaf {
                    not_before,
                    not_after,
                    public_key: certificate.public_key().raw.to_vec(),
                    uris: uris(&certificate)?,
                    name: name(&certificate)?,
                });
            }
            pem::encode(pem::CERTIFICATE, der, &mut text);
        }
        let leaf = leaf.ok_or(Error::NoCertificate)?;
        let ders = found.into_iter().map(|(_, der)| der).collect();
        Ok(Self { pem: text, ders, leaf, starts })
    }

    /// The chain as PEM, leaf first, without anything that stood around it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The leaf certificate.
    pub fn leaf_der(&self) -> &CertificateDer<'static> {
        // There is a first one: `from_ders` refuses an empty chain.
        #[expect(clippy::indexing_slicing, reason = "never empty")]
        &self.ders[0]
    }

    /// All certificates, leaf first.
    pub fn ders(&self) -> &[CertificateDer<'static>] {
        &self.ders
    }

    /// When the leaf becomes valid.
    pub fn not_before(&self) -> SystemTime {
        self.leaf.not_before
    }

    /// The last second in which the leaf is valid.
    pub fn not_after(&self) -> SystemTime {
        self.leaf.not_after
    }

    /// Whether the leaf is valid at `now`.
    pub fn valid_at(&self, now: SystemTime) -> bool {
        self.leaf.not_before <= now && !is_past(self.leaf.not_after, now)
    }

    /// The one SPIFFE id of the leaf; it is an error to have another URI beside it.
    pub fn spiffe_id(&self) -> Result<SpiffeId, Error> {
        match self.leaf.uris.as_slice() {
            [] => Err(Error::NoId),
            [uri] => SpiffeId::parse(uri),
            uris => Err(Error::ManyIds { count: uris.len() }),
        }
    }

    /// Whom the leaf names: its URI, else the first host, else its common name. Nobody, if it has
    /// none of them.
    pub fn name(&self) -> &str {
        &self.leaf.name
    }

    /// SubjectPublicKeyInfo of the leaf.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.leaf.public_key
    }

    /// When each certificate became valid, leaf first.
    pub(crate) fn starts(&self) -> &[SystemTime] {
        &self.starts
    }
}

/// Certificates that stand one after the other; None if there are more than `most`.
pub(crate) fn split(
    mut bytes: &[u8],
    most: usize,
) -> Result<Option<Vec<CertificateDer<'static>>>, Error> {
    pem::within_limit(bytes.len(), pem::TEXT_LIMIT)?;
    let mut found = Vec::new();
    while !bytes.is_empty() {
        if found.len() == most {
            return Ok(None);
        }
        let position = found.len() + 1;
        let unreadable = |source: BoxError| Error::ChainCertificate { position, source };
        let (rest, _) =
            X509Certificate::from_der(bytes).map_err(|error| unreadable(error.into()))?;
        let (der, _) = bytes.split_at(bytes.len() - rest.len());
        found.push(CertificateDer::from(der.to_vec()));
        bytes = rest;
    }
    Ok(Some(found))
}

/// The first and the last second in which a certificate is valid.
pub(crate) fn validity(der: &[u8]) -> Result<(SystemTime, SystemTime), BoxError> {
    window(&parse(der)?)
}

/// Whether a certificate names itself as its issuer.
pub(crate) fn is_own_issuer(der: &[u8]) -> bool {
    parse(der).is_ok_and(|found| found.issuer().as_raw() == found.subject().as_raw())
}

/// Whether the last second of a certificate is over at `now`.
pub(crate) fn is_past(not_after: SystemTime, now: SystemTime) -> bool {
    // It is inclusive and whole (RFC 5280, 4.1.2.5).
    not_after.checked_add(Duration::from_secs(1)).is_some_and(|end| end <= now)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, BoxError> {
    let (rest, certificate) = X509Certificate::from_der(der)?;
    if rest.is_empty() { Ok(certificate) } else { Err("bytes follow the certificate".into()) }
}

fn window(certificate: &X509Certificate<'_>) -> Result<(SystemTime, SystemTime), BoxError> {
    let validity = certificate.validity();
    let time = |seconds: i64| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
        .ok_or("validity is out of range")
    };
    Ok((time(validity.not_before.timestamp())?, time(validity.not_after.timestamp())?))
}

fn uris(certificate: &X509Certificate<'_>) -> Result<Vec<String>, Error> {
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    Ok(names(certificate)?.iter().filter_map(uri).collect())
}

fn name(certificate: &X509Certificate<'_>) -> Result<String, Error> {
    let names = names(certificate)?;
    let uri = names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let host = names.iter().find_map(|name| match name {
        GeneralName::DNSName(host) => Some(*host),
        _ => None,
    });
    let common = certificate.subject().iter_common_name().next();
    let named = uri.or(host).or_else(|| common?.as_str().ok()).filter(|name| !name.is_empty());
    Ok(described::plain(named.unwrap_or("nobody")))
}

fn names<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a [GeneralName<'a>], Error> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|source| Error::AlternativeName { source: source.into() })?;
    Ok(names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default())
}

/// Certificates of one chain; real ones have two to four.
pub(crate) const CHAIN_LIMIT: usize = 16;

#[cfg(test)]
mod tests;
