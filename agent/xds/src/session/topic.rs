//! One type on Envoy's stream: what Envoy wants of it, what it has, and what it was sent.

mod again;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use hawser_wire::Flavour;

use self::again::Doubt;
use super::{
    asking::Asking,
    fallen::Fallen,
    names::{Changes, Mark, Names},
};

/// A response that Envoy was sent and may not have spoken of yet.
#[derive(Debug)]
pub(crate) struct Sent<R> {
    /// What Envoy names in its receipt.
    pub(crate) nonce: String,
    pub(crate) version: String,
    /// What it changes; delta only.
    pub(crate) changes: Changes,
    /// Of whoever has kept it.
    pub(crate) receipt: Option<R>,
    /// It was cut off, so its refusal is nobody's business.
    pub(crate) broken: bool,
}

impl<R> Sent<R> {
    /// A response that was cut off.
    pub(crate) fn broken() -> Self {
        let (nonce, version) = (String::new(), String::new());
        Self { nonce, version, changes: Changes::default(), receipt: None, broken: true }
    }
}

/// Where a response came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The stream of that number to whoever answers.
    Epoch(u64),
    /// What was kept.
    Kept,
}

#[derive(Debug)]
pub(super) struct Topic<R> {
    /// The last stream on which somebody was asked for it; 0 is none.
    pub(super) asked_in: u64,
    /// The last that has said something of it.
    pub(super) told_in: u64,
    /// Envoy's first request, as long as it says all there is to say.
    pub(super) first: Option<Bytes>,
    /// The version that Envoy took last.
    pub(super) version: String,
    /// All names that Envoy wants; state of the world only.
    list: Vec<Box<str>>,
    /// What Envoy has refused, as far as anybody would count, and not taken since; delta only.
    pub(super) refused: BTreeSet<Box<str>>,
    /// What of it is to be looked up among what is kept; delta only.
    pub(super) lost: Vec<String>,
    /// What it is given of what it has refused.
    pub(super) fallen: Fallen,
    /// What of it is new and was in no response; state of the world only.
    unanswered: BTreeSet<Box<str>>,
    /// Delta only.
    pub(super) names: Names,
    /// Names of which Envoy and the store know different things; delta only.
    unsure: BTreeSet<Box<str>>,
    /// What Envoy has and the present epoch was not told of, because there was too much of it.
    unnamed: BTreeSet<Box<str>>,
    /// What of it is no more, and Envoy is to be told.
    gone: BTreeSet<Box<str>>,
    /// Envoy wants everything, and has said so by naming nothing; delta only.
    everything: bool,
    /// The next response tells all there is: it answers somebody who has nothing.
    whole: bool,
    /// It is to be told anew, whatever Envoy has of it.
    doubt: Option<Doubt>,
    /// Envoy waits for an answer.
    pub(super) waits: bool,
    /// What Envoy has asked for since an answer of what was kept is being prepared.
    late: Option<Vec<Box<str>>>,
    /// What it has is what was kept, and nobody has said since that it still holds.
    pub(super) stale: bool,
    sent: VecDeque<(Origin, Sent<R>)>,
    /// The response that Envoy spoke of last.
    last: Option<(Origin, String)>,
}

/// What a request says of a response.
#[derive(Debug)]
pub(super) enum About<R> {
    /// Of none.
    Nothing,
    /// Of one that it has spoken of before, or that nobody knows.
    Old(Option<Origin>),
    /// Of one that it had not spoken of; with the receipts of those before it which it has not
    /// spoken of either, and does not refuse: it speaks once of what came while it was busy.
    New(Origin, Sent<R>, Vec<R>),
}

impl<R> Topic<R> {
    pub(super) fn new() -> Self {
        Self {
            asked_in: 0,
            told_in: 0,
            first: None,
            version: String::new(),
            list: Vec::new(),
            refused: BTreeSet::new(),
            lost: Vec::new(),
            fallen: Fallen::No,
            unanswered: BTreeSet::new(),
            names: Names::default(),
            unsure: BTreeSet::new(),
            unnamed: BTreeSet::new(),
            gone: BTreeSet::new(),
            everything: false,
            whole: false,
            doubt: None,
            waits: true,
            late: None,
            stale: false,
            sent: VecDeque::new(),
            last: None,
        }
    }

    pub(super) fn sent(&mut self, origin: Origin, sent: Sent<R>) {
        self.first = None;
        if self.sent.len() >= MOST_SENT
            && let Some((_, oldest)) = self.sent.pop_front()
        {
            self.unsure(&oldest.changes);
        }
        self.sent.push_back((origin, sent));
    }

    /// Whether the next response tells all there is.
    pub(super) fn tells_all(&self) -> bool {
        self.whole
    }

