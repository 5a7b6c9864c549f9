//! Istiod to Envoy: the relay of configuration, and the name table.
//!
//! ```text
//!  Envoy ──▶ downstream ──▶ relay ◀──▶ session (pure)        one per Envoy stream
//!                            │  ▲
//!                            ▼  │ raw bytes
//!                           upstream ──▶ istiod
//!                            ▲
//!  name table ◀── names ─────┘                               the agent's own stream
//! ```
//!
//! What always holds:
//!
//! - What is relayed is not decoded: the bytes that arrive are the bytes that leave, whatever
//!   their type and size. A shallow look at the outermost fields decides and counts.
//! - A type that the agent keeps for itself never reaches Envoy.
//! - Envoy's requests are queued without a bound on their number, istiod's responses one at a
//!   time. Bounding both sides deadlocks them (istio/istio#39209); what bounds the queue is its
//!   size in bytes, and the stream ends when that is exceeded.
//! - The name table does not depend on Envoy: it comes on a stream of the agent's own.

mod codec;
mod downstream;
mod flavour;
mod names;
mod node;
mod outage;
mod relay;
mod seen;
mod serve;
mod session;
#[cfg(test)]
mod tests;
mod upstream;
mod wire;

pub use flavour::Flavour;
pub use names::follow_names;
pub use seen::{Exchange, Failure, Names, Rejection, Seen, Standing, Version};
pub use serve::{Error, Options, serve};
pub use wire::{Malformed, Request, Response};
