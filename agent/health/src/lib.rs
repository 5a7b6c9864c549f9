//! Whether the workload is well: probes, thresholds, verdict.
//!
//! ```text
//!  Envoy ready? ──▶ probes (http, tcp, grpc, exec, units) ──▶ tally (pure) ──▶ verdict, when it changes
//! ```
//!
//! - Nothing is said before Envoy was ready once, or had its time to become so: a machine that
//!   starts is not one that has failed.
//! - What asks over the network speaks from an address that interception lets alone, so that it
//!   asks the workload and not Envoy.
//! - Whatever a workload answers costs a bounded time and a bounded memory.
//!
//! A method of probing is a variant of [`Method`] and a file below `check`; what it finds out is
//! `Ok`, or a reason for people.

mod check;
mod probe;
mod run;
mod tally;

pub use check::{Answer, once, page};
pub use probe::{Exec, Grpc, Http, Method, Probe, Problem, Scheme, Tcp, Thresholds, Units};
pub use run::{Options, Verdict, run};
