//! The loops against an istiod that signs as the real one does, by a clock that tests move.

mod answers;
mod at_rest;
mod auto;
mod clocks;
mod credentials;
mod exec;
mod files;
mod months;
mod provider;
mod renewals;
mod rig;
mod roots;
mod vault;
mod workload;
