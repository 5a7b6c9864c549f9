//! One stream of Envoy's over many streams to whoever answers it.
//!
//! Holds no socket, no file, no clock and no task: messages in, what to do with them out.
//! [`crate::relay`] carries them. Each stream to whoever answers is an *epoch*. What is true of
//! every session:
//!
//! - What Envoy wants survives the epochs: a new one begins with what Envoy asked for, in the order
//!   in which it did, told what Envoy has.
//! - An epoch hears only of responses of its own: what Envoy says of others changes what is wanted,
//!   if it does, and is not passed on. It never hears a refusal of a type it was not asked for.
//! - A type that the agent keeps for itself passes neither way, and what Envoy did not ask for does
//!   not reach it.
//! - All else of Envoy's passes in order and byte for byte, but for an address that has changed.
//! - Requests wait without a bound on their number, and with one on their bytes.

mod asking;
mod compose;
mod epoch;
mod fallen;
mod fresh;
mod names;
mod node;
mod queue;
mod settling;
#[cfg(test)]
mod tests;
mod told;
mod topic;

use std::collections::BTreeMap;

use bytes::Bytes;
use hawser_proto::type_url;
use hawser_wire::Flavour;

pub(crate) use self::{
    asking::Asking,
    compose::removal,
    names::Changes,
    node::{Address, Introduction},
    told::{Heard, Note, Refusal, Wish},
    topic::Sent,
};
use self::{
    compose::Compose,
    epoch::Epoch,
    queue::{Queue, Waiting},
    topic::{About, Origin, Topic},
};

/// What is known of Envoy's stream. `R` is what whoever keeps a response is told its fate by.
#[derive(Debug)]
pub(crate) struct Session<R> {
    flavour: Flavour,
    who: Option<Introduction>,
    address: Address,
    health: Option<Result<(), String>>,
    topics: BTreeMap<String, Topic<R>>,
    /// The types in the order in which Envoy first asked for them.
    order: Vec<String>,
    queue: Queue,
    epoch: Epoch,
}

impl<R> Session<R> {
    pub(crate) fn new(flavour: Flavour, address: Address) -> Self {
        Self {
            flavour,
            who: None,
            address,
            health: None,
            topics: BTreeMap::new(),
            order: Vec::new(),
            queue: Queue::default(),
            epoch: Epoch::default(),
        }
    }

    /// Who has opened the stream, once that is known.
    pub(crate) fn who(&self) -> Option<&Introduction> {
        self.who.as_ref()
    }

    /// Takes a request of Envoy's. What of it is for whoever answers waits for
    /// [`Self::next_request`].
    pub(crate) fn request(&mut self, message: &Bytes) -> Result<Heard<R>, Refusal> {
        let asking = Asking::of(self.flavour, message)?;
        if let (None, Some(node)) = (&self.who, asking.node) {
            self.who = Some(Introduction::new(node)?);
        }
        if is_kept(asking.type_url) {
            let note = Note::Withheld { type_url: brief(asking.type_url) };
            return Ok(Heard { note, accepted: Vec::new(), less: None, has: None });
        }
        let first = !self.topics.contains_key(asking.type_url);
        if first && self.topics.len() >= MOST_TYPES {
            return Err(Refusal::TooManyTypes);
        }
        let topic = self.topics.entry(asking.type_url.to_owned()).or_insert_with(Topic::new);
        if first {
            self.order.push(asking.type_url.to_owned());
            asking.version.clone_into(&mut topic.version);
        }
        let says_all = first && asking.nonce.is_empty() && asking.rejection.is_none();
        topic.first = says_all.then(|| message.clone());
        let about = topic.about(&asking);
        let wants = topic.wants(self.flavour, &asking, first);
        let about_now = match &about {
            About::Nothing => true,
            About::New(origin, sent, _) => self.epoch.is(*origin) && !sent.broken,
            About::Old(origin) => origin.is_some_and(|origin| self.epoch.is(origin)),
        };
        let (note, mut accepted) = topic.settle(self.flavour, &asking, about);
        if about_now && matches!(note, Note::Accepted { mends: true, .. }) {
            topic.stale = false;
        }
        // What told all there was is told again by what came after it.
        if self.tells_all(asking.type_url) || self.flavour == Flavour::Delta {
            accepted.drain(..accepted.len().saturating_sub(1));
        }
        self.forward(message, &asking, about_now, wants.changed);
        let bytes = self.queue.bytes() + self.topics.values().map(Topic::size).sum::<usize>();
        if bytes > MOST_WAITING {
            return Err(Refusal::Overflow { bytes });
        }
        let type_url = || asking.type_url.to_owned();
        let has = (first && !asking.held.is_empty()).then(type_url);
        Ok(Heard { note, accepted, less: wants.less.then(type_url), has })
    }

