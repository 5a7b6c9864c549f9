//! The promises of the README, each in a file of its own, held against the real program.
//!
//! One binary for all of them: linking is what takes the time.

#![expect(
    clippy::panic_in_result_fn,
    clippy::indexing_slicing,
    reason = "a test ends where it fails, by an error or by an assertion"
)]

mod certificates;
mod credentials;
mod dns;
mod endpoints;
mod envoy;
mod envoy_unit;
mod explains;
mod identity;
mod intercept;
mod istiod_away;
mod joins;
mod kept;
mod last_good;
mod life;
mod machine;
mod modules;
mod outages;
mod package;
mod programs;
mod pushes;
mod registration;
mod relay;
mod restart;
mod rig;
mod roots;
mod shutdown;
mod soak;
mod stock;
mod strangers;
mod trouble;
mod versions;
mod vm;

/// The program under test.
const HAWSER: &str = env!("CARGO_BIN_EXE_hawser");
