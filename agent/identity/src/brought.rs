//! What the mesh makes of a pair that somebody else has brought. Pure.
//!
//! A sidecar believes whoever leads to the roots of the mesh and has a SPIFFE id of a trust domain
//! that it knows. What is missing does not keep the pair from being served: programs that call this
//! machine may well believe it.

use hawser_pki::Identity;
use hawser_rt::Chain;

/// Why services do not believe a caller that shows it, if they do not.
pub(crate) fn remark(identity: &Identity) -> Option<String> {
    let unrooted = identity.rooted().err();
    let named = identity.name().starts_with("spiffe://");
    match (unrooted, named) {
        (None, true) => None,
        (None, false) => Some(format!(
            "it has no SPIFFE id (it is for {}): services see a caller without a name, whom \
             Istio's sidecars refuse unless PILOT_SKIP_VALIDATE_TRUST_DOMAIN is set",
            identity.name()
        )),
        (Some(unrooted), true) => Some(format!("{}: {ELSEWHERE}", Chain(&unrooted))),
        (Some(_), false) => Some(format!(
            "it is for {}, without a SPIFFE id, and does not lead to a root of the mesh: services \
             refuse it, and it is good for those alone who call this machine",
            identity.name()
        )),
    }
}

const ELSEWHERE: &str = "services refuse it; have it issued under the mesh's root, or have the mesh \
                         believe its authority (meshConfig.caCertificates) and add that to \
                         identity.roots";