    /// What Envoy has from before is compared with what was kept (names and versions): the agent may
    /// not have lived to hear what Envoy took. What differs is asked for as if it were old.
    pub(crate) fn reconcile(&mut self, type_url: &str, kept: &[(String, String)]) {
        let Some(topic) = self.topics.get_mut(type_url) else { return };
        if topic.reconcile(kept) {
            topic.first = None;
            if self.epoch.open && topic.asked_in == self.epoch.number {
                topic.asked_in = 0;
                self.queue.remove(type_url);
                self.ask(type_url);
            }
        }
    }

    /// What was kept of those types is not what Envoy has: on the next stream they are asked for as
    /// if nothing of them were known.
    pub(crate) fn doubt(&mut self, which: impl Fn(&str) -> bool) {
        let topics = self.topics.iter_mut().filter(|(type_url, _)| which(type_url));
        topics.for_each(|(_, topic)| topic.doubt());
    }

    /// Whether a new stream has to begin for that.
    pub(crate) fn doubts(&self) -> bool {
        self.epoch.open && self.topics.values().any(Topic::doubts)
    }

    /// Puts what a request is for whoever answers into the queue.
    fn forward(&mut self, message: &Bytes, asking: &Asking<'_>, about_now: bool, changed: bool) {
        let Some(topic) = self.topics.get_mut(asking.type_url).filter(|_| self.epoch.open) else {
            return;
        };
        let asked = topic.asked_in == self.epoch.number;
        if about_now && (asked || asking.rejection.is_none()) {
            topic.asked(self.epoch.number, !asking.held.is_empty());
            let receipt = self.flavour == Flavour::Delta && asking.is_receipt();
            let refusal = asking.rejection.is_some();
            let sotw = self.flavour == Flavour::Sotw;
            self.queue.push(Waiting {
                type_url: asking.type_url.to_owned(),
                message: message.clone(),
                replaceable: (sotw || receipt) && !refusal,
                // Nobody looks at what a refusal names.
                replaces: (sotw || receipt) && !refusal,
            });
        } else if !asked {
            self.ask(asking.type_url);
        } else if changed {
            self.tell_change(asking);
        }
    }

    /// Passes on what has changed of what is wanted, and nothing else.
    fn tell_change(&mut self, asking: &Asking<'_>) {
        let sotw = self.flavour == Flavour::Sotw;
        let version = self.topics.get(asking.type_url).map_or("", |topic| &topic.version);
        let change = Compose {
            type_url: asking.type_url,
            version: if sotw { version } else { "" },
            names: asking.names.clone(),
            dropped: asking.dropped.clone(),
            ..Compose::default()
        };
        let message = change.message(self.flavour);
        self.push(asking.type_url, message);
    }

    /// Asks for a type as on a new stream.
    fn ask(&mut self, type_url: &str) {
        let Some(topic) = self.topics.get_mut(type_url) else { return };
        let (messages, has_some) = match &topic.first {
            Some(first) => (vec![first.clone()], topic.has_some()),
            None => {
                let requests = topic.firsts(self.flavour, type_url);
                let has_some = requests.iter().any(|request| !request.held.is_empty());
                let messages = requests.iter().map(|request| request.message(self.flavour));
                (messages.collect(), has_some)
            }
        };
        // Who wants nothing any more does not ask: to name nothing would be to want everything.
        if messages.is_empty() {
            return;
        }
        topic.asked(self.epoch.number, has_some);
        for message in messages {
            self.push(type_url, message);
        }
    }

    fn push(&mut self, type_url: &str, message: Bytes) {
        let sotw = self.flavour == Flavour::Sotw && type_url != type_url::HEALTH;
        let type_url = type_url.to_owned();
        self.queue.push(Waiting { type_url, message, replaceable: sotw, replaces: sotw });
    }

    /// A response of that type comes: whether it is for Envoy.
    pub(crate) fn passes(&mut self, type_url: &str) -> bool {
        let topic = self.topics.get_mut(type_url).filter(|_| !is_kept(type_url));
        topic.map(|topic| topic.told_in = self.epoch.number).is_some()
    }

    /// Whether the next response of that type replaces all that Envoy has of it.
    pub(crate) fn tells_all(&self, type_url: &str) -> bool {
        match self.flavour {
            Flavour::Sotw => [type_url::LISTENER, type_url::CLUSTER].contains(&type_url),
            Flavour::Delta => self.topics.get(type_url).is_some_and(Topic::tells_all),
        }
    }

    /// Whether Envoy waits for single resources of that type, which it has not named before.
    pub(crate) fn waits_for_names(&self, type_url: &str) -> bool {
        self.topics.get(type_url).is_some_and(Topic::waits_for_names)
    }

    /// Whether a resource in that version is no news to Envoy.
    pub(crate) fn knows(&self, type_url: &str, name: &str, version: &str) -> bool {
        self.topics.get(type_url).is_some_and(|topic| topic.knows(name, version))
    }

