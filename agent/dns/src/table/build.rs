//! How a table comes about.

use std::collections::HashSet;
use std::net::IpAddr;

use hawser_proto::{Names, names};

use super::index::{Index, Key};
use super::reverse::Reverse;
use super::{Entry, Realm, Registry, Scope, Skipped, Style, TTL, Table};
use crate::name::Name;

/// A table on its way.
pub(super) struct Builder<'a> {
    table: Table,
    skipped: Skipped,
    scope: &'a Scope,
    /// The domain of all services, without the namespace in front.
    domain: &'a str,
    /// The same, if it is one, and its first label.
    cluster: Option<(Name, &'a str)>,
    seen: HashSet<IpAddr>,
}

impl<'a> Builder<'a> {
    /// Names of a table, aliases included: ten times the largest mesh that was heard of.
    const MAX_NAMES: usize = 500_000;
    /// More do not fit into any answer.
    const MAX_ADDRESSES: usize = 4096;
    /// No entry.
    const NONE: u32 = u32::MAX;

    pub(super) fn new(scope: &'a Scope) -> Self {
        let domain = match scope.domain.split_once('.') {
            Some((first, rest)) if first == scope.namespace => rest,
            _ => &scope.domain,
        };
        let cluster =
            Name::parse(domain).map(|name| (name, domain.split('.').next().unwrap_or_default()));
        let exclude = scope.exclude.iter().filter_map(|suffix| {
            let suffix = suffix.strip_prefix('*').unwrap_or(suffix);
            Name::parse(suffix.strip_prefix('.').unwrap_or(suffix))
        });
        let table = Table {
            style: scope.style,
            octets: Vec::new(),
            names: Index::default(),
            wildcards: Index::default(),
            entries: Vec::new(),
            v4: Vec::new(),
            v6: Vec::new(),
            by_v4: Reverse::default(),
            by_v6: Reverse::default(),
            exclude: exclude.collect(),
        };
        let skipped = Skipped::default();
        Self { table, skipped, scope, domain, cluster, seen: HashSet::new() }
    }

    pub(super) fn build(mut self, names: &Names) -> (Table, Skipped) {
        self.table.make_room(names.len().min(Self::MAX_NAMES));
        // One for each host: the entry whose aliases there are to be.
        let services: Vec<u32> =
            names.iter().map(|host| self.host(&host).unwrap_or(Self::NONE)).collect();
        for own in [true, false] {
            for (host, &entry) in names.iter().zip(&services) {
                if entry != Self::NONE && (host.namespace == self.scope.namespace) == own {
                    self.aliases(&host, entry, own);
                }
            }
        }
        self.table.shrink();
        // Istio's agent knows no names of addresses.
        if self.scope.style == Style::Plain {
            self.table.index_addresses();
        }
        (self.table, self.skipped)
    }

    /// Adds a host; gives its entry if it is a service that has aliases.
    fn host(&mut self, info: &names::Entry<'_>) -> Option<u32> {
        let registry = match info.registry {
            "Kubernetes" => Registry::Kubernetes,
            "External" => Registry::External,
            _ => Registry::Other,
        };
        let service = registry == Registry::Kubernetes;
        let istio = self.scope.style == Style::Istio;
        if istio && service && info.host.ends_with('.') {
            return None;
        }
        let Some(name) = Name::parse(info.host) else {
            self.skip_name(info.host);
            return None;
        };
        if self.table.exclude.iter().any(|suffix| name.ends_with(suffix)) {
            return None;
        }
        let (v4, v6) = (self.table.v4.len(), self.table.v6.len());
        self.seen.clear();
        for address in info.ips() {
            self.address(address, v4, v6);
        }
        let (v4_count, v6_count) = (self.table.v4.len() - v4, self.table.v6.len() - v6);
        if istio && v4_count + v6_count == 0 {
            return None;
        }
        let (host, entry) = (self.table.octets.len(), self.table.entries.len());
        self.table.octets.extend_from_slice(name.octets());
        let entry = u32::try_from(entry).ok()?;
        if !self.insert(&name, host, entry) {
            self.table.octets.truncate(host);
            self.table.v4.truncate(v4);
            self.table.v6.truncate(v6);
            self.skip_name(info.host);
            return None;
        }
        let local = self.cluster.as_ref().is_some_and(|(cluster, _)| name.ends_with(cluster));
        self.table.entries.push(Entry {
            host: u32::try_from(host).ok()?,
            v4: u32::try_from(v4).ok()?,
            v6: u32::try_from(v6).ok()?,
            v4_count: u16::try_from(v4_count).ok()?,
            v6_count: u16::try_from(v6_count).ok()?,
            host_length: u8::try_from(name.octets().len()).ok()?,
            rank: match service {
                true if info.namespace == self.scope.namespace => 0,
                true => 1,
                false => 2,
            },
            registry,
            realm: if service || local { Realm::Mesh } else { Realm::World },
        });
        let has_aliases = match self.scope.style {
            Style::Plain => local,
            // In letters, wherever a label begins.
            Style::Istio => !self.domain.is_empty() && info.host.ends_with(self.domain),
        };
        (service && has_aliases).then_some(entry)
    }

