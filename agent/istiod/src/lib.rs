//! The one way to istiod: its address, what we trust, what we show, and the connection.
//!
//! Every flow that talks to istiod dials here, so that all of them trust the same roots, show the
//! same credentials and fail with the same words. What always holds:
//!
//! - Roots, token and client certificate are read at each dial: a file that was replaced, or an
//!   identity that was renewed, is used by the next connection without a restart.
//! - Only the given roots are trusted; there is no fallback to others.
//! - A [`Connection`] is one TCP connection that has answered. When it is lost its channel fails
//!   for good, and whoever holds it dials again at its own pace.

mod connection;
mod credential;
mod dial;
mod endpoint;
mod error;
mod heard;
mod hosts;
mod roots;
mod tls;
pub mod token;

pub use connection::{Connection, Shown};
pub use credential::{UnreadableToken, read_token};
pub use dial::{Istiod, Options};
pub use endpoint::{Endpoint, NotAnEndpoint};
pub use error::{Attempts, Error};
pub use hosts::Hosts;
pub use roots::Roots;

#[cfg(test)]
mod tests;
