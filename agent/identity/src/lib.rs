//! Who this machine is, always: obtain a certificate, keep it, renew it, publish it.
//!
//! ```text
//!  istiod or Vault ────┐                ┌─▶ identity   the pair that is served
//!  files ──────────────┼─▶ publisher ───┼─▶ learned    roots of the answers, old and new
//!  a program ──────────┤       ▲        ├─▶ trusted    the same, and what the mesh pushes
//!  SPIFFE provider ────┘       │        └─▶ progress   how it goes, and what is wrong
//!                     roots of the mesh
//! ```
//!
//! What always holds:
//!
//! - What is published fits: the key belongs to the leaf, and the leaf chains to the roots that
//!   came with it; a pair whose roots come from another hand may be rooted elsewhere, and that is
//!   told. What the authority gives has the configured name, and is valid now.
//! - What was published stays until something better is there. A failed renewal takes nothing away.
//! - Nobody has to ask: the loops work by the clock on the wall, with or without an Envoy.
//! - Nothing that is wrong is final: it is told once, with what to do about it, and tried again
//!   for ever, at once when something has changed.

mod authority;
mod brought;
mod error;
mod exec;
mod files;
mod keep;
mod metrics;
mod options;
mod progress;
mod provider;
mod publish;
mod request;
mod rotate;
mod run;
mod schedule;
mod seal;
mod secrets;
mod span;
mod subscription;
mod trust;
mod workload;

pub use error::Error;
pub use exec::{Unprinted, printed};
pub use keep::{FILE, Kept, VERSION, kept, kept_in};
pub use options::{Files, Hand, Inlets, Options, Outlets, Printed, Renewal, Source, Speaks};
pub use progress::{AtRest, Obtained, Progress};
pub use request::Wanted;
pub use run::run;
pub use schedule::Skew;
pub use seal::{SealError, SealKey};
pub use subscription::fetch;
pub use workload::{Ungranted, Wish};

#[cfg(test)]
mod tests;