    fn address(&mut self, text: &str, first_v4: usize, first_v6: usize) {
        let Self { table, seen, skipped, .. } = self;
        let taken = match text.parse() {
            // A record that is there twice is a fault to strict clients (RFC 2181 §5).
            Ok(address) if !seen.insert(address) => true,
            Ok(IpAddr::V4(v4)) if table.v4.len() - first_v4 < Self::MAX_ADDRESSES => {
                table.v4.push(record(1, &v4.octets()));
                true
            }
            Ok(IpAddr::V6(v6)) if table.v6.len() - first_v6 < Self::MAX_ADDRESSES => {
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

    /// The other names of a service; its bare name is for its `own` namespace alone.
    fn aliases(&mut self, info: &names::Entry<'_>, entry: u32, own: bool) {
        let names::Entry { shortname, namespace, .. } = info;
        if !shortname.is_empty() && !namespace.is_empty() {
            self.alias(&format!("{shortname}.{namespace}"), entry);
            if let Some((_, svc)) = &self.cluster {
                self.alias(&format!("{shortname}.{namespace}.{svc}"), entry);
            }
        }
        for host in info.alt_hosts() {
            self.alias(host, entry);
        }
        if own {
            self.alias(shortname, entry);
        }
    }

    fn alias(&mut self, alias: &str, entry: u32) {
        // Not being the first to claim a name is no fault; not being a name is one.
        match Name::parse(alias) {
            Some(name) if self.table.exclude.iter().any(|suffix| name.ends_with(suffix)) => {}
            Some(name) => self.insert_alias(&name, entry),
            None if alias.is_empty() => {}
            None => self.skip_name(alias),
        }
    }

    fn insert_alias(&mut self, name: &Name, entry: u32) {
        let Self { table, .. } = self;
        let of = table.entries.get(entry as usize).map(|of| (of.host as usize, table.host_of(of)));
        // Most aliases are the first labels of their host.
        if let Some((host, _)) = of.filter(|(_, host)| host.starts_with(name.octets())) {
            self.insert(name, host, entry);
            return;
        }
        let position = table.octets.len();
        table.octets.extend_from_slice(name.octets());
        if !self.insert(name, position, entry) {
            self.table.octets.truncate(position);
        }
    }

    /// Adds a name whose octets lie at `position`. Says whether it is new.
    fn insert(&mut self, name: &Name, position: usize, entry: u32) -> bool {
        let Table { octets, names, wildcards, .. } = &mut self.table;
        if names.len() + wildcards.len() >= Self::MAX_NAMES {
            return false;
        }
        if !name.is_wildcard() {
            let key = Key { octets: name.octets(), labels: name.labels() };
            return names.insert(octets, key, position, entry);
        }
        // "*" alone would take every name there is.
        let key = Key { octets: name.after(1), labels: name.labels() - 1 };
        key.labels > 0 && wildcards.insert(octets, key, position + 2, entry)
    }

    fn skip_name(&mut self, name: &str) {
        self.skipped.names += 1;
        self.skipped.first.get_or_insert_with(|| name.to_owned());
    }
}

impl Table {
    /// For so many hosts, with an address and two other names each: most need no more, and what
    /// grows in steps is copied at each.
    fn make_room(&mut self, hosts: usize) {
        self.entries.reserve_exact(hosts);
        self.v4.reserve_exact(hosts);
        self.octets.reserve_exact(hosts * 40);
        self.names.make_room(hosts * 3);
    }

    fn shrink(&mut self) {
        self.octets.shrink_to_fit();
        self.names.shrink(&self.octets);
        self.wildcards.shrink(&self.octets);
        self.entries.shrink_to_fit();
        self.v4.shrink_to_fit();
        self.v6.shrink_to_fit();
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
