//! An Envoy that refuses what whoever answers says now, and has nothing else: one that was started
//! anew, after another had refused the same and served on with what it had before.
//!
//! It is given what was taken last of that, if that is kept, until there is something newer that it
//! takes.

use hawser_wire::Flavour;

use super::{
    Session, Wish,
    names::Changes,
    topic::{Origin, Topic},
};

/// Whether Envoy is to have something older than it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fallen {
    /// It has what it is told, or what it had before.
    #[default]
    No,
    /// It has nothing: what is kept is to be looked up.
    Wanted,
    /// It was given what is kept, or nothing is.
    Done,
}

impl<R> Session<R> {
    /// Whether something that is kept is to be looked up for that.
    pub(crate) fn falls(&self) -> bool {
        self.epoch.heard && self.topics.values().any(|topic| topic.fallen == Fallen::Wanted)
    }

    /// What of it, one type at a time.
    pub(crate) fn fallback(&mut self) -> Option<Wish> {
        let wanted = |it: &&String| self.topics.get(*it).is_some_and(Topic::has_fallen);
        let type_url = self.order.iter().find(wanted)?.clone();
        let topic = self.topics.get_mut(&type_url)?;
        topic.fallen = Fallen::Done;
        let wanted = match self.flavour {
            Flavour::Delta => Some(std::mem::take(&mut topic.lost)),
            Flavour::Sotw => topic.wanted(self.flavour),
        };
        let held = topic.held();
        Some(Wish { type_url, wanted, held })
    }
}

impl<R> Topic<R> {
    fn has_fallen(&self) -> bool {
        self.fallen == Fallen::Wanted
    }

    /// Envoy has refused what came from there, and has said why.
    pub(super) fn falls(&mut self, flavour: Flavour, from: Origin, came: &Changes, error: &str) {
        if self.fallen != Fallen::No || from == Origin::Kept {
            return;
        }
        let lost = match flavour {
            Flavour::Delta => self.without(came, error),
            Flavour::Sotw => Vec::new(),
        };
        let nothing = match flavour {
            Flavour::Delta => !lost.is_empty(),
            Flavour::Sotw => self.version.is_empty(),
        };
        if nothing {
            self.lost = lost;
            self.fallen = Fallen::Wanted;
        }
    }

    /// Envoy has taken what came from there; whether it has all that it was told of by now.
    pub(super) fn rises(&mut self, from: Origin) -> bool {
        if from == Origin::Kept && self.fallen != Fallen::No {
            return false;
        }
        if self.refused.is_empty() {
            self.fallen = Fallen::No;
        }
        self.fallen == Fallen::No
    }

    /// What of it Envoy has in no version. Of some types it takes what is good of a response that it
    /// refuses, and names the rest: an older version of what is good would be a step back. Where it
    /// names nothing, nothing was taken.
    fn without(&self, came: &Changes, error: &str) -> Vec<String> {
        let has = |name: &str| self.names.find(name).is_some_and(|(mark, _)| mark.held);
        let came = || came.iter().filter(|(_, came)| came.is_some()).map(|(name, _)| name);
        let lost = || came().filter(|name| !has(name));
        let named: Vec<String> =
            lost().filter(|name| error.contains(name)).map(str::to_owned).collect();
        let names_any = !named.is_empty() || came().any(|name| error.contains(name));
        if names_any { named } else { lost().map(str::to_owned).collect() }
    }
}
