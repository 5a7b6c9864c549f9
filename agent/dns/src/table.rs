//! The lookup table: what istiod said, arranged for answering.
//!
//! Built whole from the names of a mesh, never changed, swapped by one pointer. Names lie in one
//! piece of memory and records are ready to be copied, so a lookup follows a few numbers, allocates
//! nothing and takes no lock. What is true of every table:
//!
//! - The same input gives the same winner for every name: hosts go before aliases, aliases of the
//!   own namespace before those of others, then the order of the host names decides.
//! - Search domains are taken off the question, not added to the entries: its size does not depend
//!   on how many there are.
//! - A bad entry is counted and left out; it costs nobody else an answer.
//! - A name whose entry has no usable address is still known: no other resolver is asked for it.
//!
//! Of a table in Istio's style the last is not true, and which names there are is what Istio's own
//! agent says; see [`Style`].

mod build;
mod index;
mod reverse;
mod search;
mod trace;

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use hawser_proto::Names;
use serde::Serialize;

use crate::name::Name;
use build::Builder;
use index::{Index, Key};
use reverse::Reverse;
pub use search::Search;
pub use trace::{Held, Trace};

/// Seconds for which an answer may be kept.
pub const TTL: u32 = 30;

/// Who is asking: decides which short names exist.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Namespace of the workload; its services are known by their bare name.
    pub namespace: String,
    /// Domain of the workload, such as `demo.svc.cluster.local`; the namespace in front is optional.
    /// Services outside it have no short names. Empty: no short names at all.
    pub domain: String,
    /// Domains about which the mesh is not believed, whatever it says.
    pub exclude: Vec<String>,
    /// Whose rules hold.
    pub style: Style,
}

/// Whose rules hold for what is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Ours.
    #[default]
    Plain,
    /// Those of Istio's own agent, to the octet.
    Istio,
}

/// Every name that the mesh answers for.
pub struct Table {
    style: Style,
    /// Every host, and every alias that is not the beginning of its host.
    octets: Vec<u8>,
    names: Index,
    /// Keyed by what follows `*.`.
    wildcards: Index,
    /// In the order of the hosts, as are their records.
    entries: Vec<Entry>,
    v4: Vec<[u8; Self::V4]>,
    v6: Vec<[u8; Self::V6]>,
    by_v4: Reverse,
    by_v6: Reverse,
    exclude: Vec<Name>,
}

/// What was left out of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Names that are none, are there twice, or did not fit.
    pub names: usize,
    /// Addresses that are none, or too many for one name.
    pub addresses: usize,
    /// The first of them, as it was given.
    pub first: Option<String>,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Records of type A whose owner is the question's name.
    pub v4: &'a [[u8; Table::V4]],
    /// Records of type AAAA whose owner is the question's name.
    pub v6: &'a [[u8; Table::V6]],
    /// How the name was found.
    pub via: Via,
    /// Where else the name may be known.
    pub realm: Realm,
}

/// How a name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Via {
    /// As it was asked, be it as a host or as an alias.
    Name,
    /// With a search domain taken off: the name proper is the first `octets` of the question.
    Search {
        /// Length of the name proper, without the root's octet.
        octets: usize,
    },
    /// Behind a wildcard.
    Wildcard,
    /// Behind a wildcard, with a search domain taken off: what follows `*.` in the wildcard are
    /// the octets from `start` to `end` of the question's name.
    WildcardSearch {
        /// Where they begin.
        start: usize,
        /// Where they end, without the root's octet.
        end: usize,
    },
    /// As `_port._proto.` in front of a name of the mesh: there is such a name, and nothing that
    /// could be said of its ports.
    Below,
}

/// Where a name lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Realm {
    /// In the mesh alone: nobody else can say anything about it.
    Mesh,
    /// Outside too: the mesh gives its addresses, the world the rest (mail servers, texts, …).
    World,
}

/// A host.
struct Entry {
    /// Where its name, its A records and its AAAA records begin.
    host: u32,
    v4: u32,
    v6: u32,
    /// How many records there are.
    v4_count: u16,
    v6_count: u16,
    host_length: u8,
    /// Who goes first where an address has several names: the lowest.
    rank: u8,
    registry: Registry,
    realm: Realm,
}

/// Where istiod has a host from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Registry {
    /// A service of a cluster.
    Kubernetes,
    /// A `ServiceEntry`.
    External,
    /// Anything else.
    Other,
}

/// An entry, and the name it is known by if a search domain was taken off.
type Hit<'a> = (u32, Option<&'a [u8]>);

impl Table {
    /// Octets of a prepared A record.
    pub const V4: usize = 16;
    /// Octets of a prepared AAAA record.
    pub const V6: usize = 28;

    /// Arranges `names` for the workload described by `scope`.
    pub fn build(names: &Names, scope: &Scope) -> (Self, Skipped) {
        Builder::new(scope).build(names)
    }

