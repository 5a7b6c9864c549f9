//! How a type is asked for on a new stream, and what is not known for sure of what Envoy has of it.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
};

use hawser_wire::Flavour;

use super::{super::compose::Compose, ALL, Changes, Origin, ROOM, Sent, Topic};

/// How far it is with what is to be told anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It was not asked for.
    Open,
    /// It is asked for so, on each stream until it is answered.
    Asked,
}

impl<R> Topic<R> {
    /// It is asked for on that stream, by somebody who says to have, or not to have, some of it.
    pub(in crate::session) fn asked(&mut self, epoch: u64, has_some: bool) {
        if self.asked_in != epoch {
            self.asked_in = epoch;
            let anew = self.doubt == Some(Doubt::Asked);
            self.whole = (anew || !has_some) && self.has_everything();
        }
    }

    /// It is to be told anew.
    pub(in crate::session) fn doubt(&mut self) {
        self.first = None;
        self.doubt = Some(Doubt::Open);
    }

    pub(in crate::session) fn doubts(&self) -> bool {
        self.doubt == Some(Doubt::Open)
    }

    /// The bytes of the names in what Envoy has not spoken of.
    pub(in crate::session) fn unspoken(&self) -> usize {
        self.sent.iter().map(|(_, sent)| sent.changes.size()).sum()
    }

    /// Forgets what the oldest of those responses changes, but for which names: each of them costs
    /// memory once, however often it is sent.
    pub(in crate::session) fn forget_changes(&mut self) {
        let oldest = self.sent.iter_mut().find(|(_, sent)| sent.changes.size() > 0);
        if let Some((_, sent)) = oldest {
            let changes = mem::take(&mut sent.changes);
            self.unsure(&changes);
        }
    }

    /// Whether Envoy has what it was sent of them nobody is going to know.
    pub(in crate::session) fn unsure(&mut self, changes: &Changes) {
        for (name, _) in changes.iter() {
            if !self.unsure.contains(name) {
                self.unsure.insert(Box::from(name));
            }
        }
    }

    /// The requests with which it is asked for on a new stream. More than one only if one would
    /// be larger than an istiod takes.
    pub(in crate::session) fn firsts<'a>(
        &'a mut self,
        flavour: Flavour,
        type_url: &'a str,
    ) -> Vec<Compose<'a>> {
        self.doubt = self.doubt.map(|_| Doubt::Asked);
        let anew = self.doubt.is_some();
        let blank = Compose { type_url, ..Compose::default() };
        let everything = self.has_everything();
        if flavour == Flavour::Sotw {
            let names = self.list.iter().map(|name| &**name).collect();
            let version = if anew { "" } else { &self.version };
            return vec![Compose { version, names, ..blank }];
        }
        let mut first = Compose { type_url, ..Compose::default() };
        let (mut more, mut names, mut room) = (Vec::new(), Vec::new(), LARGEST);
        let named = self.names.iter().filter(|(_, mark, _)| mark.wanted).map(|(name, ..)| name);
        let all = (self.everything && named.clone().next().is_some()).then_some(ALL);
        for name in all.into_iter().chain(named) {
            if let Some(rest) = room.checked_sub(name.len() + ROOM) {
                room = rest;
            } else {
                room = LARGEST;
                more.push(Compose { names: mem::take(&mut names), ..blank.clone() });
            }
            names.push(name);
        }
        // Of what is under way nobody knows yet whether Envoy takes it: whoever answers is to tell
        // anew, or that it is no more.
        let unsure = under_way(&self.sent, &self.unsure);
        let sure = self.names.iter().filter(|(name, mark, _)| mark.held && !unsure.contains(name));
        // Not to name it would leave Envoy with what is no more.
        let held = sure.map(|(name, _, version)| (name, if anew { NEVER } else { version }));
        if names.is_empty() && !self.everything && all.is_none() {
            return Vec::new();
        }
        // What is not named here is sent once more, which costs time; of a type that is wanted
        // whole, nobody says that it is no more.
        let mut unnamed = BTreeSet::new();
        for (name, version) in held.chain(unsure.iter().map(|name| (*name, ""))) {
            let left = room.checked_sub(name.len() + version.len() + ROOM);
            room = left.unwrap_or(0);
            if left.is_some() {
                first.held.push((name, version));
            } else if everything {
                unnamed.insert(Box::from(name));
            }
        }
        self.unnamed = unnamed;
        first.names = names;
        // The last piece has the room for what Envoy holds, so it is what comes first.
        let mut requests = vec![first];
        requests.append(&mut more);
        requests
    }

    /// What is no more, and Envoy does not know.
    pub(in crate::session) fn gone(&mut self) -> Option<BTreeSet<Box<str>>> {
        let gone = mem::take(&mut self.gone);
        (!gone.is_empty()).then_some(gone)
    }

    /// Whoever answered is gone: who comes next says what is no more.
    pub(in crate::session) fn names_anew(&mut self) {
        self.unnamed.clear();
        self.gone.clear();
    }

    /// Compares what Envoy has with what was kept of it; whether there is a difference. Then whoever
    /// answers is to say how it is.
    pub(in crate::session) fn reconcile(&mut self, kept: &[(String, String)]) -> bool {
        let held = self.names.iter().filter(|(_, mark, _)| mark.held);
        let mut differs: BTreeSet<Box<str>> = held.map(|(name, ..)| Box::from(name)).collect();
        for (name, version) in kept {
            match self.names.find(name) {
                Some((mark, known)) if mark.held && known == version => {
                    differs.remove(name.as_str());
                }
                _ if self.has_everything() || self.is_wanted(name) => {
                    differs.insert(Box::from(name.as_str()));
                }
                _ => {}
            }
        }
        self.unsure = differs;
        !self.unsure.is_empty()
    }
}

/// The names in what Envoy was sent and has not spoken of.
fn under_way<'a, R>(
    sent: &'a VecDeque<(Origin, Sent<R>)>,
    unsure: &'a BTreeSet<Box<str>>,
) -> BTreeSet<&'a str> {
    let changes = sent.iter().flat_map(|(_, sent)| sent.changes.iter());
    changes.map(|(name, _)| name).chain(unsure.iter().map(|name| &**name)).collect()
}

/// A version that nobody gives.
const NEVER: &str = "?";
/// A real istiod takes requests of up to 4 MiB.
const LARGEST: usize = 3 << 20;
