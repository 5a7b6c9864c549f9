//! Istiod to Envoy: the relay of configuration, the name table, and the roots of the mesh.
//!
//! ```text
//!  Envoy ──▶ downstream ──▶ relay ◀──▶ session (pure)        one per Envoy stream
//!                            │  ▲
//!                            ▼  │ raw bytes
//!                           upstream ──▶ istiod
//!                            ▲
//!  names, roots ◀── own ─────┘                               the agent's own stream
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
//! - Names and roots do not depend on Envoy: they come on a stream of the agent's own.
//! - An istiod that does not know who asks is shown something else at once, if there is anything
//!   else to show; Envoy does not notice.

mod downstream;
mod istiod;
mod metrics;
mod node;
mod outage;
mod own;
mod passage;
mod record;
mod relay;
mod resource;
mod seen;
mod serve;
mod session;
pub mod source;
#[cfg(test)]
mod tests;

pub use own::{Own, follow};
pub use seen::{
    Exchange, Failure, LeftOut, Names, Rejection, Seen, Stale, Standing, Trust, Version,
};
pub use serve::{Error, Fit, Options, Parts, serve};
pub use source::Source;
