//! What the other units of hawser leave in their runtime directories for everybody to read: Envoy's,
//! and the one that redirects traffic. What is not there is not running here.

pub mod envoy;
pub mod intercept;

use serde::{Deserialize, Serialize};

use crate::config::paths::Paths;

/// The other units.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UnitsStatus {
    /// Null where Envoy's unit has left nothing.
    pub envoy: Option<envoy::Status>,
    /// Null where the unit that redirects traffic has left nothing.
    pub intercept: Option<intercept::Status>,
}

impl UnitsStatus {
    /// What they have left. A few small files, read in place.
    pub fn read(paths: &Paths) -> Self {
        Self { envoy: envoy::read(paths), intercept: intercept::read(paths) }
    }
}
