//! The lookup table: what istiod said, arranged for answering.
//!
//! Built whole from a name table, never changed, swapped by one pointer. Names lie in one piece of
//! memory and records are ready to be copied, so a lookup follows a few numbers, allocates nothing
//! and takes no lock. What is true of every table:
//!
//! - The same input gives the same winner for every name: hosts go before aliases, aliases of the
//!   own namespace before those of others, then the order of the host names decides.
//! - Search domains are taken off the question, not added to the entries: its size does not depend
//!   on how many there are.
//! - A bad entry is counted and left out; it costs nobody else an answer.
//! - A name whose entry has no usable address is still known: no other resolver is asked for it.

mod index;

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use hawser_proto::istio::nds::{NameInfo, NameTable};

use crate::name::Name;
use index::{Index, position};

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
    /// Domains that resolvers of this machine append to names, as in resolv.conf.
    pub search: Vec<String>,
}

/// Every name that the mesh answers for.
pub struct Table {
    names: Index,
    /// Keyed by what follows `*.`.
    wildcards: Index,
    /// Labels of the longest name that can lie behind a wildcard, search domain included.
    reach: usize,
    entries: Vec<Entry>,
    v4: Vec<[u8; Self::V4]>,
    v6: Vec<[u8; Self::V6]>,
    search: Vec<Name>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// As it was asked, be it as a host or as an alias.
    Name,
    /// With a search domain taken off: the name proper is the first `octets` of the question.
    Search {
        /// Length of the name proper, without the root's octet.
        octets: usize,
    },
    /// Behind a wildcard, with or without a search domain.
    Wildcard,
}

/// Where a name lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// In the mesh alone: nobody else can say anything about it.
    Mesh,
    /// Outside too: the mesh gives its addresses, the world the rest (mail servers, texts, …).
    World,
}

struct Entry {
    v4: (u32, u32),
    v6: (u32, u32),
    realm: Realm,
}

impl Table {
    /// Octets of a prepared A record.
    pub const V4: usize = 16;
    /// Octets of a prepared AAAA record.
    pub const V6: usize = 28;

    /// Names of a table, aliases included: some 30 MB, ten times the largest mesh that was heard of.
    const MAX_NAMES: usize = 500_000;
    /// More do not fit into any answer.
    const MAX_ADDRESSES: usize = 4096;
    /// Each costs a lookup per question that is not known at once.
    const MAX_SEARCH: usize = 16;

    /// Arranges `names` for the workload described by `scope`.
    pub fn build(names: &NameTable, scope: &Scope) -> (Self, Skipped) {
        let mut builder = Builder::new(scope);
        let mut hosts: Vec<_> = names.table.iter().collect();
        hosts.sort_unstable_by_key(|&(host, _)| host);

        let mut services = Vec::new();
        for (host, info) in hosts {
            if let Some(entry) = builder.host(host, info) {
                services.push((info, entry));
            }
        }
        let (own, others): (Vec<_>, Vec<_>) =
            services.into_iter().partition(|(info, _)| info.namespace == scope.namespace);
        for (info, entry) in own {
            builder.aliases(info, entry);
            builder.alias(&info.shortname, entry);
        }
        for (info, entry) in others {
            builder.aliases(info, entry);
        }
        builder.finish()
    }

    /// What the mesh knows of `name`.
    pub fn find(&self, name: &Name) -> Option<Found<'_>> {
        if let Some(entry) = self.names.at(name.octets()) {
            return self.found(entry, Via::Name);
        }
        for domain in &self.search {
            let Some(proper) = name.within(0, domain) else { continue };
            if let Some(entry) = self.names.at(proper) {
                return self.found(entry, Via::Search { octets: proper.len() });
            }
        }
        // The closest wildcard wins. Suffixes that are longer than any wildcard are not looked at.
        let first = name.labels().saturating_sub(self.reach).max(1);
        (first..name.labels())
            .find_map(|labels| self.wildcard(name, labels))
            .and_then(|entry| self.found(entry, Via::Wildcard))
    }

    /// Number of names, aliases and wildcards included.
    pub fn names(&self) -> usize {
        self.names.len() + self.wildcards.len()
    }

    fn wildcard(&self, name: &Name, labels: usize) -> Option<u32> {
        self.wildcards.at(name.after(labels)).or_else(|| {
            let proper = |domain| self.wildcards.at(name.within(labels, domain)?);
            self.search.iter().find_map(proper)
        })
    }

    fn found(&self, entry: u32, via: Via) -> Option<Found<'_>> {
        let entry = self.entries.get(entry as usize)?;
        Some(Found {
            v4: self.v4.get(entry.v4.0 as usize..entry.v4.1 as usize)?,
            v6: self.v6.get(entry.v6.0 as usize..entry.v6.1 as usize)?,
            via,
            realm: entry.realm,
        })
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("names", &self.names()).finish_non_exhaustive()
    }
}

/// A table on its way.
struct Builder {
    table: Table,
    skipped: Skipped,
    /// The domain of all services, and its first label.
    cluster: Option<(Name, String)>,
    deepest: usize,
    seen: HashSet<IpAddr>,
}

