//! Traffic to Envoy: one nftables table of ours, and nothing else of the machine.
//!
//! ```text
//! settings ─▶ Options ┐
//!                     ├─▶ plan (pure) ─▶ ruleset, routes ─▶ nft, netlink
//! machine  ─▶ Machine ┘                     │
//!                                   gates: sets of protocols, shut while Envoy or the agent is away
//! ```

pub mod adopt;
pub mod apply;
pub mod gates;
pub mod guard;
pub mod job;
pub mod listening;
pub mod nft;
pub mod plan;
pub mod report;
pub mod trial;
pub mod units;
pub mod view;

mod error;
mod netlink;
mod program;
mod routes;

pub use error::Error;
