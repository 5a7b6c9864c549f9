//! What one stream has asked for and been told: state-of-the-world and delta on one core.
//!
//! Holds no socket, no clock and no secret: requests in, names to send out. What is true of every
//! stream:
//!
//! - A name is sent when it is asked for, and after that only when its version changes.
//! - A rejection changes nothing and is not answered: Envoy has said that it keeps what it had.
//! - A client that wants nothing but what will never be there is told so: in delta the names are
//!   said to be removed, in state-of-the-world, which has no word for that, the stream ends.
//! - In state-of-the-world a request about any answer but the last is passed over, for a newer
//!   request is on its way; delta requests are changes and all of them count.

use std::collections::{BTreeMap, BTreeSet};

/// What is on offer.
pub(crate) trait Stock {
    /// What there is under a name.
    fn find(&self, name: &str) -> Found<'_>;
}

/// What there is under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// Something of this version.
    Version(&'a str),
    /// Nothing so far; whoever asks waits.
    NotYet,
    /// Nothing, and there never will be.
    Never,
}

/// A state-of-the-world request: all names the client wants.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) names: Vec<String>,
    pub(crate) nonce: String,
    pub(crate) rejects: bool,
}

/// A delta request: what has changed in what the client wants.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) subscribe: Vec<String>,
    pub(crate) unsubscribe: Vec<String>,
    /// Versions that the client holds from an earlier stream.
    pub(crate) known: BTreeMap<String, String>,
    pub(crate) nonce: String,
    pub(crate) rejects: bool,
}

/// What a request said, and the answer to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reaction {
    pub(crate) heard: Heard,
    /// Names asked for that there will never be anything for.
    pub(crate) unknown: Vec<String>,
    pub(crate) answer: Option<Answer>,
}

/// What a request said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Names are wanted, or no longer wanted.
    Subscription,
    /// The last answer was taken.
    Acceptance,
    /// The last answer was refused.
    Rejection,
    /// It speaks of an answer that is not the last.
    Stale,
}

/// Names to send, under a nonce that no other answer of the process has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) names: Vec<String>,
    /// Names that do not exist. Only delta can say so: in state-of-the-world a name among others
    /// is left out, and Envoy goes on without it when its `initial_fetch_timeout` is over.
    pub(crate) gone: Vec<String>,
    pub(crate) nonce: String,
}

/// Why a stream ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// More names, or longer ones, than any Envoy asks for.
    #[error("a stream may ask for at most {MOST_NAMES} names of at most {LONGEST_NAME} bytes")]
    TooMuch,
    /// None of the names that are wanted will ever be there.
    #[error("none of these secrets is served here: {0:?}")]
    Foreign(Vec<String>),
}

/// One stream's side of the conversation.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Number of the stream in the process; it makes nonces unique.
    stream: u64,
    answers: u64,
    nonce: Option<String>,
    /// What is wanted, and the version that was sent last.
    wanted: BTreeMap<String, Option<String>>,
}

impl Subscription {
    pub(crate) fn new(stream: u64) -> Self {
        Self { stream, answers: 0, nonce: None, wanted: BTreeMap::new() }
    }

