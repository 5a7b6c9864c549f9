//! What one node was told.

use std::sync::atomic::{AtomicU64, Ordering};

use hawser_rt::Clock;
use hawser_wire::Flavour;

use crate::{
    Answer, Draft,
    answer::{Asked, compose},
    format::hash,
    order::{Fate, Form, Item, Line, Order, Plan, Ticket, Which},
};

/// What one node was told and took. The newest of a key that is held writes; an
/// older one still reads.
#[derive(Debug)]
pub struct Book {
    line: Line,
    ticket: Ticket,
    clock: Clock,
}

/// A resource that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Of the value of its `Any`; see [`crate::digest`].
    pub digest: u64,
}

impl Book {
    pub(crate) fn new(line: Line, ticket: Ticket, clock: Clock) -> Self {
        Self { line, ticket, clock }
    }

    /// Begins to take down a response. `whole`: it tells all that there is of the type. Until it
    /// is done no other draft of this type is to begin; one that does puts an end to it.
    pub fn draft(&self, type_url: &str, flavour: Flavour, whole: bool) -> Draft {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let draft = NEXT.fetch_add(1, Ordering::Relaxed);
        let fate = Fate::default();
        self.line.tell(Order::Draft {
            draft,
            of: self.ticket.clone(),
            type_url: type_url.to_owned(),
            form: Form { flavour, whole },
            fate: fate.clone(),
        });
        let of = (type_url.to_owned(), Form { flavour, whole });
        Draft::new(self.line.clone(), draft, fate, of, self.clock.clone())
    }

    /// What Envoy subscribes to; `None`, or a `*` among the names, is all. The rest is left out of
    /// answers, and of the disk when the log is next compacted.
    pub fn wanted(&self, type_url: &str, names: Option<Vec<String>>) {
        let names = names
            .filter(|names| !names.iter().any(|name| name == "*"))
            .map(|names| names.iter().map(|name| hash(name.as_bytes())).collect());
        let (of, type_url) = (self.ticket.clone(), type_url.to_owned());
        self.line.tell(Order::Wanted { of, type_url, names });
    }

    /// What is kept of a type, and wanted.
    pub async fn known(&self, type_url: &str) -> Vec<Known> {
        let Some(plan) = self.plan(type_url, None, &[]).await else { return Vec::new() };
        let items = self.items(&plan, false).await;
        let known = items.into_iter().map(|item| Known {
            digest: item.trailer.digest(),
            name: item.trailer.name,
            version: item.trailer.version,
        });
        known.filter(|known| !known.name.is_empty()).collect()
    }

    /// A response of what is kept: of `wanted`, or all; but in delta not what is `held`. In delta
    /// it names as removed what is wanted and neither kept nor held. `None`: nothing was ever
    /// accepted of this type.
    pub async fn answer(
        &self,
        type_url: &str,
        flavour: Flavour,
        wanted: Option<&[String]>,
        held: &[String],
        nonce: &str,
    ) -> Option<Answer> {
        let wanted = wanted.filter(|names| !names.iter().any(|name| name == "*"));
        let without = if flavour == Flavour::Delta { held } else { &[] };
        let plan = self.plan(type_url, wanted, without).await?;
        let items = self.items(&plan, true).await;
        let asked = Asked { type_url, flavour, wanted, held: without, nonce };
        Some(compose(self.line.clone(), plan, items, &asked))
    }

    async fn plan(
        &self,
        type_url: &str,
        names: Option<&[String]>,
        without: &[String],
    ) -> Option<Plan> {
        let which = Which {
            names: names.map(|names| names.iter().map(|name| hash(name.as_bytes())).collect()),
            without: without.iter().map(|name| hash(name.as_bytes())).collect(),
        };
        let (of, type_url) = (self.ticket.clone(), type_url.to_owned());
        self.line.ask(|reply| Order::Plan { of, type_url, which, reply }).await?
    }

    /// Looks at the resources, in parts between which others have their turn.
    async fn items(&self, plan: &Plan, bodies: bool) -> Vec<Item> {
        let mut items = Vec::with_capacity(plan.places.len());
        let mut rest = plan.places.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let some = rest
                .iter()
                .take(AT_ONCE)
                .take_while(|place| {
                    let fits = bytes < BYTES_AT_ONCE;
                    bytes += u64::from(place.length());
                    fits
                })
                .count();
            let (places, after) = rest.split_at(some.clamp(1, rest.len()));
            rest = after;
            let (source, places) = (plan.source.clone(), places.to_vec());
            let looked = self.line.ask(|reply| Order::Look { source, places, bodies, reply }).await;
            items.extend(looked.into_iter().flatten());
        }
        items
    }
}

const AT_ONCE: usize = 256;
const BYTES_AT_ONCE: u64 = 1 << 20;
