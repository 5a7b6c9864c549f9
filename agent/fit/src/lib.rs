//! Configuration cut to what an Envoy can load.
//!
//! istiod writes its configuration for Istio's own build of Envoy, and any other build refuses a
//! whole listener or cluster for one filter that it does not have. What an Envoy has it says
//! itself ([`Loadable`]), so nothing here is decided by a version.
//!
//! - Only Istio's [telemetry and plumbing](PLUMBING) is left out, and only where this Envoy lacks
//!   it. Anything else it lacks stays and is [told](Fitted::kept): a refused listener says what is
//!   wrong, an authorization filter that has gone missing says nothing.
//! - What is not left out stays byte for byte: unknown fields, their order, all.
//! - A second fit finds nothing to do.
//! - Time is linear in the bytes, nesting is bounded, and so is what is told.
//!
//! # What the mesh sees of such an Envoy
//!
//! Without the metadata exchange an Envoy must not negotiate the protocol `istio-peer-exchange`:
//! the peer would put a header of its own before the first byte of every TCP connection, and the
//! program behind would read it. So that one goes out of the TLS contexts' lists, which leaves
//! what an istiod sends with `PILOT_DISABLE_MX_ALPN`. It stays in `filter_chain_match`, because
//! peers go on offering it, and are told apart by it.
//!
//! Without Istio's ALPN filter every connection to a peer offers the cluster's own list: `istio`,
//! with `h2` behind it if the cluster speaks HTTP/2. At the other end
//!
//! - a port that is declared as HTTP takes any of `istio`, `istio-http/1.0`, `istio-http/1.1` and
//!   `istio-h2` for mutual TLS, and all TLS where mutual TLS is strict: the same chain as with the
//!   filter, and the same codec, which follows from `h2`, else from the first bytes;
//! - a port that is declared as TCP takes `istio`: the same chain;
//! - a port that declares nothing takes `istio` for TCP, and only `istio-http/1.1` and the like for
//!   HTTP. HTTP to it arrives, with mutual TLS and the right identity, but passes as TCP: no HTTP
//!   telemetry, and a policy of that peer that asks for methods, paths or tokens denies it. The
//!   remedy is to declare the protocol (`appProtocol`, or the name of the port). Nothing takes the
//!   filter's place: it goes by the upstream of each request, which only a filter can know, and
//!   the cluster's list serves TCP to the same port as well.
//!
//! Towards this Envoy nothing changes: its peers have the filter, and its own chains match what
//! they offer. Programs behind it see the headers `x-envoy-peer-metadata` and
//! `x-envoy-peer-metadata-id` of peers, which Istio's filter would have taken off. Access logs,
//! traces and Wasm modules that ask for the peer's workload find none.

mod found;
mod loadable;
mod plumbing;
mod schema;
#[cfg(test)]
mod tests;
mod walk;

use hawser_wire::{Malformed, resource_name};

pub use found::{Fitted, Place, Removed};
pub use loadable::Loadable;
pub use plumbing::{PLUMBING, Plumbing};

use schema::Kind;
use walk::Walk;

/// Whether resources of that type can hold something to be left out.
pub fn touches(type_url: &str) -> bool {
    Kind::of_resource(short(type_url)).is_some()
}

/// Leaves out of a resource, the value of its `Any`, what the Envoy cannot load.
///
/// Bytes that are no message are an error: they may as well be passed on, Envoy refuses them.
pub fn fit(type_url: &str, value: &[u8], loadable: &Loadable) -> Result<Fitted, Malformed> {
    let Some(kind) = Kind::of_resource(short(type_url)) else {
        return Ok(Fitted::default());
    };
    let mut walk = Walk::new(loadable, resource_name(type_url, value).unwrap_or_default());
    let value = walk.resource(kind, value)?;
    Ok(walk.end(value))
}

/// The name of a type, without who vouches for it.
fn short(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}
