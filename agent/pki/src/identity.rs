//! Key, chain and roots that fit together: what a workload is.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{crypto::aws_lc_rs, server::WebPkiClientVerifier};
use rustls_pki_types::UnixTime;

use crate::{Bundle, Chain, Error, PrivateKey, SpiffeId};

/// A workload's proof of who it is, and whom it believes. One that [`Self::new`] has made names a
/// workload of the mesh and leads to its roots; of one that was brought, that is to be asked.
#[derive(Debug)]
pub struct Identity {
    /// Fits the leaf of `chain`.
    pub key: PrivateKey,
    /// With the key's certificate.
    pub chain: Chain,
    /// Whom to trust.
    pub roots: Bundle,
    id: Option<SpiffeId>,
}

impl Identity {
    /// Puts an identity together: the key fits the leaf, the leaf names one workload, and every
    /// signature up to a root holds.
    pub fn new(key: PrivateKey, chain: Chain, roots: Bundle) -> Result<Self, Error> {
        let identity = Self::brought(key, chain, roots)?;
        identity.chain.spiffe_id()?;
        identity.rooted()?;
        Ok(identity)
    }

    /// Puts together what somebody else has made, for whatever mesh, or for none: the key fits the
    /// leaf. One from an ACME authority names a host, and is rooted somewhere else.
    pub fn brought(key: PrivateKey, chain: Chain, roots: Bundle) -> Result<Self, Error> {
        if key.public() != chain.public_key() {
            return Err(Error::KeyMismatch);
        }
        let id = chain.spiffe_id().ok();
        Ok(Self { key, chain, roots, id })
    }

    /// Whether every signature up to one of its roots holds.
    pub fn rooted(&self) -> Result<(), Error> {
        verify(&self.chain, &self.roots)
    }

    /// Whether every signature from a chain up to one of these roots holds.
    pub fn leads(chain: &Chain, roots: &Bundle) -> Result<(), Error> {
        verify(chain, roots)
    }

    /// The workload's name in the mesh, if it has one of Istio's form.
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        self.id.as_ref()
    }

    /// Whom the leaf names, whatever the form.
    pub fn name(&self) -> &str {
        self.chain.name()
    }

    /// When the leaf becomes valid.
    pub fn not_before(&self) -> SystemTime {
        self.chain.not_before()
    }

    /// The last second in which the leaf is valid.
    pub fn not_after(&self) -> SystemTime {
        self.chain.not_after()
    }

    /// Whether the leaf is valid at `now`.
    pub fn valid_at(&self, now: SystemTime) -> bool {
        self.chain.valid_at(now)
    }
}

/// Verifies as a peer will, at a moment in which all of the chain is valid.
///
/// There is no clock here, and the verifier wants a time. If there is a moment at which a path
/// of certificates is valid, then the latest start among them is one, so those starts that lie
/// within the leaf's window are all that have to be tried.
fn verify(chain: &Chain, roots: &Bundle) -> Result<(), Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.anchors()), provider)
        .build()
        .map_err(|source| Error::Verifier { source: source.into() })?;

    let (leaf, issuers) = (chain.leaf_der(), chain.ders().get(1..).unwrap_or_default());
    let at = |start: SystemTime| {
        let since = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        verifier.verify_client_cert(leaf, issuers, UnixTime::since_unix_epoch(since))
    };
    let mut starts: Vec<_> = chain
        .starts()
        .iter()
        .copied()
        .filter(|start| chain.not_before() < *start && *start <= chain.not_after())
        .collect();
    starts.sort_unstable_by(|one, other| other.cmp(one));
    starts.dedup();
    if starts.into_iter().any(|start| at(start).is_ok()) {
        return Ok(());
    }
    let roots = roots.len();
    at(chain.not_before()).map(drop).map_err(|source| Error::Untrusted { roots, source })
}

#[cfg(test)]
mod tests;