    /// What is wanted.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &str> {
        self.wanted.keys().map(String::as_str)
    }

    /// Takes a state-of-the-world request.
    pub(crate) fn whole(
        &mut self,
        request: Whole,
        stock: &impl Stock,
    ) -> Result<Reaction, Refusal> {
        let Whole { names, nonce, rejects } = request;
        check(&names, names.len())?;
        // A rejection as the first word of a stream still says what is wanted.
        if rejects && !self.wanted.is_empty() {
            return Ok(Reaction::only(Heard::Rejection));
        }
        let names: BTreeSet<String> = names.into_iter().collect();
        let first = nonce.is_empty() || self.wanted.is_empty();
        if names.is_empty() {
            self.wanted.clear();
            return Ok(Reaction::only(Heard::Subscription));
        }
        if !first && self.nonce.as_ref() != Some(&nonce) {
            return Ok(Reaction::only(Heard::Stale));
        }
        if first {
            self.wanted.clear();
        }
        self.wanted.retain(|name, _| names.contains(name));
        let added: Vec<String> =
            names.into_iter().filter(|name| !self.wanted.contains_key(name)).collect();
        let heard = match (rejects, first || !added.is_empty()) {
            (true, _) => Heard::Rejection,
            (false, true) => Heard::Subscription,
            (false, false) => Heard::Acceptance,
        };
        self.wanted.extend(added.iter().map(|name| (name.clone(), None)));
        if self.wanted.keys().all(|name| stock.find(name) == Found::Never) {
            return Err(Refusal::Foreign(self.wanted.keys().cloned().collect()));
        }
        let (names, unknown) = sort(added, stock);
        Ok(Reaction { heard, unknown, answer: self.answer(names, Vec::new(), stock) })
    }

    /// Takes a delta request.
    pub(crate) fn change(
        &mut self,
        request: Change,
        stock: &impl Stock,
    ) -> Result<Reaction, Refusal> {
        let Change { subscribe, unsubscribe, known, nonce, rejects } = request;
        check(&subscribe, self.wanted.len() + subscribe.len())?;
        let heard = match (rejects, self.nonce.as_ref() == Some(&nonce)) {
            (true, _) => Heard::Rejection,
            (false, true) => Heard::Acceptance,
            (false, false) => Heard::Subscription,
        };
        for name in &unsubscribe {
            self.wanted.remove(name);
        }
        let mut asked = Vec::new();
        for name in BTreeSet::from_iter(subscribe) {
            // What the client holds from an earlier stream is not sent again; whatever else it
            // asks for is, even if it was sent before: the client may have dropped it.
            let held = known.get(&name).filter(|held| stock.find(&name) == Found::Version(held));
            if held.is_none() {
                asked.push(name.clone());
            }
            self.wanted.insert(name, held.cloned());
        }
        let (names, unknown) = sort(asked, stock);
        Ok(Reaction { heard, answer: self.answer(names, unknown.clone(), stock), unknown })
    }

    /// What has to be pushed when the stock has changed.
    pub(crate) fn changed(&mut self, stock: &impl Stock) -> Option<Answer> {
        let newer = |(name, sent): (&String, &Option<String>)| match stock.find(name) {
            Found::Version(version) if sent.as_deref() != Some(version) => Some(name.clone()),
            _ => None,
        };
        let names = self.wanted.iter().filter_map(newer).collect();
        self.answer(names, Vec::new(), stock)
    }

    /// Notes what is sent. Names that have to wait are left to [`Self::changed`].
    fn answer(
        &mut self,
        names: Vec<String>,
        gone: Vec<String>,
        stock: &impl Stock,
    ) -> Option<Answer> {
        if names.is_empty() && gone.is_empty() {
            return None;
        }
        for name in &names {
            if let (Some(sent), Found::Version(version)) =
                (self.wanted.get_mut(name), stock.find(name))
            {
                *sent = Some(version.to_owned());
            }
        }
        self.answers += 1;
        let nonce = format!("{}-{}", self.stream, self.answers);
        self.nonce = Some(nonce.clone());
        Some(Answer { names, gone, nonce })
    }
}

impl Reaction {
    fn only(heard: Heard) -> Self {
        Self { heard, unknown: Vec::new(), answer: None }
    }
}

/// The names that can be sent now, and those that never can; the others have to wait.
fn sort(mut asked: Vec<String>, stock: &impl Stock) -> (Vec<String>, Vec<String>) {
    asked.retain(|name| stock.find(name) != Found::NotYet);
    asked.into_iter().partition(|name| stock.find(name) != Found::Never)
}

fn check(names: &[String], total: usize) -> Result<(), Refusal> {
    let fits = total <= MOST_NAMES && names.iter().all(|name| name.len() <= LONGEST_NAME);
    if fits { Ok(()) } else { Err(Refusal::TooMuch) }
}

/// Envoy asks for one name a stream, other clients for a handful.
const MOST_NAMES: usize = 128;
/// Names may be paths: `file-cert:CHAIN~KEY`.
const LONGEST_NAME: usize = 8 << 10;

#[cfg(test)]
mod tests;
