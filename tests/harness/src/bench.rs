//! What benches have in common: who is measured, what was used, and the table of it.

pub mod pilot_agent;
pub mod process;
pub mod rows;
pub mod usage;
