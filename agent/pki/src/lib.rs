//! Keys, certificates and SPIFFE ids as values. No I/O, no clock.
//!
//! What holds of a value, its constructor has checked: a [`SpiffeId`] can be printed into a
//! request without quoting, a [`Chain`] has a leaf, a [`Bundle`] has a root, and an [`Identity`]
//! is a key, a chain and roots that fit together. Whether it is valid *now* only the caller can
//! say, who has the clock.

mod bundle;
#[cfg(test)]
mod ca;
mod chain;
mod crl;
mod csr;
mod described;
mod error;
mod identity;
mod key;
mod pem;
mod spiffe;
mod unjudged;

pub use bundle::Bundle;
pub use chain::Chain;
pub use crl::Crl;
pub use csr::csr;
pub use described::Described;
pub use error::{Error, SpiffePart};
pub use identity::Identity;
pub use key::{KeyForm, KeyKind, PrivateKey, UnknownKeyKind};
pub use pem::Broken;
pub use spiffe::SpiffeId;
pub use unjudged::Unjudged;
