//! Identity to Envoy: certificates over the Secret Discovery Service.
//!
//! ```text
//!  identity ──▶ secret (pure) ──▶ stream ──▶ Envoy
//!                                   │ one per Envoy stream, in two flavours
//!                                   └ subscription (pure): who has been told what
//! ```
//!
//! What always holds:
//!
//! - Two names are served: `default`, the workload's key and chain, and `ROOTCA`, its roots. No
//!   other name ever yields the key, whoever asks for it: in delta it is said to be removed, in
//!   state-of-the-world it is left out. Envoy takes both and goes on without (in the second case
//!   when its `initial_fetch_timeout` is over), and no other secret of the stream suffers.
//! - A stream that asks before there is an identity waits, without an error, and is answered when
//!   it appears. Once there is one it is served until a newer one takes its place.
//! - A secret is sent once per version, and the version is made from the content: a restart, or a
//!   renewal that leaves the roots as they were, resends nothing that Envoy has.

mod counts;
mod delta;
mod secret;
mod serve;
mod sotw;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;

pub use counts::Counts;
pub use serve::{Error, Options, serve};
