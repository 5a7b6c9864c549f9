//! The promises of the README, each in a file of its own, held against the real program.
//!
//! One binary for all of them: linking is what takes the time.

#![expect(
    clippy::panic_in_result_fn,
    clippy::indexing_slicing,
    reason = "a test ends where it fails, by an error or by an assertion"
)]

mod bugreport;
mod certificates;
mod credentials;
mod dns;
mod docs;
mod doctor;
mod endpoints;
mod envoy;
mod envoy_unit;
mod explain;
mod explains;
mod health;
mod identity;
mod intercept;
mod istiod_away;
mod joins;
mod kept;
mod last_good;
mod life;
mod logs;
mod machine;
mod modules;
mod outages;
mod package;
mod pilot;
mod programs;
mod pushes;
mod registration;
mod relay;
mod restart;
mod rig;
mod roots;
mod screens;
mod shutdown;
mod soak;
mod standalone;
mod status_port;
mod stock;
mod strangers;
mod trouble;
mod versions;
mod vm;

/// The program under test.
const HAWSER: &str = env!("CARGO_BIN_EXE_hawser");
