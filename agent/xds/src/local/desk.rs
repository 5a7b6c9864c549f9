//! A stream of requests, answered out of what is there: as values, without clock, socket or task.
//!
//! What is true of every stream:
//!
//! - The first request of a type is answered even if there is nothing of it, and so is each name that is
//!   asked for: nobody waits for ever.
//! - What is told is what is there now, however many edits there were since; what the client has, it is
//!   not told again.
//! - What is refused is not told again before there is something else.
//! - What others speak of comes before them, and goes after them: clusters that are no more are told to
//!   be so once the client has taken listeners and routes that do without (delta; a whole state cannot
//!   say so).

use std::{collections::BTreeMap, mem, sync::Arc};

use hawser_proto::type_url;
use hawser_wire::Flavour;

use super::{
    Supply,
    letter::{Draft, Letter},
    topic::{Changes, Leaving, Stock, Topic, Verdict, version},
};
use crate::{beside::OURS, session::Asking};

/// Who answers on one stream.
#[derive(Debug)]
pub(crate) struct Desk {
    flavour: Flavour,
    supply: Arc<Supply>,
    topics: BTreeMap<String, Topic>,
    /// Tells the nonces of this stream from those of others.
    mark: u64,
    /// The number of the last response.
    last: u64,
}

impl Desk {
    /// One that marks its nonces so.
    pub(crate) fn new(flavour: Flavour, supply: Arc<Supply>, mark: u64) -> Self {
        Self { flavour, supply, topics: BTreeMap::new(), mark, last: 0 }
    }

    /// Takes a request, and returns what it says of a response.
    pub(crate) fn hear(&mut self, asking: &Asking<'_>) -> Option<Verdict> {
        // That is told, and not asked.
        if asking.type_url == type_url::HEALTH {
            return None;
        }
        let number = self.number(asking.nonce);
        let first = !self.topics.contains_key(asking.type_url);
        let topic = self.topics.entry(asking.type_url.to_owned()).or_default();
        let sotw = self.flavour == Flavour::Sotw;
        // What a client says before it knows of the last response it says again.
        if sotw && !first && !asking.nonce.is_empty() && number != Some(topic.sent) {
            return None;
        }
        if sotw {
            topic.wants_list(asking, first);
        } else {
            topic.wants(asking, first);
        }
        let number = number.filter(|number| *number <= topic.sent)?;
        let version = if number == topic.sent { topic.version.clone() } else { String::new() };
        Some(match asking.rejection {
            Some(error) => {
                topic.refused(number);
                Verdict::Refused { version, error: error.to_owned() }
            }
            None => {
                let mends = topic.taken(number);
                Verdict::Taken { version, mends }
            }
        })
    }

    /// There is something else from now on.
    pub(crate) fn restock(&mut self, supply: Arc<Supply>) {
        let before = mem::replace(&mut self.supply, supply);
        for (type_url, topic) in &mut self.topics {
            if !versions(&before, type_url).eq(versions(&self.supply, type_url)) {
                topic.restock();
            }
        }
    }

    /// What is to be told next, of types that may be told of.
    pub(crate) fn next(&mut self, may: &mut dyn FnMut(&str) -> bool) -> Option<Letter> {
        for type_url in self.order() {
            let is_open = self.topics.get(&type_url).is_some_and(|topic| topic.open);
            let leaving = if type_url == type_url::CLUSTER { Leaving::Kept } else { Leaving::Told };
            if is_open
                && may(&type_url)
                && let Some(letter) = self.tell(&type_url, leaving)
            {
                return Some(letter);
            }
        }
        let leaving = self.topics.get(type_url::CLUSTER).is_some_and(|topic| topic.leaving);
        if leaving && self.is_settled() {
            self.tell(type_url::CLUSTER, Leaving::Told)
        } else {
            None
        }
    }

    /// Whether anything of that type was asked for.
    pub(crate) fn knows(&self, type_url: &str) -> bool {
        self.topics.contains_key(type_url)
    }

    /// The bytes of all names that are wanted, about.
    pub(crate) fn size(&self) -> usize {
        self.topics.values().map(Topic::size).sum()
    }

    /// Types in the order in which they are told: what others speak of comes first.
    fn order(&self) -> Vec<String> {
        let first = ORDER.iter().copied().filter(|type_url| self.topics.contains_key(*type_url));
        let others = self.topics.keys().map(String::as_str);
        first
            .chain(others.filter(|type_url| !ORDER.contains(type_url)))
            .map(str::to_owned)
            .collect()
    }

    /// Whether nobody speaks of clusters that are no more.
    fn is_settled(&self) -> bool {
        let topic = |type_url| self.topics.get(type_url);
        topic(type_url::CLUSTER).is_none_or(Topic::is_quiet)
            && [type_url::LISTENER, type_url::ROUTE]
                .into_iter()
                .filter_map(topic)
                .all(|topic| topic.is_quiet() && !topic.refuses())
    }

    fn tell(&mut self, type_url: &str, leaving: Leaving) -> Option<Letter> {
        let (supply, none) = (Arc::clone(&self.supply), Stock::new());
        let stock = supply.0.get(type_url).unwrap_or(&none);
        let topic = self.topics.get_mut(type_url)?;
        let number = self.last + 1;
        let changes = match self.flavour {
            Flavour::Delta => topic.changes(stock, number, leaving),
            Flavour::Sotw => topic.whole(stock, number),
        };
        let Changes { came, gone } = changes?;
        if self.flavour == Flavour::Delta {
            topic.version = version(stock.iter());
        }
        let version = topic.version.clone();
        self.last = number;
        let nonce = format!("{OURS}{:016x}/{number}", self.mark);
        Some(Draft { type_url, version, nonce, came, gone }.letter(self.flavour))
    }

    /// The number of a response of this stream.
    fn number(&self, nonce: &str) -> Option<u64> {
        let (mark, number) = nonce.strip_prefix(OURS)?.split_once('/')?;
        let ours = u64::from_str_radix(mark, 16).is_ok_and(|mark| mark == self.mark);
        number.parse().ok().filter(|_| ours)
    }
}

/// The names of a type, with their versions.
fn versions<'a>(
    supply: &'a Supply,
    type_url: &str,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    let stock = supply.0.get(type_url).into_iter().flatten();
    stock.map(|(name, supplied)| (name, &supplied.version))
}

/// What others speak of, before them.
const ORDER: [&str; 4] =
    [type_url::CLUSTER, type_url::ENDPOINT, type_url::LISTENER, type_url::ROUTE];
