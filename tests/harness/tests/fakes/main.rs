//! The harness held to what it claims: its fakes against clients of their own, and against Envoy.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]

mod agent;
mod answers;
mod client;
mod discovery;
mod eastwest;
mod envoy;
mod faults;
mod filters;
mod machine;
mod mesh;
mod metadata;
mod outside;
mod registry;
mod rotation;
mod sign;
mod spire;
mod times;
mod xds;
