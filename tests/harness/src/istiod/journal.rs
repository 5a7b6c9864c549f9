//! What FakeIstiod has seen, for a test to look at or to wait for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use hawser_proto::envoy::envoy::config::core::v3::Node;
use serde_json::Value;
use tokio::time::Instant;
use tonic::Code;

use super::caller::{Client, Shown};
use super::faults::Wrong;
use super::registry::Registry;
use super::request::Request;

/// Everything seen since the start; counters by way of `len()`.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Connections, in the order in which they were accepted.
    pub connections: Vec<Connection>,
    /// Certificate requests, good or refused.
    pub csrs: Vec<Csr>,
    /// Discovery streams, live or ended.
    pub streams: Vec<Stream>,
    /// Every discovery request of every stream.
    pub asked: Vec<Asked>,
    /// Every discovery response of every stream.
    pub answered: Vec<Answered>,
    /// Health reports, on whichever stream.
    pub health: Vec<Health>,
    /// How many health reports came before anything else on their stream, and were dropped.
    pub health_dropped: usize,
    /// How often a [cut](super::Faults::cut) was made.
    pub cuts: usize,
    /// Workload groups and the entries registered from them.
    pub registry: Registry,
    /// How often a client has brought istiod down: by refusing a type it never subscribed to.
    pub crashes: usize,
}

/// One TCP connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its number, counted from 0.
    pub id: u64,
    /// Where it came from.
    pub peer: SocketAddr,
    /// What became of it so far.
    pub state: ConnectionState,
}

/// How far a connection got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// Accepted; the handshake is not over.
    Accepted,
    /// Up, by a caller who showed this certificate identity or none.
    Up(Option<String>),
    /// The handshake failed for this reason.
    Refused(String),
    /// Over.
    Closed,
}

/// One call of `CreateCertificate`.
#[derive(Debug, Clone)]
pub struct Csr {
    /// The connection it came on.
    pub connection: u64,
    /// When it came, in the time of the CA.
    pub at: SystemTime,
    /// What was shown with it.
    pub shown: Shown,
    /// The certificate that was shown.
    pub certificate: Option<Client>,
    /// The subject of the token that was shown, whether it was any good or not.
    pub subject: Option<String>,
    /// Whom the certificate was issued to; none if the caller was not known.
    pub identities: Vec<String>,
    /// The request for a certificate itself; none if it is not one.
    pub request: Option<Request>,
    /// Seconds asked for.
    pub validity: i64,
    /// The text fields of the call's metadata message, if it has one.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The `clusterid` header.
    pub cluster_id: Option<String>,
    /// Request headers that are not HTTP's own, in their order; no credentials.
    pub headers: Vec<(String, String)>,
    /// The answer's status; `Ok` for one that is wrong, or that was to be given and never is.
    pub code: Code,
    /// What was made wrong in the answer.
    pub wrong: Option<Wrong>,
}

/// Which form of the protocol a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// State of the world.
    SotW,
    /// Incremental.
    Delta,
}

/// One discovery stream whose first request was taken or refused.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its number, counted from 0.
    pub id: u64,
    /// The connection it is on.
    pub connection: u64,
    /// Its form.
    pub flavour: Flavour,
    /// What was shown with it.
    pub shown: Shown,
    /// Whom istiod took the caller for.
    pub identities: Vec<String>,
    /// Request headers that are not HTTP's own; no credentials.
    pub headers: BTreeMap<String, String>,
    /// Node id of the first request.
    pub node_id: String,
    /// Node metadata of the first request.
    pub metadata: Value,
    /// All of the first request's node.
    pub node: Node,
    /// When its first request came.
    pub opened: Instant,
    /// When it was over.
    pub over: Option<Instant>,
    /// Set when it is over: `Ok` when the client left.
    pub ended: Option<Code>,
}

/// What istiod made of a discovery request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The first of its type on this stream.
    Subscribed,
    /// The names of a known subscription changed.
    Changed,
    /// The last response was taken.
    Ack,
    /// The last response was refused.
    Nack,
    /// An answer to a response that is not the last.
    Stale,
    /// Nothing of this type is wanted any more.
    Unsubscribed,
    /// No subscription: a health report.
    Health,
    /// The stream ended over it.
    Refused,
}

