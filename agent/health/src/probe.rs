//! What the mesh wants to have probed: `readinessProbe` of a ProxyConfig.

mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{HeaderMap, uri::PathAndQuery};

pub use read::Problem;

/// How it is found out whether the workload is well, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub method: Method,
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
