//! A mesh without istiod: one file of services, and what follows from it.
//!
//! ```text
//!  services.yaml ──▶ file: text → Services, or every problem with its line
//!                                   │
//!  names' addresses of before ──▶ addresses: a name keeps its own
//!                                   ▼
//!                              make: Services → Made: clusters, listeners, routes, names
//! ```
//!
//! Values in, values out: nothing here reads a file but those that the file names, and nothing
//! here speaks to anybody.

pub mod addresses;
pub mod file;
pub mod import;
pub mod make;
pub mod model;
pub mod problem;

pub use addresses::Addresses;
pub use make::{Had, Local, Made, Resource, make, remake};
pub use model::Services;
pub use problem::{Place, Problem, Problems};
