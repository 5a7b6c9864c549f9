//! The roots that are trusted.

use std::time::SystemTime;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use crate::{Error, chain, pem};

/// Trusted roots, at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    pem: String,
    ders: Vec<CertificateDer<'static>>,
    /// The last second of each of them.
    ends: Vec<SystemTime>,
    skipped: usize,
}

/// A root as it is taken into a bundle.
#[derive(Clone)]
struct Root {
    der: CertificateDer<'static>,
    end: SystemTime,
}

impl Bundle {
    /// Reads the roots of a PEM text. Bundles are put together by people and by concatenation,
    /// so a block that is no certificate is passed over, and counted, as long as one is good.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        Self::found(pem::certificates(text)?.map(Result::ok))
    }

    /// Reads roots in DER, one after the other.
    pub fn from_der(bytes: &[u8]) -> Result<Self, Error> {
        let found = chain::split(bytes, ROOT_LIMIT)?.ok_or(Error::TooManyRoots)?;
        Self::found(found.into_iter().map(Some))
    }

    /// The roots among what was found; None stands for what is no certificate.
    fn found(blocks: impl Iterator<Item = Option<CertificateDer<'static>>>) -> Result<Self, Error> {
        let mut roots = Vec::<Root>::new();
        let mut skipped = 0;
        for block in blocks {
            match block.and_then(Root::new) {
                Some(root) => {
                    if !roots.iter().any(|before| before.der == root.der) {
                        roots.push(root);
                    }
                }
                None => skipped += 1,
            }
            if roots.len() > ROOT_LIMIT {
                return Err(Error::TooManyRoots);
            }
        }
        match skipped {
            0 => Self::of(roots, 0).ok_or(Error::NoCertificate),
            skipped => Self::of(roots, skipped).ok_or(Error::NoRoot { skipped }),
        }
    }

    /// Those of a PEM text that have issued themselves: the chain that an authority sends may end
    /// with a root, or before it. None if it does.
    pub fn own_issuers(text: &str) -> Result<Option<Self>, Error> {
        let found = pem::certificates(text)?.filter_map(Result::ok);
        let own = found.filter(|der| chain::is_own_issuer(der)).filter_map(Root::new);
        let mut roots = Vec::<Root>::new();
        for root in own.take(ROOT_LIMIT) {
            if !roots.iter().any(|before| before.der == root.der) {
                roots.push(root);
            }
        }
        Ok(Self::of(roots, 0))
    }

    /// A bundle of different roots, unless there are none.
    fn of(roots: impl IntoIterator<Item = Root>, skipped: usize) -> Option<Self> {
        let mut text = String::new();
        let (mut ders, mut ends) = (Vec::new(), Vec::new());
        for Root { der, end } in roots {
            pem::encode(pem::CERTIFICATE, &der, &mut text);
            ders.push(der);
            ends.push(end);
        }
        (!ders.is_empty()).then_some(Self { pem: text, ders, ends, skipped })
    }

    fn roots(&self) -> impl Iterator<Item = Root> + '_ {
        self.ders.iter().cloned().zip(&self.ends).map(|(der, &end)| Root { der, end })
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
        let new = other.roots().filter(|root| !self.ders.contains(&root.der));
        let both: Vec<_> = self.roots().chain(new).collect();
        if both.len() > ROOT_LIMIT {
            return Err(Error::TooManyRoots);
        }
        Self::of(both, self.skipped + other.skipped).ok_or(Error::NoCertificate)
    }

    /// These roots but those of `other`; `None` if none is left.
    pub fn without(&self, other: &Self) -> Option<Self> {
        Self::of(self.roots().filter(|root| !other.ders.contains(&root.der)), self.skipped)
    }

    /// The roots that have not expired at `now`; `None` if none is left.
    ///
    /// When they begin is not looked at: to a clock that is behind, each new root is from the
    /// future.
    pub fn unexpired_at(&self, now: SystemTime) -> Option<Self> {
        Self::of(self.roots().filter(|root| !chain::is_past(root.end, now)), self.skipped)
    }

    /// The last second of the root that expires first.
    pub fn first_expiry(&self) -> Option<SystemTime> {
        self.ends.iter().min().copied()
    }

    /// The first second of the root that begins first.
    pub fn first_start(&self) -> Option<SystemTime> {
        let starts = self.ders.iter().filter_map(|der| chain::validity(der).ok());
        starts.map(|(start, _)| start).min()
    }

    /// The roots as what a verifier takes.
    pub(crate) fn anchors(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.ders.iter().cloned());
        store
    }
}

impl Root {
    /// A root is what the verifier can use as one, and has dates.
    fn new(der: CertificateDer<'static>) -> Option<Self> {
        RootCertStore::empty().add(der.clone()).ok()?;
        let (_, end) = chain::validity(&der).ok()?;
        Some(Self { der, end })
    }
}

/// Roots of one bundle; the public web has about 150.
pub(crate) const ROOT_LIMIT: usize = 256;

#[cfg(test)]
mod tests;
