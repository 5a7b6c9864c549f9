//! The names of the mesh as people read them: a host a row, with the names it is known by besides.

use hawser_proto::names::Entry;

use crate::table::{Held, Scope, Table};

/// The hosts of which `filter` is a part of a name, is the end of a name if it begins with a dot,
/// or is an address. All of them, if there is none.
pub fn rows(table: &Table, filter: Option<&str>) -> impl Iterator<Item = Held> {
    let filter = filter.map(|filter| filter.trim_end_matches('.').to_ascii_lowercase());
    table.hosts().filter(move |held| filter.as_ref().is_none_or(|filter| matches(held, filter)))
}

fn matches(held: &Held, filter: &str) -> bool {
    let fits = |name: &String| {
        if filter.starts_with('.') { name.ends_with(filter) } else { name.contains(filter) }
    };
    let address = filter.parse();
    fits(&held.host)
        || held.aliases.iter().any(fits)
        || held.addresses.iter().any(|held| address == Ok(*held))
}

/// The names that Istio's agent makes of an entry, each with its dot at the end: the host itself,
/// and what a service is known by from the workload of `scope`.
pub fn alternates(entry: &Entry<'_>, scope: &Scope) -> Vec<String> {
    let Entry { host, registry, shortname, namespace, .. } = *entry;
    let dotted = |name: &str| format!("{name}.");
    if registry != "Kubernetes" {
        return vec![dotted(host.trim_end_matches('.'))];
    }
    if host.ends_with('.') {
        return Vec::new();
    }
    let mut found = vec![dotted(host)];
    let domain = match scope.domain.split_once('.') {
        Some((first, rest)) if first == scope.namespace => rest,
        _ => &scope.domain,
    };
    if domain.is_empty() || !host.ends_with(domain) {
        return found;
    }
    if !shortname.is_empty() && !namespace.is_empty() {
        let svc = domain.split('.').next().unwrap_or_default();
        found.push(format!("{shortname}.{namespace}."));
        found.push(format!("{shortname}.{namespace}.{svc}."));
    }
    if !shortname.is_empty() && namespace == scope.namespace {
        found.push(dotted(shortname));
    }
    for other in entry.alt_hosts() {
        let other = dotted(other.trim_end_matches('.'));
        if !found.contains(&other) {
            found.push(other);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use hawser_proto::{
        Names,
        istio::nds::{NameInfo, NameTable},
    };

    use super::*;
    use crate::{Search, name::Name};

    fn scope() -> Scope {
        let domain = "ns1.svc.cluster.local".to_owned();
        Scope { namespace: "ns1".to_owned(), domain, ..Scope::default() }
    }

    fn mesh() -> Names {
        let info = |registry: &str, short: &str, namespace: &str, ip: &str| NameInfo {
            ips: vec![ip.to_owned()],
            registry: registry.to_owned(),
            shortname: short.to_owned(),
            namespace: namespace.to_owned(),
            alt_hosts: Vec::new(),
        };
        let mut alt = info("Kubernetes", "alt", "ns1", "15.15.15.15");
        alt.alt_hosts = vec!["alt.ns1.svc.clusterset.local".to_owned()];
        let table = [
            ("www.google.com", info("External", "", "", "1.1.1.1")),
            ("example.localhost.", info("External", "", "", "3.3.3.3")),
            ("*.wildcard", info("External", "", "", "10.10.10.10")),
            ("page.ns1.svc.cluster.local", info("Kubernetes", "page", "ns1", "9.9.9.9")),
            ("other.ns2.svc.cluster.local", info("Kubernetes", "other", "ns2", "10.10.10.11")),
            ("details.ns2.svc.cluster.remote", info("Kubernetes", "details", "ns2", "11.1.1.1")),
            ("alt.ns1.svc.cluster.local", alt),
        ];
        let table = table.into_iter().map(|(host, info)| (host.to_owned(), info)).collect();
        Names::from(&NameTable { table })
    }

    #[test]
    fn a_host_is_known_by_the_names_that_istio_makes_of_it() {
        let names = mesh();
        let of = |host: &str| {
            let entry = names.iter().find(|entry| entry.host == host).unwrap();
            alternates(&entry, &scope()).join(" ")
        };
        assert_eq!(of("www.google.com"), "www.google.com.");
        assert_eq!(of("example.localhost."), "example.localhost.");
        assert_eq!(of("*.wildcard"), "*.wildcard.");
        assert_eq!(
            of("page.ns1.svc.cluster.local"),
            "page.ns1.svc.cluster.local. page.ns1. page.ns1.svc. page."
        );
        assert_eq!(
            of("other.ns2.svc.cluster.local"),
            "other.ns2.svc.cluster.local. other.ns2. other.ns2.svc."
        );
        assert_eq!(of("details.ns2.svc.cluster.remote"), "details.ns2.svc.cluster.remote.");
        assert_eq!(
            of("alt.ns1.svc.cluster.local"),
            "alt.ns1.svc.cluster.local. alt.ns1. alt.ns1.svc. alt. alt.ns1.svc.clusterset.local."
        );
    }

    #[test]
    fn every_name_that_istio_makes_is_answered() {
        let (names, scope) = (mesh(), scope());
        let (table, _) = Table::build(&names, &scope);
        for entry in names.iter() {
            for name in alternates(&entry, &scope) {
                let found = Name::parse(&name.replace('*', "any")).and_then(|name| {
                    table.find(&name, &Search::default()).map(|found| found.v4.len())
                });
                assert_eq!(found, Some(entry.ips().count()), "{name}");
            }
        }
    }

    #[test]
    fn a_filter_is_a_part_an_end_or_an_address() {
        let (table, _) = Table::build(&mesh(), &scope());
        let hosts = |filter: Option<&str>| {
            rows(&table, filter).map(|row| row.host).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(hosts(Some("GOOGLE")), "www.google.com");
        assert_eq!(hosts(Some(".cluster.remote")), "details.ns2.svc.cluster.remote");
        assert_eq!(hosts(Some("clusterset")), "alt.ns1.svc.cluster.local");
        assert_eq!(hosts(Some("9.9.9.9")), "page.ns1.svc.cluster.local");
        assert_eq!(hosts(Some("nothing")), "");
        assert_eq!(rows(&table, None).count(), 7);
    }
}
