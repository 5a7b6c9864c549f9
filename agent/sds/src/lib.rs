//! Identity to Envoy: certificates over the Secret Discovery Service.
//!
//! ```text
//!  identity, roots ─▶ keeper ─▶ secret (pure) ─▶ stream ─▶ Envoy
//!        files ─▶ file ─┘ shelf (pure)             │ one per Envoy stream, in two flavours
//!                 ▲                                └ subscription (pure): who was told what
//!                 └────────── wanted ◀─────────────┘
//! ```
//!
//! What always holds:
//!
//! - `default` is the workload's key and chain, `ROOTCA` the roots it trusts, `file-cert:` and
//!   `file-root:` what other files hold. No other name ever yields anything, least of all the
//!   key, whoever asks for it: in delta it is said to be removed; in state-of-the-world it is left
//!   out, and a stream that wants nothing else ends.
//! - A stream that asks for what is not there yet waits, without an error, and is answered when
//!   it appears. What was served once is served until something newer takes its place.
//! - A file is read and watched while a stream wants it. What it holds is served only whole: a
//!   pair that fits, roots that are roots.
//! - A secret is sent once per version, and the version is made from the content: a restart, a
//!   renewal that leaves the roots as they were, or a file that is touched resends nothing that
//!   Envoy has.

mod counts;
mod delta;
mod file;
mod keeper;
mod name;
mod revocation;
mod secret;
mod serve;
mod shelf;
mod sotw;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;
mod version;
mod wanted;
mod watcher;

pub use counts::Counts;
pub use name::{File, Foreign, Name};
pub use serve::{Error, Options, serve};
