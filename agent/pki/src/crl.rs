//! Certificates that were taken back before their time.

use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList};

use crate::{Error, error::BoxError, pem};

/// Revocation lists, at least one, each of which can be read.
///
/// Not checked are their signatures and dates: whoever verifies with them does that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    pem: String,
}

impl Crl {
    /// Reads every list of a PEM text. One that is damaged spoils them all: without it, what it
    /// takes back would count as good.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let mut lists = String::new();
        for (block, position) in pem::revocation_lists(text)?.zip(1_usize..) {
            let der = block.map_err(|source| Error::CrlPem { position, source })?;
            check(&der).map_err(|source| Error::CrlUnreadable { position, source })?;
            pem::encode(pem::CRL, &der, &mut lists);
        }
        if lists.is_empty() { Err(Error::NoCrl) } else { Ok(Self { pem: lists }) }
    }

    /// The lists as PEM, without anything that stood around them.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

fn check(der: &[u8]) -> Result<(), BoxError> {
    let (rest, _list) = CertificateRevocationList::from_der(der)?;
    if rest.is_empty() { Ok(()) } else { Err("bytes follow the list".into()) }
}

#[cfg(test)]
mod tests;