    /// What the mesh knows of `name`.
    pub fn find(&self, name: &Name, search: &Search) -> Option<Found<'_>> {
        if self.excludes(name, search) {
            return None;
        }
        let (entry, via) = self.look(name, search)?;
        let entry = self.entries.get(entry as usize)?;
        if via == Via::Below {
            return Some(Found { v4: &[], v6: &[], via, realm: entry.realm });
        }
        let (v4, v6) = (self.v4.get(entry.v4())?, self.v6.get(entry.v6())?);
        Some(Found { v4, v6, via, realm: entry.realm })
    }

    /// Whether the mesh is not believed about `name`, whatever it says.
    pub fn excludes(&self, name: &Name, search: &Search) -> bool {
        self.exclude.iter().any(|suffix| Self::is_within(name, suffix, search))
    }

    /// The entry of `name`.
    fn look(&self, name: &Name, search: &Search) -> Option<(u32, Via)> {
        if let Some((entry, proper)) = self.hit(&self.names, name, 0, search) {
            let via = proper.map_or(Via::Name, |proper| Via::Search { octets: proper.len() });
            return Some((entry, via));
        }
        if let Some(entry) = self.below(name, search) {
            return Some((entry, Via::Below));
        }
        // The closest wildcard wins. Suffixes that are longer than any wildcard are not looked at.
        let reach = self.reach(search);
        let first = name.labels().saturating_sub(reach).max(1);
        (first..name.labels()).find_map(|labels| {
            let (entry, proper) = self.hit(&self.wildcards, name, labels, search)?;
            let start = name.octets().len() - name.after(labels).len();
            let via = proper.map_or(Via::Wildcard, |proper| Via::WildcardSearch {
                start,
                end: start + proper.len(),
            });
            Some((entry, via))
        })
    }

    /// The host that has this address, without the root's octet.
    pub fn reverse(&self, address: IpAddr) -> Option<&[u8]> {
        // The last entry that begins at or before the record is its entry: those without records
        // begin where the next one does.
        let (position, begin): (_, fn(&Entry) -> u32) = match address {
            IpAddr::V4(v4) => (self.by_v4.at(&self.v4, &v4.octets())?, |entry| entry.v4),
            IpAddr::V6(v6) => (self.by_v6.at(&self.v6, &v6.octets())?, |entry| entry.v6),
        };
        let behind = self.entries.partition_point(|entry| begin(entry) as usize <= position);
        self.entries.get(behind.checked_sub(1)?).map(|entry| self.host_of(entry))
    }

    /// Number of names, aliases and wildcards included.
    pub fn names(&self) -> usize {
        self.names.len() + self.wildcards.len()
    }

    /// Looks up what is left of `name` when the first `skipped` labels are taken away.
    fn hit<'n>(
        &self,
        index: &Index,
        name: &'n Name,
        skipped: usize,
        search: &Search,
    ) -> Option<Hit<'n>> {
        let labels = name.labels().saturating_sub(skipped);
        let at = |octets, labels| index.at(&self.octets, Key { octets, labels });
        let whole = at(name.after(skipped), labels).map(|entry| (entry, None));
        let proper = |domain: &Name| {
            let labels = labels.checked_sub(domain.labels())?;
            let proper = index.may_have(labels).then(|| name.within(skipped, domain))??;
            Some((at(proper, labels)?, Some(proper)))
        };
        if self.style == Style::Plain {
            return whole.or_else(|| search.domains().iter().find_map(proper));
        }
        // Istio appends its domain to every name, and what comes of it hides a name that is there
        // already, unless both are the same host's.
        let first = search.first();
        let expanded = first.and_then(proper).filter(|&(entry, proper)| {
            whole.is_none_or(|(hidden, _)| hidden != entry)
                && !first.zip(proper).is_some_and(|(domain, proper)| in_letters(proper, domain))
        });
        expanded.or(whole)
    }

    /// The name of the mesh in front of which `name` has `_port._proto.`.
    fn below(&self, name: &Name, search: &Search) -> Option<u32> {
        let underscore = |label| name.after(label).get(1) == Some(&b'_');
        if self.style != Style::Plain || name.labels() < 3 || !underscore(0) || !underscore(1) {
            return None;
        }
        let (entry, _) = self.hit(&self.names, name, 2, search)?;
        let realm = self.entries.get(entry as usize)?.realm;
        (realm == Realm::Mesh).then_some(entry)
    }

    /// Whether `name` lies within `suffix`, be it with a search domain behind it.
    fn is_within(name: &Name, suffix: &Name, search: &Search) -> bool {
        let behind = |domain: &Name| {
            let skipped = name.labels().checked_sub(suffix.labels() + domain.labels())?;
            name.within(skipped, domain)
        };
        name.ends_with(suffix)
            || search.domains().iter().any(|domain| behind(domain) == Some(suffix.octets()))
    }

    /// Labels of the longest name that can lie behind a wildcard, search domain included.
    fn reach(&self, search: &Search) -> usize {
        match self.wildcards.deepest() {
            0 => 0,
            deepest => deepest + search.longest(),
        }
    }

    fn host_of(&self, entry: &Entry) -> &[u8] {
        let begin = entry.host as usize;
        self.octets.get(begin..begin + usize::from(entry.host_length)).unwrap_or_default()
    }
}

impl Registry {
    /// As istiod calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kubernetes => "Kubernetes",
            Self::External => "External",
            Self::Other => "other",
        }
    }
}

impl Entry {
    fn v4(&self) -> Range<usize> {
        let begin = self.v4 as usize;
        begin..begin + usize::from(self.v4_count)
    }

    fn v6(&self) -> Range<usize> {
        let begin = self.v6 as usize;
        begin..begin + usize::from(self.v6_count)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("names", &self.names()).finish_non_exhaustive()
    }
}

/// Whether the name ends in the letters of `domain`, wherever a label begins.
fn in_letters(name: &[u8], domain: &Name) -> bool {
    domain.octets().get(1..).is_some_and(|letters| name.ends_with(letters))
}

#[cfg(test)]
mod tests;