    /// Finds what the request speaks of. Envoy answers in order.
    pub(super) fn about(&mut self, asking: &Asking<'_>) -> About<R> {
        let refused = asking.rejection.is_some();
        if asking.nonce.is_empty() && !refused {
            return About::Nothing;
        }
        let meant = |sent: &Sent<R>| sent.nonce == asking.nonce && (refused || !sent.broken);
        let Some(place) = self.sent.iter().position(|(_, sent)| meant(sent)) else {
            let last = self.last.as_ref().filter(|(_, nonce)| nonce == asking.nonce);
            return About::Old(last.map(|(origin, _)| *origin));
        };
        let before: Vec<_> = self.sent.drain(..place).collect();
        match self.sent.pop_front() {
            Some((origin, sent)) => {
                let before = before.into_iter().filter(|(of, it)| *of == origin && !it.broken);
                let covered = before.filter_map(|(_, sent)| sent.receipt).collect();
                if !sent.broken {
                    self.last = Some((origin, sent.nonce.clone()));
                }
                About::New(origin, sent, covered)
            }
            None => About::Old(None),
        }
    }

    /// Takes over what Envoy wants from now on; whether that is something else than before, and
    /// whether it wants less.
    pub(super) fn wants(&mut self, flavour: Flavour, asking: &Asking<'_>, first: bool) -> Wants {
        match flavour {
            Flavour::Sotw => self.wants_list(asking),
            Flavour::Delta => self.wants_delta(asking, first),
        }
    }

    fn wants_list(&mut self, asking: &Asking<'_>) -> Wants {
        let same = self.list.len() == asking.names.len()
            && self.list.iter().zip(&asking.names).all(|(old, new)| **old == **new);
        if same {
            return Wants::default();
        }
        let mut sorted = asking.names.clone();
        sorted.sort_unstable();
        let less = self.list.iter().any(|old| sorted.binary_search(&&**old).is_err());
        let mut old: Vec<&str> = self.list.iter().map(|name| &**name).collect();
        old.sort_unstable();
        let is_new = |name: &&&str| old.binary_search(name).is_err();
        let added: Vec<Box<str>> =
            sorted.iter().filter(is_new).map(|name| Box::from(*name)).collect();
        let more = !added.is_empty();
        self.waits |= more;
        self.unanswered.retain(|name| sorted.binary_search(&&**name).is_ok());
        self.unanswered.extend(added.iter().cloned());
        if let Some(late) = &mut self.late {
            late.extend(added);
        }
        self.list = asking.names.iter().map(|name| Box::from(*name)).collect();
        Wants { changed: less || more, less }
    }

    fn wants_delta(&mut self, asking: &Asking<'_>, first: bool) -> Wants {
        if first {
            self.everything = asking.names.is_empty();
            for (name, version) in &asking.held {
                self.names.hold(name, version);
            }
        }
        for name in &asking.names {
            self.names
                .mark(name, |mark| *mark = Mark { wanted: true, waiting: !mark.held, ..*mark });
            self.waits = true;
        }
        if let Some(late) = &mut self.late {
            late.extend(asking.names.iter().map(|name| Box::from(*name)));
        }
        let everything = self.has_everything();
        for name in &asking.dropped {
            if *name == ALL {
                self.everything = false;
            }
            self.refused.remove(*name);
            // Envoy forgets it, unless it may have come with everything.
            self.names.mark(name, |mark| {
                *mark = Mark { held: mark.held && everything, ..Mark::default() };
            });
        }
        let less = !asking.dropped.is_empty();
        Wants { changed: first || less || !asking.names.is_empty(), less }
    }

    /// Envoy has taken a response.
    pub(super) fn accepted(&mut self, version: &str, changes: &Changes) {
        version.clone_into(&mut self.version);
        let everything = self.has_everything();
        for (name, came) in changes.iter() {
            self.unsure.remove(name);
            self.refused.remove(name);
            match came {
                Some(version) if everything || self.is_wanted(name) => {
                    self.names.hold(name, version);
                }
                _ => self.names.mark(name, |mark| mark.held = false),
            }
        }
    }

    /// Envoy has refused a response.
    pub(super) fn refused(&mut self, changes: &Changes) {
        let came = changes.iter().filter(|(_, came)| came.is_some()).map(|(name, _)| name);
        let room = MOST_REFUSED.saturating_sub(self.refused.len());
        self.refused.extend(came.take(room).map(Box::from));
    }

    /// An answer of what was kept is being prepared: what is asked from now on is not in it.
    pub(super) fn wishes(&mut self) {
        self.late = Some(Vec::new());
    }

    /// Nobody prepares an answer of what was kept any more.
    pub(super) fn wish_is_over(&mut self) {
        self.late = None;
    }

