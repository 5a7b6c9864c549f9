//! The roots that are trusted.

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use crate::{Error, pem};

/// Trusted roots, at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    pem: String,
    ders: Vec<CertificateDer<'static>>,
    skipped: usize,
}

impl Bundle {
    /// Reads the roots of a PEM text. Bundles are put together by people and by concatenation,
    /// so a block that is no certificate is passed over, and counted, as long as one is good.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let mut ders = Vec::new();
        let mut skipped = 0;
        for block in pem::certificates(text)? {
            match block {
                Ok(der) if is_root(&der) => {
                    if !ders.contains(&der) {
                        ders.push(der);
                    }
                }
                _ => skipped += 1,
            }
            if ders.len() > ROOT_LIMIT {
                return Err(Error::TooManyRoots);
            }
        }
        match (ders.is_empty(), skipped) {
            (true, 0) => Err(Error::NoCertificate),
            (true, skipped) => Err(Error::NoRoot { skipped }),
            (false, skipped) => Ok(Self::from_ders(ders, skipped)),
        }
    }

    fn from_ders(ders: Vec<CertificateDer<'static>>, skipped: usize) -> Self {
        let mut text = String::new();
        for der in &ders {
            pem::encode(pem::CERTIFICATE, der, &mut text);
        }
        Self { pem: text, ders, skipped }
    }

    /// The roots as PEM, without anything that stood around them.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The roots, in the order they were read.
    pub fn ders(&self) -> &[CertificateDer<'static>] {
        &self.ders
    }

    /// How many roots there are.
    #[expect(clippy::len_without_is_empty, reason = "a bundle is never empty")]
    pub fn len(&self) -> usize {
        self.ders.len()
    }

    /// How many blocks of the text were no certificate.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// These roots, then those of `other` that are not among them.
    pub fn merge(&self, other: &Self) -> Result<Self, Error> {
        let mut ders = self.ders.clone();
        ders.extend(other.ders.iter().filter(|der| !self.ders.contains(der)).cloned());
        if ders.len() > ROOT_LIMIT {
            return Err(Error::TooManyRoots);
        }
        Ok(Self::from_ders(ders, self.skipped + other.skipped))
    }

    /// The roots as what a verifier takes.
    pub(crate) fn anchors(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.ders.iter().cloned());
        store
    }
}

/// A root is what the verifier can use as one.
fn is_root(der: &CertificateDer<'_>) -> bool {
    RootCertStore::empty().add(der.clone()).is_ok()
}

/// Roots of one bundle; the public web has about 150.
pub(crate) const ROOT_LIMIT: usize = 256;

#[cfg(test)]
mod tests;
