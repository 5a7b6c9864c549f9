//! One type on a stream: what is wanted of it, and what was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::Supplied;
use crate::session::Asking;

/// What is there of one type.
pub(super) type Stock = BTreeMap<String, Supplied>;

/// What a request says of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is taken.
    Taken {
        version: String,
        /// Nothing is left of what was refused of the type.
        mends: bool,
    },
    /// It is refused.
    Refused { version: String, error: String },
}

#[derive(Debug, Default)]
pub(super) struct Topic {
    everything: bool,
    names: BTreeSet<String>,
    /// What the client has been told of each name; delta only.
    told: BTreeMap<String, Told>,
    /// The version that was told last.
    pub(super) version: String,
    /// The numbers of the last response, and of the last that the client has spoken of.
    pub(super) sent: u64,
    spoken: u64,
    /// There may be something to tell.
    pub(super) open: bool,
    /// Somebody waits for an answer, even if there is nothing in it.
    owes: bool,
    /// There is other stock than when something was refused.
    restocked: bool,
    /// The last response before there was other stock.
    before: u64,
    /// What is no more was not told yet.
    pub(super) leaving: bool,
}

/// What the client knows of a name.
#[derive(Debug)]
struct Told {
    state: State,
    /// Of the response that said so; 0 if it was the client itself.
    number: u64,
}

#[derive(Debug)]
enum State {
    Has(String),
    /// It was told that version, and has refused it, or something that came with it.
    Refused(String),
    /// It knows that there is none.
    Gone,
}

/// What there is to tell.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    pub(super) came: Vec<(&'a String, &'a Supplied)>,
    pub(super) gone: Vec<String>,
}

/// What becomes of what is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Told,
    /// Others may still speak of it.
    Kept,
}

impl Topic {
    /// Whether there is nothing to tell, and the client has spoken of all that it was told.
    pub(super) fn is_quiet(&self) -> bool {
        !self.open && self.spoken == self.sent
    }

    /// Whether the client has refused anything that it still wants, and not taken since.
    pub(super) fn refuses(&self) -> bool {
        self.told.values().any(|told| matches!(told.state, State::Refused(_)))
    }

    /// The bytes of what is wanted by its name, about.
    pub(super) fn size(&self) -> usize {
        self.names.iter().map(|name| name.len() + OVERHEAD).sum()
    }

    /// There is other stock.
    pub(super) fn restock(&mut self) {
        (self.open, self.restocked, self.before) = (true, true, self.sent);
    }

    /// Takes over what a delta request wants.
    pub(super) fn wants(&mut self, asking: &Asking<'_>, first: bool) {
        if first {
            self.everything = asking.names.is_empty();
            for (name, version) in &asking.held {
                let state = State::Has((*version).to_owned());
                self.told.insert((*name).to_owned(), Told { state, number: 0 });
            }
            (self.open, self.owes) = (true, true);
        }
        let held: BTreeSet<&str> = asking.held.iter().map(|(name, _)| *name).collect();
        for name in &asking.names {
            if *name == ALL {
                self.everything = true;
            } else {
                // Who asks for it anew has nothing, unless it says so.
                if !held.contains(name) {
                    self.told.remove(*name);
                }
                self.names.insert((*name).to_owned());
            }
            self.open = true;
        }
        for name in &asking.dropped {
            self.drop(name);
        }
    }

    fn drop(&mut self, name: &str) {
        if name == ALL {
            self.everything = false;
            let names = &self.names;
            self.told.retain(|name, _| names.contains(name));
            return;
        }
        self.names.remove(name);
        let known = self.told.remove(name);
        if self.everything {
            // It may have come with everything, and is told anew, or that it is no more.
            let state = known.map_or_else(|| State::Refused(String::new()), |told| told.state);
            let state = match state {
                State::Has(version) | State::Refused(version) => State::Refused(version + "?"),
                State::Gone => State::Gone,
            };
            self.told.insert(name.to_owned(), Told { state, number: 0 });
            self.open = true;
        }
    }

    /// Takes over what a request in state of the world wants.
    pub(super) fn wants_list(&mut self, asking: &Asking<'_>, first: bool) {
        let all = asking.names.contains(&ALL);
        if first {
            self.everything = asking.names.is_empty();
        }
        self.everything |= all;
        let names = asking.names.iter().filter(|name| **name != ALL);
        let names: BTreeSet<String> = names.map(|name| (*name).to_owned()).collect();
        // Who asks without having been answered waits, and so does who asks for more.
        self.owes |= first || asking.nonce.is_empty() || !names.is_subset(&self.names);
        self.open |= self.owes;
        self.names = names;
    }

