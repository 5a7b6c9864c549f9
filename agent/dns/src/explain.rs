//! Why a name resolves as it does: the rule, the entry, what was looked for, and what comes of it.
//!
//! The decision is the one that a program would get: it is asked of [`answer`] with
//! the table in use.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::answer::{self, Action, Errand, Transport, View};
use crate::counts::Code;
use crate::message::{Edns, HEADER, IN, Record, kind, set_number};
use crate::name::Name;
use crate::table::{Held, Search, Style, Table, Trace, Via};

/// What is asked, and what is known.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// The whole name, with or without the dot at its end.
    pub name: &'a str,
    /// The type.
    pub kind: u16,
    /// The names that are answered, if there are any.
    pub table: Option<&'a Table>,
    /// Whose rules hold.
    pub style: Style,
    /// What resolvers of this machine append to names.
    pub search: &'a Search,
}

/// Why a name resolves as it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked.
    pub name: String,
    /// The number of the type that was asked for.
    pub kind: u16,
    /// Which rule holds for it.
    pub rule: Rule,
    /// The host, alias or wildcard that it was found by.
    pub matched: Option<String>,
    /// What was taken off its end before.
    pub search_domain: Option<String>,
    /// The entry of the name table.
    pub entry: Option<Host>,
    /// What was looked for, in this order, when nothing was found.
    pub tried: Vec<String>,
    /// What comes of it.
    pub does: Does,
    /// With which code it is answered, unless it is relayed.
    pub code: Option<String>,
    /// Addresses in the answer.
    pub addresses: Vec<IpAddr>,
    /// Seconds for which what resolvers said is in its time yet, 0 if it is past that; null if
    /// nothing is kept of it.
    pub kept: Option<u64>,
}

/// Which rule holds for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// It is a host of the mesh.
    Host,
    /// It is another name of one.
    Alias,
    /// It is behind a wildcard.
    Wildcard,
    /// It is a port of a host: `_port._proto.` is in front of it.
    Port,
    /// It is an address of a host, turned around.
    Reverse,
    /// The configuration keeps the mesh out of it.
    Excluded,
    /// The mesh does not know it.
    Unknown,
    /// Nothing is known of the mesh yet.
    NoTable,
}

/// What comes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// It is answered from the table.
    Answers,
    /// It is answered with an error.
    Refuses,
    /// Other resolvers are asked.
    Relays,
    /// Nothing.
    Drops,
}

/// An entry of the name table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Host {
    pub host: String,
    pub registry: String,
    pub aliases: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

/// Explains; none, if that is no name.
pub fn explain(inquiry: &Inquiry<'_>) -> Option<Explanation> {
    let name = Name::parse(inquiry.name)?;
    let mut out = Vec::new();
    let action = decide(inquiry, &query(&name, inquiry.kind, false), &mut out);
    let mut explanation = Explanation {
        name: dotted(name.octets()),
        kind: inquiry.kind,
        rule: Rule::Unknown,
        matched: None,
        search_domain: None,
        entry: None,
        tried: Vec::new(),
        does: match action {
            Action::Answer => Does::Answers,
            Action::Refuse => Does::Refuses,
            Action::Relay(_) => Does::Relays,
            Action::Drop => Does::Drops,
        },
        code: matches!(action, Action::Answer | Action::Refuse)
            .then(|| Code::of(&out).word().to_owned()),
        addresses: addresses(&out),
        kept: None,
    };
    match inquiry.table {
        None => explanation.rule = Rule::NoTable,
        Some(table) => explanation.told(table.trace(&name, inquiry.search), &name, table),
    }
    Some(explanation)
}

/// For how long what resolvers said is in its time yet, nothing if it is past that: the longest of
/// what a program that uses EDNS would be told, and one that does not. `look` looks into a cache.
pub(crate) fn kept(
    inquiry: &Inquiry<'_>,
    look: impl Fn(&[u8], &Errand) -> Option<Duration>,
) -> Option<Duration> {
    let name = Name::parse(inquiry.name)?;
    let ask = |edns| {
        let query = query(&name, inquiry.kind, edns);
        match decide(inquiry, &query, &mut Vec::new()) {
            Action::Relay(errand) => look(&query, &errand),
            Action::Answer | Action::Refuse | Action::Drop => None,
        }
    };
    ask(false).max(ask(true))
}

