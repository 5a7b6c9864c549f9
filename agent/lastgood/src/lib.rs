//! The last configuration that Envoy took, on disk.
//!
//! What istiod sends is written down while it passes, as a [`Draft`]; it counts when Envoy has
//! taken it. From what counts, [`Answer`]s are made while istiod is away.
//!
//! - After any end of the process, what is answered is the state before or after an acceptance.
//! - What is damaged is never answered; it is told of and left out, or its log is set aside.
//! - Envoy never waits for the disk longer than a second for a response, and memory holds an index
//!   and about two megabytes on their way to the disk, however much passes.
//!
//! One append-only log per node and type: `DIRECTORY/<16 hex of the node's key>/<type>.log`. All
//! that touches the disk is done by one thread.

mod answer;
mod book;
mod draft;
mod error;
mod follow;
mod format;
mod hashes;
mod keeper;
mod kept;
mod lacks;
mod log;
pub mod look;
mod order;
mod place;
mod scan;
mod shelf;
mod step;
#[cfg(test)]
mod tests;
mod write;

pub use answer::Answer;
pub use book::{Book, Known};
pub use draft::{Draft, Pending};
pub use error::Error;
pub use format::digest;
pub use keeper::PROGRAM;
pub use shelf::{Kept, Options, Shelf, Standing};
