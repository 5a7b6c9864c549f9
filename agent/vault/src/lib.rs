//! Vault (or OpenBao) as an authority: who we are to it, and what it signs.
//!
//! ```text
//!  login (token, AppRole, JWT) ──▶ lease ──▶ pki/sign/ROLE ──▶ chain and roots
//!                                   │  ▲
//!                                   └──┘ renewed while it can be
//! ```
//!
//! What always holds:
//!
//! - Keys are made here and stay here: what is sent is a request to sign.
//! - A secret is read when it is used, is wiped when it was, and stands in no message.
//! - A lease is reckoned by the clock on the wall. One that is lost, over or refused is followed by
//!   another login when the next certificate is wanted, and by no more than one for each attempt.
//! - What Vault says of its reasons is passed on, cut short, with what to do about it.

mod address;
mod answer;
mod error;
mod lease;
mod options;
mod refusal;
mod secret;
mod tls;
mod vault;
mod web;

pub use address::{Address, NotAnAddress};
pub use answer::{Garbled, Said, fuzz};
pub use error::Error;
pub use options::{Login, Options};
pub use vault::{Signed, Vault};

#[cfg(test)]
mod tests;
