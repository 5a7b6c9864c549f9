//! Wasm modules: fetched, verified, kept, and put in the place of their addresses.
//!
//! Envoy is told by istiod where a module is to be had; a machine's Envoy cannot go there by itself.
//! So every filter that names an address is rewritten to name a file, and the file is there before
//! Envoy hears of it. What always holds:
//!
//! - A file that Envoy is told of has been verified: by the checksum it was asked for with, or
//!   against what was noted when it was fetched.
//! - Nothing from the network is believed about its size, and nothing of it is held in memory
//!   whole but manifests.
//! - No connection is made to an address that is guarded, whatever name it came by.
//! - A module that cannot be had costs its own filter, never the response it came in.

pub mod oci;
pub mod unbox;

mod base64;
mod checksum;
mod counts;
mod error;
mod extension;
mod failures;
mod fetch;
mod flights;
mod guard;
mod kept;
mod modules;
mod options;
mod partial;
mod replaced;
mod trust;
mod url;
mod web;

pub use error::Error;
pub use hawser_rt::Cidr;
pub use modules::Modules;
pub use options::Options;
pub use replaced::{AllReplaced, Replaced};

#[cfg(test)]
mod tests;
