//! A model of istiod.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hawser_proto::type_url;
use hawser_wire::Flavour;

use super::{Held, resource};
use crate::tests::words::{Ask, Tell};

/// What istiod remembers of one stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) spoken: bool,
    /// By type: the names that are wanted, and the nonce of the last response.
    pub(super) wanted: BTreeMap<String, BTreeSet<String>>,
    pub(super) last: BTreeMap<String, String>,
    pub(super) nonces: BTreeSet<String>,
    /// What the other side has by now, as far as istiod knows; delta only.
    pub(super) told: BTreeMap<String, Held>,
    pub(super) answers: VecDeque<Tell>,
}

#[derive(Debug)]
pub(super) struct Istiod {
    pub(super) flavour: Flavour,
    /// Sends only what has changed since, as a client says it has; a real one does not.
    pub(super) frugal: bool,
    pub(super) world: BTreeMap<&'static str, Held>,
    pub(super) stream: Option<Stream>,
    pub(super) count: u32,
}

impl Istiod {
    pub(super) fn wants(stream: &Stream, type_url: &str, name: &str) -> bool {
        type_url == type_url::CLUSTER
            || stream.wanted.get(type_url).is_some_and(|names| names.contains(name))
    }

    pub(super) fn hear(&mut self, ask: &Ask) {
        let (flavour, frugal) = (self.flavour, self.frugal);
        let stream = self.stream.as_mut().unwrap();
        assert!(std::mem::replace(&mut stream.spoken, true) || ask.node.is_some(), "{ask:?}");
        let nonces = &stream.nonces;
        assert!(ask.nonce.is_empty() || nonces.contains(&ask.nonce), "foreign nonce: {ask:?}");
        let known = stream.wanted.contains_key(&ask.type_url);
        assert!(ask.error.is_none() || known, "a real istiod would crash: {ask:?}");
        let names = stream.wanted.entry(ask.type_url.clone()).or_default();
        let before = names.clone();
        if flavour == Flavour::Sotw {
            let stale = stream.last.get(&ask.type_url) != Some(&ask.nonce);
            if known && !ask.nonce.is_empty() && stale {
                return;
            }
            *names = ask.names.iter().cloned().collect();
            if ask.error.is_none() && (ask.nonce.is_empty() || *names != before) {
                self.answer_whole(&ask.type_url.clone());
            }
            return;
        }
        names.extend(ask.names.iter().cloned());
        for name in &ask.dropped {
            names.remove(name);
        }
        let told = stream.told.entry(ask.type_url.clone()).or_default();
        for name in &ask.dropped {
            told.remove(name);
        }
        for (name, version) in ask.held.iter().filter(|_| !known) {
            // Nobody knows what an istiod that does not look at versions thinks.
            let version = version.parse().ok().filter(|_| frugal);
            told.insert(name.clone(), version.unwrap_or(0));
        }
        if ask.error.is_none() && (!known || !ask.names.is_empty()) {
            for name in &ask.names {
                if !frugal {
                    told.remove(name);
                }
            }
            self.push(&ask.type_url.clone(), !known);
        }
    }

    pub(super) fn nonce(&mut self, type_url: &str) -> String {
        self.count += 1;
        let nonce = self.count.to_string();
        let stream = self.stream.as_mut().unwrap();
        stream.nonces.insert(nonce.clone());
        stream.last.insert(type_url.to_owned(), nonce.clone());
        nonce
    }

    pub(super) fn answer_whole(&mut self, type_url: &str) {
        let nonce = self.nonce(type_url);
        let stream = self.stream.as_mut().unwrap();
        let world = &self.world[type_url];
        let there = world.iter().filter(|(name, _)| Self::wants(stream, type_url, name));
        let resources = there.map(|(name, version)| resource(name, *version)).collect();
        let version = nonce.clone();
        stream.answers.push_back(Tell {
            type_url: type_url.to_owned(),
            version,
            nonce,
            resources,
            removed: Vec::new(),
        });
    }

    /// What has changed since the other side was told.
    pub(super) fn push(&mut self, type_url: &str, always: bool) {
        let world = self.world[type_url].clone();
        let stream = self.stream.as_mut().unwrap();
        let told = stream.told.entry(type_url.to_owned()).or_default().clone();
        let mut now = told.clone();
        now.retain(|name, _| world.contains_key(name));
        let removed: Vec<_> = told.into_keys().filter(|name| !now.contains_key(name)).collect();
        let mut resources = Vec::new();
        for (name, version) in world.iter().filter(|(name, _)| Self::wants(stream, type_url, name))
        {
            if now.insert(name.clone(), *version) != Some(*version) {
                resources.push(resource(name, *version));
            }
        }
        stream.told.insert(type_url.to_owned(), now);
        if !always && resources.is_empty() && removed.is_empty() {
            return;
        }
        let (nonce, type_url) = (self.nonce(type_url), type_url.to_owned());
        let version = nonce.clone();
        let answers = &mut self.stream.as_mut().unwrap().answers;
        answers.push_back(Tell { type_url, version, nonce, resources, removed });
    }

    pub(super) fn changed(&mut self, type_url: &str) {
        let asked = self.stream.as_ref().is_some_and(|it| it.wanted.contains_key(type_url));
        match self.flavour {
            _ if !asked => {}
            Flavour::Sotw => self.answer_whole(type_url),
            Flavour::Delta => self.push(type_url, false),
        }
    }
}
