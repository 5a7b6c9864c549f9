//! Envoy: its bootstrap, its admin interface, its life in foreground mode.
//!
//! - [`bootstrap`] says what Envoy starts with, and [`arguments`] how (both pure).
//! - [`grpc`] says what a program starts with that needs no Envoy (pure).
//! - [`admin`] asks a running Envoy; [`readiness`] judges the answer (pure), [`drain`] lets its
//!   connections end.
//! - [`supervise`] keeps one alive where no service manager does.
//! - Where one does, [`launch`] is what the agent tells Envoy's unit, [`find`] and [`choose`] say what
//!   is started, [`log`] carries what it says, [`ending`] says why it ended, and [`mod@unit`] is where
//!   all of that is kept.

pub mod admin;
pub mod arguments;
pub mod bootstrap;
pub mod choose;
pub mod drain;
pub mod ending;
mod error;
pub mod find;
pub mod grpc;
pub mod launch;
mod leftover;
pub mod log;
pub mod readiness;
pub mod supervise;
pub mod unit;

pub use error::Error;
