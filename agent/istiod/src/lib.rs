//! The one way to istiod: its address, what we trust, what we show, and the connection.
//!
//! Every flow that talks to istiod dials here, so that all of them trust the same roots, show the
//! same credentials and fail with the same words. What always holds:
//!
//! - Roots, tokens and certificates are looked at on each dial: a file that was replaced, or an
//!   identity that was renewed, is used by the next connection without a restart.
//! - What istiod refuses is followed by what else there is, both ways: tokens for certificates,
//!   certificates for tokens (`presentation.rs`). No refusal is remembered for long.
//! - Only the given roots are trusted, and if that is wanted those that came with certificates;
//!   there is no fallback to others.
//! - Of several endpoints and addresses those are tried first that have not failed lately
//!   (`health.rs`); none is ever left out.
//! - A [`Connection`] is one TCP connection that has answered. When it is lost its channel fails
//!   for good, and whoever holds it dials again at its own pace.

mod channel;
mod connection;
pub mod credential;
mod dial;
mod endpoint;
mod error;
mod exchange;
mod file;
mod headers;
mod health;
mod heard;
mod hosts;
mod istiod;
mod presentation;
mod race;
mod roots;
mod survey;
mod tls;
pub mod token;

pub use channel::Channel;
pub use connection::{Connection, Shown};
pub use credential::{Credentials, Prospect, Used};
pub use endpoint::{Endpoint, NotAnEndpoint};
pub use error::{Attempts, Error};
pub use exchange::Exchange;
pub use hosts::Hosts;
pub use istiod::{Istiod, Options};
pub use roots::Roots;
pub use survey::{Shows, Sight, Survey, Surveyed};

#[cfg(test)]
mod tests;
