//! What the agent tells Envoy's unit: everything but the bootstrap that it takes to start one.
//!
//! The agent writes it beside the bootstrap, so that a configuration file that is being edited, or is
//! wrong, is no reason for an Envoy that has ended to stay away.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// How Envoy is to be started, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The binary, if somebody has named one.
    pub binary: Option<PathBuf>,
    /// Its command line, with the place of the bootstrap that the unit makes.
    pub arguments: Vec<String>,
    /// Its admin interface.
    pub admin: SocketAddr,
    /// Where it answers for itself: connections that nobody waits for.
    pub own_ports: Vec<u16>,
    /// How long the mesh has to hear that the machine goes, before connections are told.
    pub drain_wait: Duration,
    /// How long connections may take to end by themselves.
    pub drain: Duration,
    /// Where what it says goes.
    pub log: LogTo,
    /// Whether it has to bind addresses that are not the machine's (TPROXY), which takes a
    /// capability.
    pub transparent: bool,
}

/// Where what Envoy says goes: its own log, and access logs to `/dev/stdout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTo {
    /// To the journal, or whatever standard output is.
    Journal,
    /// To a file, which is begun anew when it is large.
    File {
        /// Which one.
        path: PathBuf,
        /// How large it may become; zero if somebody else looks after it.
        size: u64,
        /// How many old ones are kept.
        keep: u32,
    },
}

impl Launch {
    /// Where the agent leaves it, beside the bootstrap in its runtime directory.
    pub fn path(run: &Path) -> PathBuf {
        run.join("envoy-start.json")
    }

    #[cfg(test)]
    pub(crate) fn tests(arguments: &[&str]) -> Self {
        Self {
            binary: None,
            arguments: arguments.iter().map(|&one| one.to_owned()).collect(),
            admin: SocketAddr::from(([127, 0, 0, 1], 1)),
            own_ports: Vec::new(),
            drain_wait: Duration::ZERO,
            drain: Duration::ZERO,
            log: LogTo::Journal,
            transparent: false,
        }
    }
}
