//! Somebody whose metrics are asked for.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use tracing::{info, warn};

use crate::Error;

/// Somebody whose metrics are asked for. Clones are the same.
#[derive(Debug, Clone)]
pub struct Source {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    pub(crate) path: String,
    /// Where it may listen, the likeliest first.
    pub(crate) hosts: Vec<IpAddr>,
    /// Whether it failed when it was asked last.
    fails: Arc<Mutex<bool>>,
}

/// Who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Envoy.
    Envoy,
    /// A program of this machine.
    Application,
}

impl Source {
    /// Whoever answers at a port of one of these addresses.
    pub fn new(kind: Kind, hosts: Vec<IpAddr>, port: u16, path: impl Into<String>) -> Self {
        Self { kind, port, path: path.into(), hosts, fails: Arc::default() }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.hosts.iter().map(|host| SocketAddr::new(*host, self.port))
    }

    /// Says when it begins to fail, and when that is over.
    pub(crate) fn note(&self, outcome: Result<(), &Error>) {
        let failed = outcome.is_err();
        let before = std::mem::replace(&mut *self.fails.lock(), failed);
        match outcome {
            Err(error) if !before => {
                let error = hawser_rt::Chain(error);
                warn!(peer = %self, %error, "metrics are left out of what is scraped");
            }
            Ok(()) if before => info!(peer = %self, "metrics are there again"),
            _ => {}
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "port {} {path}", self.port)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Envoy => "envoy",
            Self::Application => "application",
        })
    }
}
