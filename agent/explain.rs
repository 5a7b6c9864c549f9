//! The path of one request: which of Envoy's listeners, routes, clusters and endpoints it takes,
//! where it ends, and where it breaks.
//!
//! Pure: what Envoy's admin interface has said ([`dump`]) and what is known of the machine go in,
//! [`Step`]s come out. Who asks Envoy, and what for, is `gather`.

pub mod cluster;
pub mod dump;
pub mod endpoint;
pub(crate) mod gather;
pub mod listener;
pub mod name;
pub mod peer;
pub mod request;
pub mod route;
pub mod rule;
pub(crate) mod walk;

use serde::Serialize;

/// The path, as far as it goes. Fields are added, and never change their meaning.
#[derive(Debug, Clone, Serialize)]
pub struct Path {
    /// What is asked for.
    pub request: request::Request,
    /// By whom.
    pub user: String,
    /// Whether it is whole.
    pub verdict: Verdict,
    /// What there is on the way, in this order.
    pub steps: Vec<Step>,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing stands in the way.
    Whole,
    /// A step says where it breaks.
    Breaks,
    /// The agent or Envoy has not answered, so that not all of it is known.
    Unknown,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which.
    pub step: Kind,
    /// What happens there.
    pub what: String,
    /// More of it.
    pub more: Vec<String>,
    /// Why the request gets no further.
    pub breaks: Option<String>,
    /// A command that tells more, or mends it.
    pub next: Option<String>,
    /// Somebody who knows has not answered.
    pub unknown: bool,
    /// The same for programs.
    pub facts: serde_json::Value,
}

/// The steps of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What the name resolves to.
    Name,
    /// Where the program connects to.
    Address,
    /// What the kernel does with that.
    Rule,
    /// Where Envoy takes it.
    Listener,
    /// What Envoy makes of an HTTP request.
    Route,
    /// What it is sent to.
    Cluster,
    /// Who is there.
    Endpoints,
    /// The way into another network.
    Gateway,
    /// Who has to answer.
    Peer,
}

impl Kind {
    /// Its name on the screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Address => "address",
            Self::Rule => "rule",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints",
            Self::Gateway => "gateway",
            Self::Peer => "peer",
        }
    }
}

impl Step {
    /// A step that is no hindrance.
    pub fn new(step: Kind, what: impl Into<String>) -> Self {
        Self {
            step,
            what: what.into(),
            more: Vec::new(),
            breaks: None,
            next: None,
            unknown: false,
            facts: serde_json::Value::Null,
        }
    }

    /// With one more line.
    #[must_use]
    pub fn and(mut self, line: impl Into<String>) -> Self {
        self.more.push(line.into());
        self
    }

    /// With what a program wants to know.
    #[must_use]
    pub fn facts(mut self, facts: serde_json::Value) -> Self {
        self.facts = facts;
        self
    }

    /// Where the request gets no further, and what to do.
    #[must_use]
    pub fn breaks(mut self, why: impl Into<String>, next: impl Into<String>) -> Self {
        self.breaks = Some(why.into());
        self.next = Some(next.into());
        self
    }

    /// Where nobody answers who knows.
    #[must_use]
    pub fn unknown(mut self, next: impl Into<String>) -> Self {
        self.unknown = true;
        self.next = Some(next.into());
        self
    }
}

impl Path {
    /// These steps.
    pub fn new(request: request::Request, user: String, steps: Vec<Step>) -> Self {
        let verdict = if steps.iter().any(|step| step.unknown) {
            Verdict::Unknown
        } else if steps.iter().any(|step| step.breaks.is_some()) {
            Verdict::Breaks
        } else {
            Verdict::Whole
        };
        Self { request, user, verdict, steps }
    }
}