/// A query as most programs make it.
fn query(name: &Name, kind: u16, edns: bool) -> Vec<u8> {
    let mut query = vec![0, 0, RECURSION_DESIRED, 0, 0, 1];
    query.resize(HEADER, 0);
    query.extend_from_slice(name.octets());
    query.push(0);
    query.extend_from_slice(&kind.to_be_bytes());
    query.extend_from_slice(&IN.to_be_bytes());
    if edns {
        set_number(&mut query, ADDITIONALS, 1);
        let opt = Edns { payload: 0, version: 0, dnssec_ok: false };
        query.extend_from_slice(&opt.reply(PAYLOAD, 0));
    }
    query
}

/// What becomes of a query.
fn decide(inquiry: &Inquiry<'_>, query: &[u8], out: &mut Vec<u8>) -> Action {
    let Inquiry { table, search, style, .. } = *inquiry;
    let view = View { table, search, style, far: false };
    // The order of addresses is nobody's business here.
    let mut dice = fastrand::Rng::with_seed(0);
    answer::answer(query, &view, Transport::Tcp, &mut dice, out)
}

impl Explanation {
    fn told(&mut self, trace: Trace, name: &Name, table: &Table) {
        self.rule = match (trace.via, &trace.host) {
            (Some(Via::Below), _) => Rule::Port,
            (Some(Via::Wildcard | Via::WildcardSearch { .. }), _) => Rule::Wildcard,
            (Some(Via::Name | Via::Search { .. }), Some(held)) => {
                let whole = trace.matched.as_ref() == Some(&held.host);
                if whole { Rule::Host } else { Rule::Alias }
            }
            (Some(Via::Name | Via::Search { .. }), None) => Rule::Alias,
            (None, _) if trace.excluded.is_some() => Rule::Excluded,
            (None, _) => Rule::Unknown,
        };
        self.matched = trace.matched.or(trace.excluded);
        self.search_domain = trace.search_domain;
        self.entry = trace.host.map(Host::from);
        if trace.via.is_none() {
            self.tried = trace.tried;
        }
        let reverse = name.address().filter(|_| self.kind == kind::PTR);
        if self.rule == Rule::Unknown
            && let Some(host) = reverse.and_then(|address| table.reverse(address))
        {
            self.rule = Rule::Reverse;
            self.matched = Some(dotted(host));
            let host = Name::parse(&dotted(host));
            self.entry =
                host.and_then(|host| table.trace(&host, &Search::default()).host).map(Host::from);
            self.tried.clear();
        }
    }
}

impl From<Held> for Host {
    fn from(held: Held) -> Self {
        let Held { host, registry, aliases, addresses, .. } = held;
        Self { host, registry: registry.word().to_owned(), aliases, addresses }
    }
}

/// A name in wire form as people write it, without the dot at its end.
fn dotted(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((&len, behind)) = rest.split_first() {
        let Some((label, behind)) = behind.split_at_checked(usize::from(len)) else { break };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&String::from_utf8_lossy(label));
        rest = behind;
    }
    text
}

/// The addresses of an answer.
fn addresses(answer: &[u8]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let Some(mut at) = Name::end(answer, HEADER).map(|end| end + 4) else { return found };
    while let Some(record) = Record::read(answer, at) {
        let data = answer.get(record.fields + DATA..record.end).unwrap_or_default();
        let v4 = <[u8; 4]>::try_from(data).ok().filter(|_| record.kind == kind::A);
        let v6 = <[u8; 16]>::try_from(data).ok().filter(|_| record.kind == kind::AAAA);
        found.extend(v4.map(IpAddr::from).or(v6.map(IpAddr::from)));
        at = record.end;
    }
    found.sort_unstable();
    found
}

const RECURSION_DESIRED: u8 = 1;
/// Where the number of additional records is.
const ADDITIONALS: usize = 10;
const PAYLOAD: u16 = 1232;
/// Octets between the fields of a record and its data: class, TTL, length.
const DATA: usize = 8;

#[cfg(test)]
mod tests;
