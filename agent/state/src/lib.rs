//! Durable files: atomic, checksummed, versioned.
//!
//! - A reader sees the old file or the new one, whole, at any moment and after any crash.
//! - What is read is what was written, or it is not returned: a damaged file is set aside and
//!   named, never trusted and never fatal.
//! - Only the owner can read a state file, and no symlink is followed to or from one.
//!
//! All of it blocks; files are small and rare enough for that, large ones belong on a blocking
//! thread.

mod atomic;
mod damage;
mod error;
mod format;
mod step;
mod store;

pub use atomic::write_file;
pub use damage::Damage;
pub use error::Error;
pub use format::{BODY_LIMIT, decode};
pub use store::Store;
