//! Tests of the table: which names exist, and whose they are.

mod around;

use hawser_proto::istio::nds::{NameInfo, NameTable};

use super::*;

fn info(registry: &str, shortname: &str, namespace: &str, ips: &[&str]) -> NameInfo {
    NameInfo {
        ips: ips.iter().map(|&ip| ip.to_owned()).collect(),
        registry: registry.to_owned(),
        shortname: shortname.to_owned(),
        namespace: namespace.to_owned(),
        alt_hosts: Vec::new(),
    }
}

fn service(shortname: &str, namespace: &str, ip: &str) -> NameInfo {
    info("Kubernetes", shortname, namespace, &[ip])
}

fn external(ips: &[&str]) -> NameInfo {
    info("External", "", "", ips)
}

fn names<const N: usize>(entries: [(&str, NameInfo); N]) -> Names {
    let own = |(host, info): (&str, NameInfo)| (host.to_owned(), info);
    Names::from(&NameTable { table: entries.into_iter().map(own).collect() })
}

fn scope() -> Scope {
    Scope {
        namespace: "ns1".to_owned(),
        domain: "ns1.svc.cluster.local".to_owned(),
        ..Scope::default()
    }
}

fn search(domains: &[&str]) -> Search {
    Search::new(&domains.iter().map(|&domain| domain.to_owned()).collect::<Vec<_>>())
}

fn table(names: &Names) -> Table {
    Table::build(names, &scope()).0
}

fn find<'a>(table: &'a Table, name: &str) -> Option<Found<'a>> {
    let search = search(&["ns1.svc.cluster.local", "svc.cluster.local"]);
    table.find(&Name::parse(name).unwrap(), &search)
}

/// The last octets of the IPv4 addresses of a name; `None` if it is not known.
fn v4(table: &Table, name: &str) -> Option<Vec<u8>> {
    let found = find(table, name)?;
    Some(found.v4.iter().map(|record| record[15]).collect())
}

fn via(table: &Table, name: &str) -> Option<Via> {
    Some(find(table, name)?.via)
}

