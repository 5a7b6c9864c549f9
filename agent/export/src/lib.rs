//! Identity to programs: certificates as files that switch as a whole.
//!
//! ```text
//! key.pem ──────▶ ..data/key.pem          ..data ──▶ ..hawser-7
//! cert-chain.pem ▶ ..data/cert-chain.pem             ..hawser-6, the set before
//! root-cert.pem ▶ ..data/root-cert.pem
//! ```
//!
//! - A set is written beside the one in use and flushed; then one rename of `..data` switches all
//!   three names. After a crash at any step they show the old set or the new one.
//! - A file is never readable to more than the options say, and only to this user before it is
//!   complete.
//! - Content that is there already switches nothing and pokes nobody.
//! - What others have to be told is remembered (`..poked`), also through a restart, until they
//!   were told.
//!
//! Files that another program has put under the names are taken over without a mixed pair in
//! between: what they show becomes a set of its own first. Where such a file cannot be copied (a
//! link, or not readable to this user), its name shows nothing for a moment rather than half of a
//! pair.

#[cfg(test)]
mod ca;
mod directory;
mod error;
mod poke;
mod run;
mod set;
mod versions;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use hawser_pki::{Bundle, Identity, KeyForm};
use hawser_rt::Command;

pub use error::Error;
pub use run::run;

/// Where the files are, whose they are, and who has to be told of new ones.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; it has to be there.
    pub directory: PathBuf,
    /// The user they are given to; this process' own without.
    pub owner: Option<u32>,
    /// The group they are given to; this process' own without.
    pub group: Option<u32>,
    /// The mode of `key.pem`.
    pub key_mode: u32,
    /// The mode of the other two.
    pub mode: u32,
    /// How the key is written.
    pub form: KeyForm,
    /// What to run after a switch.
    pub command: Option<Command>,
    /// A file whose time is set after a switch, for a systemd path unit to watch.
    pub stamp: Option<PathBuf>,
    /// How long the next poke waits after one.
    pub spacing: Duration,
}

/// How it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// When this process last switched, or found everything in place.
    pub at: Option<SystemTime>,
    /// Why the files are not as they should be, or the others not told.
    pub wrong: Option<String>,
    /// When the others were last told.
    pub poked: Option<SystemTime>,
}

/// Puts `identity` and the roots that are `trusted` in place; false if they were there already.
///
/// Pokes nobody. Blocks, as writing to a disk does.
pub fn switch(options: &Options, identity: &Identity, trusted: &Bundle) -> Result<bool, Error> {
    versions::switch(options, identity, trusted).map(|outcome| outcome.switched)
}
