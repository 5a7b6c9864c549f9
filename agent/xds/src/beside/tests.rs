//! The mesh and what is made here, on one stream of Envoy's.

mod relay;
mod splitting;
