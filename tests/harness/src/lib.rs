//! A mesh in one process: fake istiod, a workload, a real Envoy, the agent.
//!
//! Fakes speak the real protocol on real sockets of 127.0.0.0/8; nothing needs root but a
//! [disk](disk::Disk) or a [network](netns::Net) of its own. Everything that is started here ends when its handle is dropped.

pub mod agent;
pub mod bench;
pub mod bundle;
pub mod ca;
pub mod demo;
pub mod dig;
pub mod disk;
pub mod eastwest;
pub mod envoy;
pub mod faketime;
pub mod filters;
pub mod free;
pub mod http1;
pub mod inbound;
pub mod istiod;
pub mod mesh;
pub mod metadata;
pub mod modules;
pub mod netns;
pub mod resolver;
pub mod schema;
pub mod service;
pub mod sidecar;
pub mod spire;
pub mod standalone;
pub mod store;
pub mod time;
pub mod token;
pub mod traffic;
pub mod vault;
pub mod vm;
pub mod wait;
pub mod wheel;
pub mod workload;
pub mod xds;
