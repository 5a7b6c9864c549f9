//! Configuration to Envoy: served from a source, which istiod is; the name table; and the roots of
//! the mesh.
//!
//! ```text
//!  source (istiod is one)                       lastgood: what Envoy took
//!    │ bytes as they come                          ▲ drafts     │ replays
//!    ▼                                             │            ▼
//!  relay: answers ──▶ passage ──▶ record ──────────┘        downstream ──▶ Envoy
//!    ▲                   └── gathered, streamed, made fit ──────▲            │
//!    └── session (pure): what Envoy wants, over many streams ◀── asks ◀──────┘
//!
//!  names, roots ◀── own ──▶ istiod               the agent's own stream
//! ```
//!
//! What always holds:
//!
//! - Envoy's stream ends by Envoy, by what Envoy sends or does not send at all, or with the agent: not
//!   by its source.
//! - What passes is not decoded, and what is large is never here as a whole: the bytes that arrive
//!   are the bytes that leave. Only what this Envoy could not load, and remote modules, are
//!   rewritten, resource by resource.
//! - A response that cannot be read does not pass; the stream it came on is given up.
//! - A type that the agent keeps for itself passes neither way, and a source never hears of a
//!   response that was not its own.
//! - Requests wait without a bound on their number, and with one on their bytes; responses pass one
//!   at a time. Bounding the number of both deadlocks them (istio/istio#39209).
//! - Names and roots do not depend on Envoy: they come on a stream of the agent's own.

mod admission;
mod beside;
mod downstream;
mod gathered;
mod istiod;
mod local;
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
#[doc(hidden)]
pub mod trial;

pub use admission::{Refused, admitted};
pub use beside::{Beside, OURS};
pub use local::{Local, Supplied, Supply};
pub use own::{Own, follow};
pub use seen::{Exchange, Failure, Lacks, Names, Rejection, Seen, Stale, Standing, Trust, Version};
pub use serve::{Error, Fit, Options, Parts, serve};
pub use source::Source;
