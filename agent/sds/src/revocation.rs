//! Certificates that are no longer good.

#[cfg(test)]
mod tests;

use hawser_pki::{Bundle, Crl};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use x509_parser::{
    extensions::{ParsedExtension, X509Extension},
    prelude::{CertificateRevocationList, FromDer, X509Certificate},
};

use crate::version::version;

/// The lists of one file, and who has made them.
#[derive(Debug)]
pub(crate) struct Revocations {
    pub(crate) crl: Crl,
    pub(crate) version: String,
    issuers: Vec<Issuer>,
}

/// Who has made a list.
#[derive(Debug)]
struct Issuer {
    /// As it is encoded.
    name: Vec<u8>,
    /// Roots that follow one another often have one name and two keys.
    key: Option<Vec<u8>>,
}

impl Revocations {
    pub(crate) fn from_pem(text: &str) -> Result<Self, hawser_pki::Error> {
        let crl = Crl::from_pem(text)?;
        let version = version(&[crl.pem()]);
        let issuers = CertificateRevocationListDer::pem_slice_iter(crl.pem().as_bytes())
            .filter_map(|der| Issuer::of(&der.ok()?))
            .collect();
        Ok(Self { crl, version, issuers })
    }

    /// Whether any of these roots has a list here.
    ///
    /// A context with lists makes Envoy ask for the list of *every* issuer of a chain, and
    /// refuse each chain that misses one. Lists that say nothing of a context's roots would make
    /// it refuse everybody.
    pub(crate) fn concern(&self, roots: &Bundle) -> bool {
        self.without_list(roots) < roots.len()
    }

    /// How many of these roots have no list here, so that Envoy refuses what they have signed.
    pub(crate) fn without_list(&self, roots: &Bundle) -> usize {
        roots.ders().iter().filter(|root| !self.has_list_of(root)).count()
    }

    fn has_list_of(&self, root: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(root)
            .is_ok_and(|(_, root)| self.issuers.iter().any(|issuer| issuer.is(&root)))
    }
}

impl Issuer {
    fn of(list: &CertificateRevocationListDer<'_>) -> Option<Self> {
        let (_, list) = CertificateRevocationList::from_der(list).ok()?;
        let key =
            list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
                _ => None,
            });
        let key = key.map(|key| key.0.to_vec());
        Some(Self { name: list.issuer().as_raw().to_vec(), key })
    }

    fn is(&self, root: &X509Certificate<'_>) -> bool {
        let key = |extension: &X509Extension<'_>| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        };
        let other_key = match (&self.key, root.extensions().iter().find_map(key)) {
            (Some(mine), Some(its)) => *mine != its,
            _ => false,
        };
        self.name == root.subject().as_raw() && !other_key
    }
}