/// One discovery request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The stream it came on.
    pub stream: u64,
    /// The type it is about.
    pub type_url: String,
    /// Names wanted (in delta: newly wanted).
    pub names: Vec<String>,
    /// Names not wanted any more; delta only.
    pub unsubscribed: Vec<String>,
    /// What the client says it has; delta only.
    pub initial: BTreeMap<String, String>,
    /// The version it has; SotW only.
    pub version: String,
    /// The response it answers, if any.
    pub nonce: String,
    /// Code and message of a refusal.
    pub error: Option<(i32, String)>,
    /// Whether a node came with it.
    pub with_node: bool,
    /// What istiod made of it.
    pub verdict: Verdict,
}

/// Of how many resources in a response the journal has names.
pub const NAMED: usize = 32;

/// One discovery response.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The stream it went to.
    pub stream: u64,
    /// The type it is about.
    pub type_url: String,
    /// Its version.
    pub version: String,
    /// Its nonce.
    pub nonce: String,
    /// How many resources it carried.
    pub resources: usize,
    /// The names of the first [`NAMED`] of them.
    pub names: Vec<String>,
    /// How long the message was.
    pub bytes: usize,
    /// Names it removed; delta only.
    pub removed: Vec<String>,
}

/// One health report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The stream it came on.
    pub stream: u64,
    /// `None` is healthy; else the reason why not.
    pub problem: Option<String>,
}

impl Seen {
    /// Requests of one type with one verdict.
    #[must_use]
    pub fn asked(&self, type_url: &str, verdict: Verdict) -> Vec<&Asked> {
        self.asked.iter().filter(|one| one.type_url == type_url && one.verdict == verdict).collect()
    }

    /// How many responses of a type were taken.
    #[must_use]
    pub fn acks(&self, type_url: &str) -> usize {
        self.asked(type_url, Verdict::Ack).len()
    }

    /// Code and message of every refusal of a type's responses.
    #[must_use]
    pub fn nacks(&self, type_url: &str) -> Vec<(i32, String)> {
        let refused = self.asked(type_url, Verdict::Nack);
        refused.into_iter().filter_map(|one| one.error.clone()).collect()
    }

    /// The streams that are not over.
    #[must_use]
    pub fn live(&self) -> Vec<&Stream> {
        self.streams.iter().filter(|stream| stream.ended.is_none()).collect()
    }

    /// The requests of one stream, in their order.
    #[must_use]
    pub fn asked_on(&self, stream: u64) -> Vec<&Asked> {
        self.asked.iter().filter(|one| one.stream == stream).collect()
    }

    /// The responses of a type on one stream, in their order.
    #[must_use]
    pub fn answered_on(&self, stream: u64, type_url: &str) -> Vec<&Answered> {
        let of_it = |one: &&Answered| one.stream == stream && one.type_url == type_url;
        self.answered.iter().filter(of_it).collect()
    }

    /// The first request of a type on one stream, with what the client says it has.
    #[must_use]
    pub fn first_asked(&self, stream: u64, type_url: &str) -> Option<&Asked> {
        self.asked.iter().find(|one| one.stream == stream && one.type_url == type_url)
    }

    /// Health reports of one stream, in their order.
    #[must_use]
    pub fn health_on(&self, stream: u64) -> Vec<&Health> {
        self.health.iter().filter(|one| one.stream == stream).collect()
    }

    /// Certificate requests that were granted.
    #[must_use]
    pub fn issued(&self) -> Vec<&Csr> {
        self.csrs.iter().filter(|csr| csr.code == Code::Ok && csr.wrong.is_none()).collect()
    }

    /// Connections that are up.
    #[must_use]
    pub fn connected(&self) -> usize {
        let up = |one: &&Connection| matches!(one.state, ConnectionState::Up(_));
        self.connections.iter().filter(up).count()
    }

    pub(super) fn connection(&mut self, id: u64, state: ConnectionState) {
        if let Some(one) = self.connections.iter_mut().find(|one| one.id == id) {
            one.state = state;
        }
    }

    pub(super) fn ended(&mut self, stream: u64, code: Code) {
        if let Some(one) = self.streams.iter_mut().find(|one| one.id == stream) {
            one.ended = Some(code);
            one.over = Some(Instant::now());
        }
    }
}
