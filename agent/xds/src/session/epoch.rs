//! The streams to whoever answers, one after the other: how each begins, what is sent on it, and
//! what it is told of the workload.

use bytes::Bytes;
use hawser_proto::type_url;

use super::{
    Session,
    compose::Compose,
    node::{Address, Introduction},
    queue::Waiting,
    topic::{Origin, Sent, Topic},
};

/// The present stream to whoever answers.
#[derive(Debug, Default)]
pub(super) struct Epoch {
    pub(super) number: u64,
    /// Between its begin and its end.
    pub(super) open: bool,
    /// It was told who asks.
    pub(super) introduced: bool,
    /// It was asked for listeners, and with that knows the workload well enough to be told of its
    /// health.
    pub(super) registered: bool,
    /// It has answered.
    pub(super) heard: bool,
    /// Since it was asked, Envoy was given something that it does not know of.
    pub(super) outdated: bool,
}

impl Epoch {
    /// Whether a response came from this one.
    pub(super) fn is(&self, origin: Origin) -> bool {
        self.open && origin == Origin::Epoch(self.number)
    }
}

impl<R> Session<R> {
    /// A stream to whoever answers is being opened: what Envoy wants is asked for on it.
    pub(crate) fn begin(&mut self) {
        self.end();
        self.epoch = Epoch { number: self.epoch.number + 1, open: true, ..Epoch::default() };
        for type_url in self.order.clone() {
            self.ask(&type_url);
        }
    }

    /// It has ended, or was not opened.
    pub(crate) fn end(&mut self) {
        self.queue.clear();
        self.epoch.open = false;
        self.topics.values_mut().for_each(Topic::names_anew);
        if std::mem::take(&mut self.epoch.heard) {
            self.topics.values_mut().for_each(Topic::abandoned);
        }
    }

    /// What Envoy has and is no more, by its type, where nobody else says so. Envoy is to be told
    /// before it is told anything else of that type.
    pub(crate) fn gone(&mut self) -> Option<(String, Vec<String>)> {
        let gone = |(type_url, topic): (&String, &mut Topic<R>)| {
            Some((type_url.clone(), topic.gone()?.into_iter().map(String::from).collect()))
        };
        self.topics.iter_mut().find_map(gone)
    }

    /// Envoy is told so: nobody who answers is to hear what it says of that.
    pub(crate) fn removed(&mut self, type_url: &str, sent: Sent<R>) {
        if let Some(topic) = self.topics.get_mut(type_url) {
            topic.sent(Origin::Kept, sent);
        }
    }

    /// Whether a request waits.
    pub(crate) fn has_request(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The oldest request that waits.
    pub(crate) fn next_request(&mut self) -> Option<Bytes> {
        let Waiting { type_url, message, .. } = self.queue.pop()?;
        if type_url == type_url::LISTENER && !std::mem::replace(&mut self.epoch.registered, true) {
            self.tell_health();
        }
        if std::mem::replace(&mut self.epoch.introduced, true) {
            return Some(message);
        }
        // A node that cannot be read was refused when it came.
        let who = self.who.as_ref();
        let introduced = who.and_then(|who| who.put(self.flavour, &message, &self.address).ok());
        Some(introduced.unwrap_or(message))
    }

    /// The workload's health, if anybody looks at it.
    pub(crate) fn health(&mut self, health: Option<Result<(), String>>) {
        if self.health == health {
            return;
        }
        self.health = health;
        if self.epoch.open && self.epoch.registered {
            self.tell_health();
        }
    }

    fn tell_health(&mut self) {
        let program = self.who.as_ref().is_some_and(Introduction::is_program);
        let Some(health) = self.health.as_ref().filter(|_| !program) else { return };
        let error = health.as_ref().err().map(String::as_str);
        let report = Compose { type_url: type_url::HEALTH, error, ..Compose::default() };
        // An older one that still waits must not come behind.
        self.queue.remove(type_url::HEALTH);
        self.queue.push_front(Waiting {
            type_url: type_url::HEALTH.to_owned(),
            message: report.message(self.flavour),
            replaceable: false,
            replaces: false,
        });
    }

    /// The machine has moved; whether that matters to this stream. Then a new epoch is to begin.
    pub(crate) fn moved(&mut self, address: Address) -> bool {
        let differs = self.address != address;
        self.address = address;
        differs && self.epoch.introduced
    }
}
