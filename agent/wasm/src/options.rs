//! What whoever fetches modules has to be told.

use std::{path::PathBuf, time::Duration};

use hawser_rt::{Clock, metrics::Registry};

use crate::Cidr;

/// Where modules are kept, and how they are fetched.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where modules are kept. Made if it is not there; its parent has to be, and Envoy's user
    /// must be able to enter both.
    pub directory: PathBuf,
    /// How many bytes of modules are kept: the longest unused go first, what Envoy uses stays.
    pub room: u64,
    /// The largest module, and the largest download.
    pub largest: u64,
    /// How long one HTTP request may take. The filter itself says how long all of them may.
    pub http_timeout: Duration,
    /// How often a module is asked for before it is given up; at least once.
    pub attempts: u32,
    /// The first wait between two attempts; it doubles up to a minute.
    pub backoff: Duration,
    /// Hosts (`host` or `host:port`, `*` for all) whose certificate is not looked at, and to
    /// which a password may go in clear text.
    pub insecure: Vec<String>,
    /// Addresses that are never dialled, besides link-local ones and those of metadata servers.
    pub blocked: Vec<Cidr>,
    /// Files of PEM certificates that servers are believed by besides the machine's own roots.
    pub roots: Vec<PathBuf>,
    /// A Docker `config.json`: the passwords of registries for which istiod sends none.
    pub keychain: Option<PathBuf>,
    /// A module that has not been used for so long is removed.
    pub expiry: Duration,
    /// How often that is looked at.
    pub purge_every: Duration,
    /// What "used for so long" is measured by.
    pub clock: Clock,
    /// Where fetches are counted.
    pub metrics: Registry,
}

impl Options {
    /// The usual ones, which are those of Istio's agent where it has them.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            room: 1 << 30,
            largest: 256 << 20,
            http_timeout: Duration::from_secs(15),
            attempts: 5,
            backoff: Duration::from_millis(500),
            insecure: Vec::new(),
            blocked: Vec::new(),
            roots: Vec::new(),
            keychain: None,
            expiry: Duration::from_secs(24 * 3600),
            purge_every: Duration::from_secs(3600),
            clock: Clock::default(),
            metrics: Registry::default(),
        }
    }
}
