//! The name of a workload: `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
//!
//! Only characters that the SPIFFE standard allows in a trust domain and a path segment are
//! taken, so no part can bring a slash, a query or an escape into the id.

use std::{fmt, str::FromStr};

use crate::{Error, SpiffePart};

/// A workload's SPIFFE id in Istio's form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    trust_domain: String,
    namespace: String,
    service_account: String,
}

impl SpiffeId {
    /// An id from its three parts.
    pub fn new(
        trust_domain: impl Into<String>,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
    ) -> Result<Self, Error> {
        Ok(Self {
            trust_domain: part(SpiffePart::TrustDomain, trust_domain.into())?,
            namespace: part(SpiffePart::Namespace, namespace.into())?,
            service_account: part(SpiffePart::ServiceAccount, service_account.into())?,
        })
    }

    /// An id from its text; nothing but Istio's form is taken.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > ID_LIMIT {
            return Err(Error::IdTooLong);
        }
        let mut parts = text.strip_prefix("spiffe://").unwrap_or_default().split('/');
        let parts = [(); 6].map(|()| parts.next());
        match parts {
            [Some(domain), Some("ns"), Some(namespace), Some("sa"), Some(account), None] => {
                Self::new(domain, namespace, account)
            }
            _ => Err(Error::IdShape { text: text.to_owned() }),
        }
    }

    /// The mesh's name, such as `cluster.local`.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The namespace of the workload.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account the workload runs as.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, namespace, service_account } = self;
        write!(f, "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}

impl FromStr for SpiffeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

fn part(part: SpiffePart, value: String) -> Result<String, Error> {
    let (limit, expected) = match part {
        SpiffePart::TrustDomain => (255, "a-z 0-9 . - _"),
        SpiffePart::Namespace | SpiffePart::ServiceAccount => {
            (253, "A-Z a-z 0-9 . - _, but not \".\" or \"..\"")
        }
    };
    let allowed = |byte: u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' => true,
        b'A'..=b'Z' => part != SpiffePart::TrustDomain,
        _ => false,
    };
    let climbs = part != SpiffePart::TrustDomain && matches!(value.as_str(), "." | "..");
    if value.is_empty() || value.len() > limit || climbs || !value.bytes().all(allowed) {
        let value = value.chars().take(limit).collect();
        return Err(Error::IdPart { part, value, limit, expected });
    }
    Ok(value)
}

/// The SPIFFE standard's limit for a whole id.
pub(crate) const ID_LIMIT: usize = 2048;

#[cfg(test)]
mod tests;
