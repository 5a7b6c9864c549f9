//! A model of Envoy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hawser_proto::type_url;
use hawser_wire::Flavour;

use super::{Held, NODE, version_of};
use crate::tests::words::{Ask, Tell, ask};

/// What Envoy is sent.
#[derive(Debug)]
pub(super) enum Said {
    Whole(Tell),
    /// Of that type, cut off.
    Broken(String),
}

#[derive(Debug)]
pub(super) struct Envoy {
    pub(super) flavour: Flavour,
    pub(super) held: BTreeMap<String, Held>,
    /// What it refused, and what it has instead: type and name.
    pub(super) refused: BTreeSet<(String, String)>,
    pub(super) refuses: bool,
    pub(super) wanted: BTreeSet<String>,
    pub(super) version: BTreeMap<String, String>,
    pub(super) nonce: BTreeMap<String, String>,
    pub(super) asks: VecDeque<Ask>,
    pub(super) subscribed: bool,
}

impl Envoy {
    pub(super) fn new(flavour: Flavour) -> Self {
        let (held, version, nonce) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (refused, wanted, asks) = (BTreeSet::new(), BTreeSet::new(), VecDeque::new());
        let subscribed = false;
        let refuses = false;
        Self { flavour, held, refused, refuses, wanted, version, nonce, asks, subscribed }
    }

    /// A new stream, with what it has.
    pub(super) fn connect(&mut self) {
        self.asks.clear();
        self.nonce.clear();
        let first = self.first(type_url::CLUSTER).node(NODE);
        self.asks.push_back(first);
        if self.subscribed {
            let endpoints = self.first(type_url::ENDPOINT);
            self.asks.push_back(endpoints);
        }
    }

    pub(super) fn first(&self, type_url: &str) -> Ask {
        let mut first = ask(type_url, &[]);
        if type_url == type_url::ENDPOINT {
            first.names = self.wanted.iter().cloned().collect();
        }
        match self.flavour {
            Flavour::Sotw => first.of(self.version.get(type_url).map_or("", String::as_str)),
            Flavour::Delta => {
                let held = self.held.get(type_url).into_iter().flatten();
                first.held = held.map(|(name, it)| (name.clone(), it.to_string())).collect();
                first
            }
        }
    }

    pub(super) fn hear(&mut self, said: Said) {
        let tell = match said {
            Said::Whole(tell) => tell,
            Said::Broken(type_url) => {
                let refusal = self.receipt(&type_url, "").refusing("broken");
                return self.asks.push_back(refusal);
            }
        };
        self.nonce.insert(tell.type_url.clone(), tell.nonce.clone());
        let names = tell.names().into_iter().map(str::to_owned).chain(tell.removed.clone());
        let about: Vec<_> = names.map(|name| (tell.type_url.clone(), name)).collect();
        if std::mem::take(&mut self.refuses) {
            self.refused.extend(about);
            if self.flavour == Flavour::Sotw {
                self.refused.insert((tell.type_url.clone(), String::new()));
            }
            let refusal = self.receipt(&tell.type_url, &tell.nonce).refusing("no");
            return self.asks.push_back(refusal);
        }
        for name in about {
            self.refused.remove(&name);
        }
        self.refused.remove(&(tell.type_url.clone(), String::new()));
        self.take(&tell);
        self.version.insert(tell.type_url.clone(), tell.version.clone());
        let receipt = self.receipt(&tell.type_url, &tell.nonce);
        self.asks.push_back(receipt);
        if tell.type_url == type_url::CLUSTER {
            self.resubscribe();
        }
    }

    pub(super) fn take(&mut self, tell: &Tell) {
        let held = self.held.entry(tell.type_url.clone()).or_default();
        if self.flavour == Flavour::Sotw && tell.type_url == type_url::CLUSTER {
            held.clear();
        }
        for (name, _, value) in &tell.resources {
            if tell.type_url == type_url::CLUSTER || self.wanted.contains(name) {
                held.insert(name.clone(), version_of(value));
            }
        }
        for name in &tell.removed {
            held.remove(name);
        }
    }

    /// Wants the endpoints of the clusters it has.
    pub(super) fn resubscribe(&mut self) {
        let now: BTreeSet<_> = self.held[type_url::CLUSTER].keys().cloned().collect();
        let before = std::mem::replace(&mut self.wanted, now);
        if let Some(held) = self.held.get_mut(type_url::ENDPOINT) {
            held.retain(|name, _| self.wanted.contains(name));
        }
        let more: Vec<_> = self.wanted.difference(&before).cloned().collect();
        let less: Vec<_> = before.difference(&self.wanted).cloned().collect();
        let first = !std::mem::replace(&mut self.subscribed, true);
        if !first && more.is_empty() && less.is_empty() {
            return;
        }
        let mut change = match self.flavour {
            _ if first => self.first(type_url::ENDPOINT),
            Flavour::Sotw => {
                let nonce = self.nonce.get(type_url::ENDPOINT).cloned().unwrap_or_default();
                self.receipt(type_url::ENDPOINT, &nonce)
            }
            Flavour::Delta => ask(type_url::ENDPOINT, &[]),
        };
        if self.flavour == Flavour::Delta && !first {
            (change.names, change.dropped) = (more, less);
        }
        self.asks.push_back(change);
    }

    pub(super) fn receipt(&self, type_url: &str, nonce: &str) -> Ask {
        let receipt = ask(type_url, &[]).about(nonce);
        if self.flavour == Flavour::Delta {
            return receipt;
        }
        let version = self.version.get(type_url).map_or("", String::as_str);
        let mut receipt = receipt.of(version);
        if type_url == type_url::ENDPOINT {
            receipt.names = self.wanted.iter().cloned().collect();
        }
        receipt
    }
}
