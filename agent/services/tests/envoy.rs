//! A real Envoy takes what is made of a file, and calls through a real gateway with it.

#![expect(
    clippy::panic_in_result_fn,
    clippy::disallowed_methods,
    reason = "a test ends where it fails, and nobody else reads what it writes"
)]

#[path = "envoy/calls.rs"]
mod calls;
#[path = "envoy/filters.rs"]
mod filters;
#[path = "envoy/gateways.rs"]
mod gateways;
#[path = "envoy/machine.rs"]
mod machine;
#[path = "envoy/many.rs"]
mod many;
#[path = "envoy/others.rs"]
mod others;
