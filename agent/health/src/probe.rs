//! What the mesh wants to have probed, `readinessProbe` of a ProxyConfig, and what the operator of
//! this machine does besides.

mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{HeaderMap, uri::PathAndQuery};

pub use read::Problem;

/// How it is found out whether the workload is well, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked. All of it has to be well; with nothing here, Envoy alone has to be.
    pub methods: Vec<Method>,
    /// How long the workload is left alone at first.
    pub initial_delay: Duration,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// From one question to the next.
    pub period: Duration,
    /// How often in a row it is to be found in one state until that counts.
    pub thresholds: Thresholds,
}

/// How many findings in a row make a verdict; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Until the workload is well.
    pub success: u32,
    /// Until it is not.
    pub failure: u32,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// A page, which has to be there.
    Http(Http),
    /// A connection, which has to be taken.
    Tcp(Tcp),
    /// A program, which has to succeed.
    Exec(Exec),
    /// `grpc.health.v1.Health`, which has to say `SERVING`.
    Grpc(Grpc),
    /// Units of systemd, which have to be active. The mesh has no words for it.
    Units(Units),
}

/// A page that has to be there: a status of 200 to 399.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// With TLS or without.
    pub scheme: Scheme,
    /// Whom to ask; the machine's first address if nobody is named.
    pub host: Option<String>,
    /// Where it listens.
    pub port: u16,
    /// What to ask for.
    pub path: PathAndQuery,
    /// What to say besides.
    pub headers: HeaderMap,
}

/// How a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In clear text.
    Http,
    /// With TLS, whoever the certificate names: it is the machine's own workload that is asked.
    Https,
}

/// A port that has to take a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// Whom to ask; the machine's first address if nobody is named.
    pub host: Option<String>,
    /// Where it listens.
    pub port: u16,
}

/// A program that has to succeed, run as the agent's user without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// An absolute path, or a name that is looked for in the system's directories.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A gRPC server that has to say that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grpc {
    /// Where it listens, on the machine's first address.
    pub port: u16,
    /// The service that is asked for; empty for the server as a whole.
    pub service: String,
}

/// Units of systemd that have to be active, or to be reloading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    names: Vec<String>,
}

impl Units {
    /// Those with these names; `.service` is meant where a name has no suffix. None if one of them
    /// cannot be the name of a unit, or if there is none.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let names: Option<Vec<String>> = names.into_iter().map(unit).collect();
        names.filter(|names| !names.is_empty()).map(|names| Self { names })
    }

    /// Their whole names.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

fn unit(name: &str) -> Option<String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || ":_.\\@-".contains(c);
    let suffixed = SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    let whole = if suffixed { name.to_owned() } else { format!("{name}.service") };
    let stem = whole.rsplit_once('.').map_or("", |(stem, _)| stem);
    // A template is no unit, and what begins with a dash would be taken for an option.
    let named = !stem.is_empty() && !stem.starts_with('-') && !stem.ends_with('@');
    (named && whole.len() <= LONGEST_UNIT && whole.chars().all(letter)).then_some(whole)
}

/// The kinds of units that can be active.
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".target",
    ".mount",
    ".automount",
    ".swap",
    ".timer",
    ".path",
    ".slice",
    ".scope",
    ".device",
];
const LONGEST_UNIT: usize = 255;