    /// The client has taken the response of that number, and with it those before; whether nothing is
    /// left of what it has refused.
    pub(super) fn taken(&mut self, number: u64) -> bool {
        self.spoken = self.spoken.max(number);
        let names = &self.names;
        self.told.retain(|name, told| {
            !matches!(told.state, State::Gone) || told.number > number || names.contains(name)
        });
        !self.refuses()
    }

    /// The client has refused the response of that number: nobody knows what of it it has. It is told
    /// again with the next edit, or now if there was one since.
    pub(super) fn refused(&mut self, number: u64) {
        self.spoken = self.spoken.max(number);
        let edited = number <= self.before;
        (self.open, self.restocked) = (self.open | edited, self.restocked | edited);
        for told in self.told.values_mut().filter(|told| told.number == number) {
            let version = match &mut told.state {
                State::Has(version) | State::Refused(version) => std::mem::take(version),
                State::Gone => String::new(),
            };
            told.state = State::Refused(version);
        }
    }

    /// What a delta client is to be told; none if there is nothing.
    pub(super) fn changes<'a>(
        &mut self,
        stock: &'a Stock,
        number: u64,
        leaving: Leaving,
    ) -> Option<Changes<'a>> {
        let mut changes = Changes::default();
        let wanted = |name: &String| self.everything || self.names.contains(name);
        for (name, supplied) in stock.iter().filter(|(name, _)| wanted(name)) {
            let known = self.told.get(name).is_some_and(|told| match &told.state {
                State::Has(version) => *version == supplied.version,
                State::Refused(version) => !self.restocked && *version == supplied.version,
                State::Gone => false,
            });
            if !known {
                changes.came.push((name, supplied));
            }
        }
        let goes = |told: &Told| !matches!(told.state, State::Gone);
        let known = self.told.iter().filter(|(_, told)| goes(told)).map(|(name, _)| name);
        let missed = self.names.iter().filter(|name| !self.told.contains_key(*name));
        let (mut bytes, mut left) = (0, false);
        for name in known.chain(missed).filter(|name| !stock.contains_key(*name)) {
            bytes += name.len();
            if leaving == Leaving::Kept || bytes > MOST_GONE {
                left = true;
            } else {
                changes.gone.push(name.clone());
            }
        }
        // What did not fit is told next; what others may speak of, when they do not.
        self.leaving = left;
        self.open = left && leaving == Leaving::Told;
        self.restocked &= self.open;
        let owes = std::mem::take(&mut self.owes);
        if changes.came.is_empty() && changes.gone.is_empty() && !owes {
            return None;
        }
        self.told(&changes, number);
        Some(changes)
    }

    fn told(&mut self, Changes { came, gone }: &Changes<'_>, number: u64) {
        self.sent = number;
        for (name, supplied) in came {
            let state = State::Has(supplied.version.clone());
            self.told.insert((*name).clone(), Told { state, number });
        }
        for name in gone {
            self.told.insert(name.clone(), Told { state: State::Gone, number });
        }
    }

    /// What a client in state of the world is to be told, which is all that it wants and there is; none
    /// if that is what it was told last.
    pub(super) fn whole<'a>(&mut self, stock: &'a Stock, number: u64) -> Option<Changes<'a>> {
        let wanted = |name: &String| self.everything || self.names.contains(name);
        let came: Vec<_> = stock.iter().filter(|(name, _)| wanted(name)).collect();
        let version = version(came.iter().copied());
        (self.open, self.restocked) = (false, false);
        if !std::mem::take(&mut self.owes) && version == self.version {
            return None;
        }
        (self.version, self.sent) = (version, number);
        Some(Changes { came, gone: Vec::new() })
    }
}

/// One version for all of these; the same for the same ones.
pub(super) fn version<'a>(stock: impl Iterator<Item = (&'a String, &'a Supplied)>) -> String {
    let mut hasher = DefaultHasher::new();
    for (name, Supplied { version, .. }) in stock {
        (name, version).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// The name of everything.
const ALL: &str = "*";
/// What a name costs besides its bytes.
const OVERHEAD: usize = 64;
/// Whoever passes a response on takes only so many bytes of names that are no more.
const MOST_GONE: usize = 512 << 10;
