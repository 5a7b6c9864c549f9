//! How a name is found, told in words.

use std::net::IpAddr;

use serde::Serialize;

use super::{Entry, Realm, Registry, Search, Table, Via};
use crate::name::Name;

/// How a name is found, or why it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// How it was found; none if it was not.
    pub via: Option<Via>,
    /// The host, alias or wildcard that it was found by.
    pub matched: Option<String>,
    /// What was taken off its end before.
    pub search_domain: Option<String>,
    /// Whose it is.
    pub host: Option<Held>,
    /// The domain that keeps the mesh out of it.
    pub excluded: Option<String>,
    /// What was looked for, in this order.
    pub tried: Vec<String>,
}

/// A host as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Held {
    pub host: String,
    pub registry: Registry,
    /// Whether nobody else can say anything about it.
    pub realm: Realm,
    /// The names that lead to it and to no other host, search domains aside.
    pub aliases: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl Table {
    /// Does what [`Table::find`] does, and tells how.
    pub fn trace(&self, name: &Name, search: &Search) -> Trace {
        let mut trace = Trace { tried: self.tried(name, search), ..Trace::default() };
        let excluded = self.exclude.iter().find(|suffix| Self::is_within(name, suffix, search));
        if let Some(suffix) = excluded {
            trace.excluded = Some(text(suffix.octets()));
            trace.tried.clear();
            return trace;
        }
        let Some((entry, via)) = self.look(name, search) else { return trace };
        let whole = name.octets();
        let domain = |end| whole.get(end..).map(text).filter(|domain| !domain.is_empty());
        trace.via = Some(via);
        trace.host = self.entries.get(entry as usize).map(|held| self.held(held, entry));
        let host = trace.host.as_ref().map(|held| held.host.clone());
        (trace.matched, trace.search_domain) = match via {
            Via::Name => (Some(text(whole)), None),
            Via::Search { octets } => (whole.get(..octets).map(text), domain(octets)),
            Via::Wildcard => (host, None),
            Via::WildcardSearch { end, .. } => (host, domain(end)),
            Via::Below => {
                let below = name.after(2);
                let hit = self.hit(&self.names, name, 2, search);
                let proper = hit.and_then(|(_, proper)| proper).unwrap_or(below);
                (Some(text(proper)), domain(whole.len() - below.len() + proper.len()))
            }
        };
        let found = trace.matched.as_ref();
        if let Some(at) = trace.tried.iter().position(|tried| Some(tried) == found) {
            trace.tried.truncate(at + 1);
        }
        trace
    }

    /// Every host, in the order of their names as they came.
    pub fn hosts(&self) -> impl Iterator<Item = Held> {
        let mut aliases: Vec<_> = self.keys().map(|(key, entry)| (entry, key)).collect();
        aliases.sort_unstable();
        let mut rest = aliases.into_iter().peekable();
        self.entries.iter().zip(0_u32..).map(move |(entry, number)| {
            let host = self.host_of(entry);
            let mut held = self.described(entry);
            while let Some((_, key)) = rest.next_if(|&(of, _)| of == number) {
                held.aliases.extend((key != name_of(host)).then(|| text(key)));
            }
            held
        })
    }

    fn held(&self, entry: &Entry, number: u32) -> Held {
        let host = name_of(self.host_of(entry));
        let mut held = self.described(entry);
        let others = self.keys().filter(|&(key, of)| of == number && key != host);
        held.aliases.extend(others.map(|(key, _)| text(key)));
        held.aliases.sort_unstable();
        held
    }

    /// Without its aliases.
    fn described(&self, entry: &Entry) -> Held {
        let v4 = self.v4.get(entry.v4()).unwrap_or_default().iter();
        let v6 = self.v6.get(entry.v6()).unwrap_or_default().iter();
        let v4 = v4.filter_map(|record| record.last_chunk::<4>().map(|octets| (*octets).into()));
        let v6 = v6.filter_map(|record| record.last_chunk::<16>().map(|octets| (*octets).into()));
        Held {
            host: text(self.host_of(entry)),
            registry: entry.registry,
            realm: entry.realm,
            aliases: Vec::new(),
            addresses: v4.chain(v6).collect(),
        }
    }

    /// What is found as a name, and what is found behind a wildcard, with their entries.
    fn keys(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.names.iter(&self.octets).chain(self.wildcards.iter(&self.octets))
    }

    /// What is looked for, as long as nothing is found.
    fn tried(&self, name: &Name, search: &Search) -> Vec<String> {
        let propers = |skipped: usize| {
            let whole = (name.labels() > skipped).then(|| name.after(skipped));
            let domains = search.domains().iter();
            whole.into_iter().chain(domains.filter_map(move |domain| name.within(skipped, domain)))
        };
        let first = name.labels().saturating_sub(self.reach(search)).max(1);
        let behind = (first..name.labels()).flat_map(propers);
        propers(0).map(text).chain(behind.map(|suffix| format!("*.{}", text(suffix)))).collect()
    }
}

/// What a host is looked up by: of a wildcard what follows `*.`.
fn name_of(host: &[u8]) -> &[u8] {
    host.strip_prefix(b"\x01*").unwrap_or(host)
}

/// A name as people write it, without the dot at its end.
fn text(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((&length, behind)) = rest.split_first() {
        let Some((label, behind)) = behind.split_at_checked(usize::from(length)) else { break };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&label.escape_ascii().to_string());
        rest = behind;
    }
    text
}
