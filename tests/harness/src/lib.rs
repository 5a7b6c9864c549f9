//! A mesh in one process: fake istiod, a workload, a real Envoy, the agent.
//!
//! Fakes speak the real protocol on real sockets of 127.0.0.0/8; nothing needs root. Everything
//! that is started here ends when its handle is dropped.

pub mod agent;
pub mod bundle;
pub mod ca;
pub mod demo;
pub mod dig;
pub mod envoy;
pub mod free;
pub mod http1;
pub mod istiod;
pub mod mesh;
pub mod resolver;
pub mod service;
pub mod token;
pub mod vm;
pub mod wait;
pub mod workload;
