//! One stream from Envoy joined to one stream to istiod.
//!
//! Holds no socket, no clock and no task: messages in, what to do with them out. [`crate::relay`]
//! carries them over the network. What is true of every session:
//!
//! - A response of a type that the agent keeps never reaches Envoy, and a request for one never
//!   comes from it.
//! - All else passes, in order and byte for byte, even what cannot be read: the ends speak newer
//!   dialects than this relay knows, and judge for themselves.
//! - Requests wait without a bound on their number, and with one on their bytes.
//! - Until istiod has said something, what it was given can be given again, within reason.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hawser_proto::type_url;

use hawser_wire::{Flavour, Request, Response};

/// What is known of a stream pair.
#[derive(Debug)]
pub(crate) struct Session {
    flavour: Flavour,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// What istiod was given; none once it has said something, or when it is too much to keep.
    given: Option<VecDeque<Bytes>>,
    given_bytes: usize,
    /// Per type, the response that Envoy has not spoken of yet.
    pending: BTreeMap<String, Pending>,
}

#[derive(Debug)]
struct Pending {
    nonce: String,
    version: String,
}

/// What a message meant, for whoever keeps count.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// Envoy asks.
    Asked { type_url: String },
    /// Envoy has taken a response.
    Accepted { type_url: String, version: String },
    /// Envoy has refused a response.
    Rejected { type_url: String, version: String, error: String },
    /// istiod has sent a response, and it passes.
    Sent { type_url: String, version: String, resources: usize },
    /// A message of a type that is not for the other side; it does not pass.
    Withheld { type_url: String },
    /// A message that is none; it passes, for the other side to refuse.
    Unreadable,
}

/// Envoy asks faster than istiod takes it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("istiod takes no requests: {bytes} bytes are waiting, at most {MOST_WAITING} may")]
pub(crate) struct Overflow {
    bytes: usize,
}

impl Session {
    pub(crate) fn new(flavour: Flavour) -> Self {
        Self {
            flavour,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            given: Some(VecDeque::new()),
            given_bytes: 0,
            pending: BTreeMap::new(),
        }
    }

    /// Takes a request of Envoy's; if it is for istiod, it waits for [`Self::next_request`].
    pub(crate) fn request(&mut self, message: Bytes) -> Result<Note, Overflow> {
        let note = match Request::scan(self.flavour, &message) {
            Ok(seen) if is_kept(seen.type_url) => {
                return Ok(Note::Withheld { type_url: brief(seen.type_url) });
            }
            Ok(seen) => self.spoken_of(&seen),
            Err(_) => Note::Unreadable,
        };
        let bytes = self.waiting_bytes + message.len() + OVERHEAD;
        if bytes > MOST_WAITING {
            return Err(Overflow { bytes });
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(message);
        Ok(note)
    }

    /// Whether a request waits for istiod.
    pub(crate) fn has_request(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The oldest request that waits.
    pub(crate) fn next_request(&mut self) -> Option<Bytes> {
        let message = self.waiting.pop_front()?;
        let bytes = message.len() + OVERHEAD;
        self.waiting_bytes -= bytes;
        self.given_bytes += bytes;
        if self.given_bytes > MOST_GIVEN {
            self.given = None;
        }
        if let Some(given) = &mut self.given {
            given.push_back(message.clone());
        }
        Some(message)
    }

    /// Begins anew, with an istiod that has said nothing yet: all requests wait again. False if
    /// that cannot be.
    pub(crate) fn begin_again(&mut self) -> bool {
        let Some(given) = &mut self.given else { return false };
        given.append(&mut self.waiting);
        std::mem::swap(given, &mut self.waiting);
        self.waiting_bytes += std::mem::take(&mut self.given_bytes);
        true
    }

    /// Looks at a response of istiod's and says whether it passes to Envoy.
    pub(crate) fn response(&mut self, message: &[u8]) -> (bool, Note) {
        self.given = None;
        let Ok(seen) = Response::scan(self.flavour, message) else {
            return (true, Note::Unreadable);
        };
        let type_url = brief(seen.type_url);
        if is_kept(seen.type_url) {
            return (false, Note::Withheld { type_url });
        }
        let version = brief(seen.version);
        let pending = Pending { nonce: seen.nonce.to_owned(), version: version.clone() };
        if self.pending.contains_key(&type_url) || self.pending.len() < MOST_TYPES {
            self.pending.insert(type_url.clone(), pending);
        }
        (true, Note::Sent { type_url, version, resources: seen.resources })
    }

    /// What a request says of the last response of its type.
    fn spoken_of(&mut self, request: &Request<'_>) -> Note {
        let type_url = brief(request.type_url);
        let about_last =
            self.pending.get(&type_url).is_some_and(|pending| pending.nonce == request.nonce);
        let pending = if about_last { self.pending.remove(&type_url) } else { None };
        let version = |pending: Option<Pending>| pending.map_or_else(String::new, |it| it.version);
        match (request.rejection, pending) {
            (Some(error), pending) => {
                let (version, error) = (version(pending), brief(error));
                Note::Rejected { type_url, version, error }
            }
            (None, Some(pending)) => Note::Accepted { type_url, version: pending.version },
            (None, None) => Note::Asked { type_url },
        }
    }
}

/// Types that are the agent's own business with istiod.
fn is_kept(type_url: &str) -> bool {
    [type_url::NAME_TABLE, type_url::PROXY_CONFIG, type_url::HEALTH].contains(&type_url)
}

/// A text from outside in a length that can be kept and shown.
fn brief(text: &str) -> String {
    text.chars().take(LONGEST_NOTE).collect()
}

const LONGEST_NOTE: usize = 512;
/// Istio knows about a dozen.
const MOST_TYPES: usize = 64;
/// A reconnecting delta client of a large mesh sends a few MiB.
const MOST_WAITING: usize = 64 << 20;
/// What is kept for another attempt: the first requests of a stream.
const MOST_GIVEN: usize = 16 << 20;
/// What a waiting message costs besides its bytes.
const OVERHEAD: usize = 64;
