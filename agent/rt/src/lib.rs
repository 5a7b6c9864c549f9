//! Long-running parts of a daemon: tasks, gates, backoff, notification, the clock on the wall,
//! files that are replaced, programs that print something, metrics. No word about meshes.
//!
//! Nothing here reads the environment, exits the process or keeps a global; the caller decides
//! what is run, who may connect and where the service manager listens.

pub mod addresses;
pub mod clock;
pub mod command;
pub mod files;
pub mod harden;
pub mod metrics;
pub mod notify;
pub mod signal;
pub mod uds;

mod backoff;
mod chain;
mod cidr;
mod descriptor;
mod error;
mod lock;
mod pulse;
mod readiness;
mod tasks;
mod throttle;

pub use backoff::Backoff;
pub use chain::Chain;
pub use cidr::{Cidr, NotACidr};
pub use clock::{Clock, Hand, Woke};
pub use command::Command;
pub use error::Error;
pub use lock::Lock;
pub use notify::Notifier;
pub use pulse::{Member, Pulse, awake};
pub use readiness::{Changes, Gate, Gates, Settled, Unless};
pub use tasks::{Stopped, Tasks};
pub use throttle::Throttle;

/// Any error, owned: what a task ends with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