impl Builder {
    fn new(scope: &Scope) -> Self {
        let domain = match scope.domain.split_once('.') {
            Some((first, rest)) if first == scope.namespace => rest,
            _ => &scope.domain,
        };
        let cluster = Name::parse(domain)
            .map(|name| (name, domain.split('.').next().unwrap_or_default().to_owned()));
        let mut search: Vec<Name> = Vec::new();
        for domain in scope.search.iter().filter_map(|domain| Name::parse(domain)) {
            let known = search.iter().any(|other| other.octets() == domain.octets());
            if !known && search.len() < Table::MAX_SEARCH {
                search.push(domain);
            }
        }
        let table = Table {
            names: Index::default(),
            wildcards: Index::default(),
            reach: 0,
            entries: Vec::new(),
            v4: Vec::new(),
            v6: Vec::new(),
            search,
        };
        Self { table, skipped: Skipped::default(), cluster, deepest: 0, seen: HashSet::new() }
    }

    /// Adds a host; gives its entry if it is a service that has aliases.
    fn host(&mut self, host: &str, info: &NameInfo) -> Option<u32> {
        let entry = u32::try_from(self.table.entries.len()).ok()?;
        let Some(name) = self.insert(host, entry) else {
            self.skip_name(host);
            return None;
        };
        let v4 = self.table.v4.len();
        let v6 = self.table.v6.len();
        self.seen.clear();
        for address in &info.ips {
            self.address(address, v4, v6);
        }
        let service = info.registry == "Kubernetes";
        let local = self.cluster.as_ref().is_some_and(|(cluster, _)| name.ends_with(cluster));
        self.table.entries.push(Entry {
            v4: (position(v4), position(self.table.v4.len())),
            v6: (position(v6), position(self.table.v6.len())),
            realm: if service || local { Realm::Mesh } else { Realm::World },
        });
        (service && local).then_some(entry)
    }

    fn address(&mut self, text: &str, first_v4: usize, first_v6: usize) {
        let Self { table, seen, skipped, .. } = self;
        let taken = match text.parse() {
            // A record that is there twice is a fault to strict clients (RFC 2181 §5).
            Ok(address) if !seen.insert(address) => true,
            Ok(IpAddr::V4(v4)) if table.v4.len() - first_v4 < Table::MAX_ADDRESSES => {
                table.v4.push(record(1, &v4.octets()));
                true
            }
            Ok(IpAddr::V6(v6)) if table.v6.len() - first_v6 < Table::MAX_ADDRESSES => {
                table.v6.push(record(28, &v6.octets()));
                true
            }
            _ => false,
        };
        if !taken {
            skipped.addresses += 1;
            skipped.first.get_or_insert_with(|| text.to_owned());
        }
    }

    /// The names of a service that every namespace may use.
    fn aliases(&mut self, info: &NameInfo, entry: u32) {
        let NameInfo { shortname, namespace, .. } = info;
        if !shortname.is_empty() && !namespace.is_empty() {
            self.alias(&format!("{shortname}.{namespace}"), entry);
            if let Some((_, svc)) = &self.cluster {
                self.alias(&format!("{shortname}.{namespace}.{svc}"), entry);
            }
        }
        for host in &info.alt_hosts {
            self.alias(host, entry);
        }
    }

    fn alias(&mut self, alias: &str, entry: u32) {
        // Not being the first to claim a name is no fault; not being a name is one.
        let unusable = !alias.is_empty() && Name::parse(alias).is_none();
        if unusable {
            self.skip_name(alias);
        } else {
            self.insert(alias, entry);
        }
    }

    fn insert(&mut self, text: &str, entry: u32) -> Option<Name> {
        let name = Name::parse(text)?;
        if self.table.names() >= Table::MAX_NAMES {
            return None;
        }
        let new = if name.is_wildcard() {
            self.deepest = self.deepest.max(name.labels() - 1);
            // "*" alone would take every name there is.
            name.labels() > 1 && self.table.wildcards.insert(name.after(1), entry)
        } else {
            self.table.names.insert(name.octets(), entry)
        };
        new.then_some(name)
    }

    fn skip_name(&mut self, name: &str) {
        self.skipped.names += 1;
        self.skipped.first.get_or_insert_with(|| name.to_owned());
    }

    fn finish(self) -> (Table, Skipped) {
        let Self { mut table, skipped, deepest, .. } = self;
        if deepest > 0 {
            table.reach = deepest + table.search.iter().map(Name::labels).max().unwrap_or(0);
        }
        table.names.shrink();
        table.wildcards.shrink();
        table.entries.shrink_to_fit();
        table.v4.shrink_to_fit();
        table.v6.shrink_to_fit();
        (table, skipped)
    }
}

/// A record whose owner is the name of the question, which always begins at octet 12.
fn record<const N: usize>(kind: u8, data: &[u8]) -> [u8; N] {
    let [t0, t1, t2, t3] = TTL.to_be_bytes();
    let len = u8::try_from(data.len()).unwrap_or(0);
    let head = [0xc0, 12, 0, kind, 0, 1, t0, t1, t2, t3, 0, len];
    let mut record = [0; N];
    for (octet, value) in record.iter_mut().zip(head.iter().chain(data)) {
        *octet = *value;
    }
    record
}

#[cfg(test)]
mod tests;
