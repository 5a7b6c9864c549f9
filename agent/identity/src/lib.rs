//! Token to identity: obtain a certificate, keep it, publish it.
//!
//! ```text
//!  kept from before? ──▶ publish ─┐
//!  else: token ──▶ request ──▶ keep ──▶ publish ──▶ wait until half of its life is over ──▶ request
//! ```
//!
//! What always holds:
//!
//! - What is published fits: the key belongs to the leaf, the leaf chains to the roots that came
//!   with it, and it names the identity that was configured.
//! - What was published stays until something better is there. A failed renewal takes nothing away.
//! - Nobody has to ask: the loop renews on the wall clock, with or without an Envoy.

mod error;
mod keep;
mod progress;
mod request;
mod rotate;
mod schedule;

pub use error::Error;
pub use keep::FILE;
pub use progress::Progress;
pub use rotate::{Options, run};

#[cfg(test)]
mod tests;