    /// Whoever answers has said something that makes sense; whether it is the first time.
    pub(crate) fn heard(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.epoch.heard, true);
        if first {
            self.topics.values_mut().for_each(Topic::wish_is_over);
        }
        first
    }

    /// A response of the present epoch is going to Envoy.
    pub(crate) fn sent(&mut self, type_url: &str, mut sent: Sent<R>) {
        let origin = Origin::Epoch(self.epoch.number);
        if let Some(topic) = self.topics.get_mut(type_url) {
            if !sent.broken {
                topic.answered(&sent.changes);
            }
            if self.flavour == Flavour::Sotw {
                sent.changes = Changes::default();
            }
            topic.sent(origin, sent);
        }
        while self.topics.values().map(Topic::unspoken).sum::<usize>() > MOST_UNSPOKEN {
            let most = self.topics.values_mut().max_by_key(|topic| topic.unspoken());
            most.into_iter().for_each(Topic::forget_changes);
        }
    }

    /// A response that could not be made fit for Envoy is refused in its place.
    pub(crate) fn refuse(&mut self, type_url: &str, nonce: &str, reason: &str) {
        let Some(topic) = self.topics.get_mut(type_url) else { return };
        topic.told_some();
        // What comes next does not name all there is either.
        topic.names_anew();
        if topic.asked_in != self.epoch.number || !self.epoch.open {
            return;
        }
        let sotw = self.flavour == Flavour::Sotw;
        let names = topic.wanted(self.flavour).filter(|_| sotw).unwrap_or_default();
        let refusal = Compose {
            type_url,
            version: if sotw { &topic.version } else { "" },
            nonce,
            names: names.iter().map(String::as_str).collect(),
            error: Some(reason),
            ..Compose::default()
        };
        let message = refusal.message(self.flavour);
        let type_url = type_url.to_owned();
        self.queue.push(Waiting { type_url, message, replaceable: false, replaces: false });
    }

    /// Whether something was asked in the present epoch.
    pub(crate) fn has_asked(&self) -> bool {
        self.epoch.introduced
    }

    /// Whether Envoy waits for anything of that type.
    pub(crate) fn awaits(&self, type_url: &str) -> bool {
        self.topics.get(type_url).is_none_or(|topic| topic.waits)
    }

    /// Whether Envoy waits for anything that nobody has answered.
    pub(crate) fn waits(&self) -> bool {
        !self.epoch.heard && self.topics.values().any(|topic| topic.waits)
    }

    /// What Envoy waits for, while nobody answers: one type at a time, in its own order. What it
    /// asks for after that is another wish.
    pub(crate) fn wish(&mut self) -> Option<Wish> {
        if self.epoch.heard {
            return None;
        }
        let waits = |it: &&String| self.topics.get(*it).is_some_and(|topic| topic.waits);
        let type_url = self.order.iter().find(waits)?;
        let topic = self.topics.get_mut(type_url)?;
        topic.wishes();
        let (wanted, held) = (topic.awaited(self.flavour), topic.held());
        Some(Wish { type_url: type_url.clone(), wanted, held })
    }

    /// What was kept is going to Envoy, or (none) there is nothing.
    pub(crate) fn replayed(&mut self, type_url: &str, sent: Option<Sent<R>>) {
        let Some(topic) = self.topics.get_mut(type_url) else { return };
        if self.epoch.heard {
            // In place of what Envoy has refused: what it waits for is another matter.
            topic.stale |= sent.is_some();
            sent.into_iter().for_each(|sent| topic.sent(Origin::Kept, sent));
            return;
        }
        topic.settled();
        topic.stale |= sent.as_ref().is_none_or(|sent| !sent.broken) && topic.has_something(&sent);
        if let Some(sent) = sent {
            let asked = self.epoch.open && topic.asked_in == self.epoch.number;
            self.epoch.outdated |= asked && self.flavour == Flavour::Delta;
            topic.sent(Origin::Kept, sent);
        }
    }

    /// Whether the present epoch was told less than Envoy has by now. What it says would leave
    /// Envoy with things that are no more: another one has to begin.
    pub(crate) fn is_outdated(&self) -> bool {
        self.epoch.outdated && !self.epoch.heard
    }

    /// All that Envoy wants of a type by its name; none if it wants everything.
    pub(crate) fn wanted(&self, type_url: &str) -> Option<Vec<String>> {
        self.topics.get(type_url)?.wanted(self.flavour)
    }
}

/// Types that are the agent's own business.
pub(crate) fn is_kept(type_url: &str) -> bool {
    [type_url::NAME_TABLE, type_url::PROXY_CONFIG, type_url::HEALTH].contains(&type_url)
}

/// A text from outside in a length that can be kept and shown.
pub(crate) fn brief(text: &str) -> String {
    text.chars().take(LONGEST_NOTE).collect()
}

const LONGEST_NOTE: usize = 512;
/// Istio knows about a dozen.
pub(crate) const MOST_TYPES: usize = 64;
/// A reconnecting delta client of a large mesh sends a few MiB.
const MOST_WAITING: usize = 64 << 20;
/// What Envoy does not speak of for long, as it does while clusters warm, is pushed all the same.
const MOST_UNSPOKEN: usize = 16 << 20;
