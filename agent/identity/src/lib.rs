//! Who this machine is, always: obtain a certificate, keep it, renew it, publish it.
//!
//! ```text
//!  authority (istiod) ─┐                ┌─▶ identity   the pair that is served
//!  files ──────────────┼─▶ publisher ───┼─▶ learned    roots of the answers, old and new
//!  SPIFFE provider ────┘       ▲        ├─▶ trusted    the same, and what the mesh pushes
//!                     roots of the mesh └─▶ progress   how it goes, and what is wrong
//! ```
//!
//! What always holds:
//!
//! - What is published fits: the key belongs to the leaf, and the leaf chains to the roots that
//!   came with it. What the authority gives has the configured name, and is valid now.
//! - What was published stays until something better is there. A failed renewal takes nothing away.
//! - Nobody has to ask: the loops work by the clock on the wall, with or without an Envoy.
//! - Nothing that is wrong is final: it is told once, with what to do about it, and tried again
//!   for ever, at once when something has changed.

mod error;
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

pub use error::Error;
pub use keep::{FILE, Kept, VERSION, kept, kept_in};
pub use options::{Files, Inlets, Options, Outlets, Renewal, Source};
pub use progress::{AtRest, Obtained, Progress};
pub use request::Wanted;
pub use run::run;
pub use schedule::Skew;
pub use seal::{SealError, SealKey};
pub use subscription::fetch;

#[cfg(test)]
mod tests;
