//! What Vault answers, as values. Pure: bytes in, values out.

use std::{fmt, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};

use crate::secret::Secret;

/// A token, and how long it is good for.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) token: Secret,
    /// None for one that does not end.
    pub(crate) ttl: Option<Duration>,
    pub(crate) renewable: bool,
}

/// A certificate and what is above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    /// PEM, leaf first.
    pub(crate) chain: Vec<String>,
}

/// What Vault says of its reasons, cut short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(pub String);

/// Why an answer means nothing. What it held is not told: it may be a secret.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Garbled {
    #[error("no JSON of the expected kind, as of byte {column}")]
    Json { column: usize },
    #[error("{0}")]
    Lacks(&'static str),
}

#[derive(Deserialize)]
struct Authenticated {
    auth: Option<Auth>,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Secret,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct LookedUp {
    data: Looked,
}

#[derive(Deserialize)]
struct Looked {
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct Signing {
    data: Signs,
}

#[derive(Deserialize)]
struct Signs {
    certificate: String,
    #[serde(default)]
    issuing_ca: Option<String>,
    #[serde(default)]
    ca_chain: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default)]
    errors: Vec<String>,
}

impl Granted {
    /// What a login or a renewal has given.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Garbled> {
        let auth = parsed::<Authenticated>(body)?.auth;
        let Auth { client_token, lease_duration, renewable } =
            auth.ok_or(Garbled::Lacks("nobody was logged in"))?;
        if client_token.expose().is_empty() {
            return Err(Garbled::Lacks("the token is empty"));
        }
        Ok(Self { token: client_token, ttl: ttl(lease_duration), renewable })
    }

    /// A token that was there, and what Vault says of it.
    pub(crate) fn looked_up(token: Secret, body: &[u8]) -> Result<Self, Garbled> {
        let Looked { ttl: seconds, renewable } = parsed::<LookedUp>(body)?.data;
        Ok(Self { token, ttl: ttl(seconds), renewable })
    }
}

impl Signature {
    /// What a role has signed. An older Vault names no chain where a root signs by itself.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Garbled> {
        let Signs { certificate, issuing_ca, ca_chain } = parsed::<Signing>(body)?.data;
        let above = ca_chain.filter(|chain| !chain.is_empty());
        let above = above.unwrap_or_else(|| issuing_ca.into_iter().collect());
        if above.len() > MOST_ABOVE {
            return Err(Garbled::Lacks("the chain is too long"));
        }
        Ok(Self { chain: std::iter::once(certificate).chain(above).collect() })
    }
}

impl Said {
    /// What an answer that is none says.
    pub(crate) fn read(body: &[u8]) -> Self {
        let errors = serde_json::from_slice::<Failure>(body).unwrap_or_default().errors;
        let text = errors.join("; ");
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self(line.chars().filter(|char| !char.is_control()).take(LONGEST).collect())
    }

    pub(crate) fn has(&self, what: &str) -> bool {
        self.0.to_ascii_lowercase().contains(what)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => Ok(()),
            said => write!(f, ": {said}"),
        }
    }
}

/// Reads the same bytes as everything that they could be.
pub fn fuzz(body: &[u8]) {
    if let Ok(granted) = Granted::read(body) {
        assert!(!granted.token.expose().is_empty() && granted.ttl != Some(Duration::ZERO));
    }
    parsed::<LookedUp>(body).ok();
    if let Ok(signature) = Signature::read(body) {
        assert!((1..=MOST_ABOVE + 1).contains(&signature.chain.len()));
    }
    assert!(Said::read(body).0.chars().count() <= LONGEST);
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Garbled> {
    serde_json::from_slice(body).map_err(|error| Garbled::Json { column: error.column() })
}

/// Vault writes 0 for what does not end.
fn ttl(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.min(LONGEST_LEASE)))
}

const MOST_ABOVE: usize = 15;
const LONGEST: usize = 512;
/// Ten years: times are added to it.
const LONGEST_LEASE: u64 = 10 * 365 * 24 * 3600;