#[test]
fn a_record_is_ready_to_be_copied() {
    let table = table(&names([("a.b", external(&["1.2.3.4", "2001:db8::1"]))]));

    let found = find(&table, "A.b").unwrap();

    assert_eq!(found.v4, [*b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x01\x02\x03\x04"]);
    assert_eq!(found.v6[0][..12], *b"\xc0\x0c\0\x1c\0\x01\0\0\0\x1e\0\x10");
    assert_eq!(found.v6[0][12..], "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
}

#[test]
fn a_service_is_known_by_its_short_names() {
    let table = table(&names([
        ("web.ns1.svc.cluster.local", service("web", "ns1", "10.0.0.1")),
        ("db.ns2.svc.cluster.local", service("db", "ns2", "10.0.0.2")),
    ]));
    for name in ["web", "web.ns1", "web.ns1.svc", "web.ns1.svc.cluster.local"] {
        assert_eq!(v4(&table, name), Some(vec![1]), "{name}");
    }
    for name in ["db.ns2", "db.ns2.svc", "db.ns2.svc.cluster.local"] {
        assert_eq!(v4(&table, name), Some(vec![2]), "{name}");
    }
    for name in ["db", "db.ns1", "web.ns2", "web.ns1.svc.cluster"] {
        assert_eq!(v4(&table, name), None, "{name}");
    }
}

#[test]
fn a_service_of_another_domain_has_no_short_names() {
    let entries = [
        ("a.ns1.svc.cluster.remote", service("a", "ns1", "10.0.0.1")),
        // ends in the same letters, not in the same labels
        ("b.ns1.xsvc.cluster.local", service("b", "ns1", "10.0.0.2")),
        ("c.ns1.svc.clusterset.local", service("", "", "10.0.0.3")),
    ];
    let table = table(&names(entries));
    assert_eq!(table.names(), 3);
}

#[test]
fn without_a_domain_there_are_no_short_names() {
    let names = names([("web.ns1.svc.cluster.local", service("web", "ns1", "10.0.0.1"))]);
    let scope = Scope { namespace: "ns1".to_owned(), ..Scope::default() };
    assert_eq!(Table::build(&names, &scope).0.names(), 1);
}

#[test]
fn the_namespace_in_front_of_the_domain_is_optional() {
    let names = names([("web.ns1.svc.cluster.local", service("web", "ns1", "10.0.0.1"))]);
    for domain in ["ns1.svc.cluster.local", "svc.cluster.local", "svc.cluster.local."] {
        let scope = Scope { domain: domain.to_owned(), ..scope() };
        let (table, _) = Table::build(&names, &scope);
        assert_eq!(v4(&table, "web.ns1.svc"), Some(vec![1]), "{domain}");
    }
}

#[test]
fn other_hosts_of_a_service_are_its_names_too() {
    let mut web = service("web", "ns1", "10.0.0.1");
    web.alt_hosts = vec!["web.ns1.svc.clusterset.local".to_owned(), "bad name".to_owned()];
    let names = names([("web.ns1.svc.cluster.local", web)]);

    let (table, skipped) = Table::build(&names, &scope());

    assert_eq!(v4(&table, "web.ns1.svc.clusterset.local"), Some(vec![1]));
    assert_eq!((skipped.names, skipped.first.as_deref()), (1, Some("bad name")));
}

#[test]
fn every_search_domain_is_taken_off() {
    let names = names([("www.shop.example", external(&["1.1.1.1"]))]);
    let given = ["ns1.svc.cluster.local", "corp.example.", "not a domain", "", "."];

    let (table, _) = Table::build(&names, &scope());

    let octets = "www.shop.example".len() + 1;
    let search = search(&given);
    let via = |table: &Table, name: &str| {
        table.find(&Name::parse(name).unwrap(), &search).map(|found| found.via)
    };
    for name in ["www.shop.example.ns1.svc.cluster.local", "www.shop.example.corp.example"] {
        assert_eq!(via(&table, name), Some(Via::Search { octets }), "{name}");
    }
    for name in ["www.shop.example.svc.cluster.local", "www.shop.example.corp.example.corp.example"]
    {
        assert_eq!(via(&table, name), None, "{name}");
    }
}

#[test]
fn a_name_in_the_search_domain_is_not_expanded_once_more() {
    let table = table(&names([("web.ns1.svc.cluster.local", service("web", "ns1", "10.0.0.1"))]));
    assert_eq!(via(&table, "web.ns1.ns1.svc.cluster.local"), Some(Via::Search { octets: 8 }));
    assert_eq!(via(&table, "web.ns1.svc.cluster.local.ns1.svc.cluster.local"), None);
    assert_eq!(via(&table, "web.ns1.svc.cluster.local"), Some(Via::Name));
}

#[test]
fn the_closest_wildcard_wins_at_any_depth() {
    let table = table(&names([
        ("*.b.wild", external(&["10.0.0.1"])),
        ("*.wild", external(&["10.0.0.2"])),
        ("exact.b.wild", external(&["10.0.0.3"])),
    ]));
    let cases = [
        ("x.b.wild", Some(1)),
        ("x.y.z.b.wild", Some(1)),
        ("b.wild", Some(2)),
        ("x.c.wild", Some(2)),
        ("exact.b.wild", Some(3)),
        ("x.exact.b.wild", Some(1)),
        ("*.wild", Some(2)),
        ("wild", None),
        ("xwild", None),
    ];
    for (name, octet) in cases {
        assert_eq!(v4(&table, name), octet.map(|octet| vec![octet]), "{name}");
    }
    assert_eq!(
        via(&table, "x.wild.ns1.svc.cluster.local"),
        Some(Via::WildcardSearch { start: 2, end: 7 })
    );
    assert_eq!(
        via(&table, "x.b.wild.svc.cluster.local"),
        Some(Via::WildcardSearch { start: 2, end: 9 })
    );
    assert_eq!(via(&table, "wild.ns1.svc.cluster.local"), None);
}

#[test]
fn hosts_go_before_aliases_and_own_aliases_before_others() {
    let table = table(&names([
        // its alias "pod.sub" is the alias "pod.sub" of the next one too
        ("pod.sub.ns1.svc.cluster.local", service("pod.sub", "ns1", "10.0.0.1")),
        ("pod.sub.svc.cluster.local", service("pod", "sub", "10.0.0.2")),
        // its alias is the host of the next one
        ("a.ns1.svc.cluster.local", service("a", "ns1", "10.0.0.3")),
        ("a.ns1", external(&["10.0.0.4"])),
        // two of another namespace: the first in order
        ("x.zz.svc.cluster.local", service("same", "other", "10.0.0.6")),
        ("x.aa.svc.cluster.local", service("same", "other", "10.0.0.5")),
    ]));
    assert_eq!(v4(&table, "pod.sub"), Some(vec![1]));
    assert_eq!(v4(&table, "a.ns1"), Some(vec![4]));
    assert_eq!(v4(&table, "a"), Some(vec![3]));
    assert_eq!(v4(&table, "same.other"), Some(vec![5]));
}

#[test]
fn a_host_that_is_there_twice_is_taken_once() {
    let names = names([("A.b", external(&["10.0.0.1"])), ("a.b.", external(&["10.0.0.2"]))]);
    let (table, skipped) = Table::build(&names, &scope());
    assert_eq!(v4(&table, "a.b"), Some(vec![1]));
    assert_eq!((skipped.names, skipped.first.as_deref()), (1, Some("a.b.")));
}

#[test]
fn bad_entries_cost_nobody_else() {
    let names = names([
        ("good.example", external(&["10.0.0.1", "10.0.0.0/8", "", "fe80::1%eth0", "10.0.0.1"])),
        ("", external(&["10.0.0.2"])),
        ("*", external(&["10.0.0.3"])),
        ("a.*.example", external(&["10.0.0.4"])),
        ("with space.example", external(&["10.0.0.5"])),
    ]);

    let (table, skipped) = Table::build(&names, &scope());

    assert_eq!(table.names(), 1);
    assert_eq!(v4(&table, "good.example"), Some(vec![1]));
    assert_eq!((skipped.names, skipped.addresses), (4, 3));
}

#[test]
fn a_name_without_an_address_is_known() {
    let table = table(&names([("none.example", external(&[])), ("bad.example", external(&["x"]))]));
    assert_eq!(v4(&table, "none.example"), Some(vec![]));
    assert_eq!(v4(&table, "bad.example"), Some(vec![]));
}

#[test]
fn services_and_names_of_the_cluster_are_of_the_mesh_alone() {
    let table = table(&names([
        ("a.ns1.svc.cluster.local", service("a", "ns1", "10.0.0.1")),
        ("b.ns1.svc.cluster.remote", service("b", "ns1", "10.0.0.1")),
        ("c.ns1.svc.cluster.local", external(&["10.0.0.1"])),
        ("www.example", external(&["10.0.0.1"])),
    ]));
    let realm = |name| find(&table, name).unwrap().realm;
    assert_eq!(realm("a"), Realm::Mesh);
    assert_eq!(realm("b.ns1.svc.cluster.remote"), Realm::Mesh);
    assert_eq!(realm("c.ns1.svc.cluster.local"), Realm::Mesh);
    assert_eq!(realm("www.example"), Realm::World);
}

#[test]
fn many_names_are_all_found_again() {
    let octet = |n: u32| u8::try_from(n % 256).unwrap();
    let entry = |n| (format!("host-{n}.example"), external(&[&format!("10.0.0.{}", octet(n))]));
    let names = Names::from(&NameTable { table: (0..5000).map(entry).collect() });

    let (table, skipped) = Table::build(&names, &scope());

    assert_eq!((table.names(), skipped), (5000, Skipped::default()));
    for n in 0..5000 {
        assert_eq!(v4(&table, &format!("host-{n}.example")), Some(vec![octet(n)]));
    }
    assert_eq!(v4(&table, "host-5000.example"), None);
}

#[test]
fn an_empty_table_knows_nothing() {
    assert_eq!(v4(&Table::build(&Names::default(), &scope()).0, "a.b"), None);
}
