//! Envoy: its bootstrap, its admin interface, its life in foreground mode.
//!
//! - [`bootstrap`] says what Envoy starts with, and [`arguments`] how (both pure).
//! - [`grpc`] says what a program starts with that needs no Envoy (pure).
//! - [`admin`] asks a running Envoy; [`readiness`] judges the answer (pure).
//! - [`supervise`] keeps one alive where no service manager does.

pub mod admin;
pub mod arguments;
pub mod bootstrap;
mod error;
pub mod grpc;
mod leftover;
pub mod readiness;
pub mod supervise;

pub use error::Error;