    /// A response goes to Envoy: who waited for what is in it waits no more.
    pub(super) fn answered(&mut self, changes: &Changes) {
        self.told_some();
        for (name, _) in changes.iter() {
            self.unnamed.remove(name);
            if !self.unanswered.remove(name) {
                self.names.mark(name, |mark| mark.waiting = false);
            }
        }
        // Who wants everything, and does not say to have it, is told all there is.
        self.gone.append(&mut self.unnamed);
        self.waits = false;
    }

    /// Whether Envoy waits for anything that it named for the first time.
    pub(super) fn waits_for_names(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whoever answers had time to: there is no more.
    pub(super) fn waits_no_more(&mut self) {
        self.unanswered.clear();
    }

    /// What comes next does not tell all there is.
    pub(super) fn told_some(&mut self) {
        self.whole = false;
        self.doubt = self.doubt.filter(|doubt| *doubt == Doubt::Open);
    }

    /// Whatever Envoy waited for when its wish was looked up, there is no more than it was given.
    pub(super) fn settled(&mut self) {
        self.names.settle();
        self.unanswered.clear();
        let late = self.late.take().unwrap_or_default();
        self.waits = !late.is_empty();
        for name in late {
            if self.is_wanted(&name) {
                self.names.mark(&name, |mark| mark.waiting = !mark.held);
            } else {
                self.unanswered.insert(name);
            }
        }
    }

    /// Whoever answered is gone: what Envoy still waits for is to be answered by somebody else.
    pub(super) fn abandoned(&mut self) {
        self.waits |= self.waits_for_names()
            || self.names.iter().any(|(name, mark, _)| mark.waiting && name != ALL);
    }

    /// Whether a resource in that version is no news to Envoy.
    pub(super) fn knows(&self, name: &str, version: &str) -> bool {
        // What is on its way may change it.
        self.sent.is_empty()
            && ![&self.unsure, &self.unnamed, &self.refused].iter().any(|of| of.contains(name))
            && self.names.find(name).is_some_and(|(mark, known)| mark.held && known == version)
    }

    /// Everything that Envoy wants by its name; none if it wants all there is.
    pub(super) fn wanted(&self, flavour: Flavour) -> Option<Vec<String>> {
        match flavour {
            Flavour::Sotw if self.list.is_empty() => None,
            Flavour::Sotw => Some(self.list.iter().map(|name| name.to_string()).collect()),
            Flavour::Delta if self.has_everything() => None,
            Flavour::Delta => Some(self.with(|mark| mark.wanted)),
        }
    }

    /// What Envoy waits for, as [`Self::wanted`].
    pub(super) fn awaited(&self, flavour: Flavour) -> Option<Vec<String>> {
        match self.wanted(flavour) {
            Some(_) if flavour == Flavour::Delta => Some(self.with(|mark| mark.waiting)),
            wanted => wanted,
        }
    }

    /// What Envoy has, or is going to have.
    pub(super) fn held(&self) -> Vec<String> {
        let mut held = self.with(|mark| mark.held);
        for (_, sent) in self.sent.iter().filter(|(_, sent)| !sent.broken) {
            for (name, came) in sent.changes.iter() {
                if came.is_some() {
                    held.push(name.to_owned());
                }
            }
        }
        held
    }

    /// The bytes that this takes, about.
    pub(super) fn size(&self) -> usize {
        let unsure = self.unsure.iter().map(|name| name.len() + ROOM + OVERHEAD);
        let unanswered = self.unanswered.iter().map(|name| name.len() + OVERHEAD);
        unsure.sum::<usize>()
            + unanswered.sum::<usize>()
            + self.names.size()
            + self.list.iter().map(|name| name.len() + OVERHEAD).sum::<usize>()
    }

    /// Whether Envoy has any of it.
    pub(super) fn has_some(&self) -> bool {
        self.names.iter().any(|(_, mark, _)| mark.held)
    }

    fn has_everything(&self) -> bool {
        self.everything || self.is_wanted(ALL)
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.names.find(name).is_some_and(|(mark, _)| mark.wanted)
    }

    fn with(&self, which: impl Fn(Mark) -> bool) -> Vec<String> {
        let names = self.names.iter().filter(|(name, mark, _)| which(*mark) && *name != ALL);
        names.map(|(name, ..)| name.to_owned()).collect()
    }
}

/// How a request changes what is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) changed: bool,
    pub(super) less: bool,
}

/// The name of everything.
const ALL: &str = "*";
/// Nobody who answers leaves so many unanswered.
const MOST_SENT: usize = 1024;
const MOST_REFUSED: usize = 256;
/// What a name costs in a request, and in memory, besides its bytes.
const ROOM: usize = 16;
const OVERHEAD: usize = 24;
