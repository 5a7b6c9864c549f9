//! What a table knows besides names and their addresses: ports, names of addresses, what it is not
//! believed about, the rules of Istio's agent, and how it tells what it does.

use super::*;

fn istio(names: &Names) -> Table {
    Table::build(names, &Scope { style: Style::Istio, ..scope() }).0
}

fn reverse(table: &Table, address: &str) -> Option<String> {
    let host = table.reverse(address.parse().unwrap())?;
    Some(Name::read(&[host, &[0]].concat(), 0).unwrap().to_string())
}

#[test]
fn a_port_of_a_name_of_the_mesh_is_known_to_have_no_records() {
    let table = table(&names([
        ("web.ns1.svc.cluster.local", service("web", "ns1", "10.0.0.1")),
        ("www.example", external(&["10.0.0.2"])),
    ]));
    for name in [
        "_http._tcp.web",
        "_http._tcp.web.ns1.svc.cluster.local",
        "_a._b.web.ns1.ns1.svc.cluster.local",
    ] {
        let found = find(&table, name).unwrap();
        assert_eq!((found.via, found.realm), (Via::Below, Realm::Mesh), "{name}");
        assert!(found.v4.is_empty() && found.v6.is_empty(), "{name}");
    }
    for name in ["_http._tcp.www.example", "_http.web", "_http.tcp.web", "_a._b._c.web", "_a._b"] {
        assert_eq!(via(&table, name), None, "{name}");
    }
}

#[test]
fn an_address_has_the_name_of_the_nearest_host() {
    let table = table(&names([
        ("a.other.svc.cluster.local", service("a", "other", "10.0.0.1")),
        ("b.example", external(&["10.0.0.1", "240.240.0.2", "2001:2::1"])),
        ("a.example", external(&["10.0.0.2", "240.240.0.2", "2001:2::1", "2001:2:1::1"])),
        ("z.ns1.svc.cluster.local", service("z", "ns1", "10.0.0.1")),
        ("*.wild.example", external(&["240.240.0.3"])),
        ("c.ns1.svc.cluster.local", external(&["10.0.0.4"])),
        ("none.example", external(&[])),
    ]));
    assert_eq!(reverse(&table, "10.0.0.1").as_deref(), Some("z.ns1.svc.cluster.local."));
    assert_eq!(reverse(&table, "10.0.0.4").as_deref(), Some("c.ns1.svc.cluster.local."));
    assert_eq!(reverse(&table, "240.240.0.2").as_deref(), Some("a.example."));
    assert_eq!(reverse(&table, "2001:2::1").as_deref(), Some("a.example."));
    for outside in ["10.0.0.2", "2001:2:1::1"] {
        assert_eq!(reverse(&table, outside), None, "it has its name there");
    }
    assert_eq!(reverse(&table, "240.240.0.3"), None, "no wildcard in answers");
    assert_eq!(reverse(&table, "::ffff:10.0.0.1"), None);
    assert_eq!(reverse(&super::table(&Names::default()), "10.0.0.1"), None);
}

#[test]
fn the_mesh_is_not_believed_about_what_is_excluded() {
    let names = names([
        ("www.corp.example", external(&["10.0.0.1"])),
        ("*.example", external(&["10.0.0.2"])),
        ("web.ns1.svc.cluster.local", service("web", "ns1", "10.0.0.3")),
    ]);
    for exclude in ["corp.example", "*.corp.example", ".Corp.Example."] {
        let scope = Scope { exclude: vec![exclude.to_owned()], ..scope() };
        let (table, skipped) = Table::build(&names, &scope);
        for name in ["www.corp.example", "corp.example", "x.corp.example.ns1.svc.cluster.local"] {
            assert_eq!(v4(&table, name), None, "{exclude}: {name}");
        }
        assert_eq!(v4(&table, "xcorp.example"), Some(vec![2]));
        assert_eq!(v4(&table, "web"), Some(vec![3]));
        assert_eq!((reverse(&table, "10.0.0.1"), skipped), (None, Skipped::default()));
    }
}

#[test]
fn in_istios_style_names_are_those_of_its_agent() {
    let table = istio(&names([
        ("web.ns1.svc.cluster.local", service("web", "ns1", "10.0.0.1")),
        ("dot.ns1.svc.cluster.local.", service("dot", "ns1", "10.0.0.2")),
        ("none.ns1.svc.cluster.local", service("none", "ns1", "no address")),
        ("letters.ns1.xsvc.cluster.local", service("letters", "ns1", "10.0.0.3")),
        ("www.example", external(&["10.0.0.4"])),
        ("web.ns1.ns1.svc.cluster.local", external(&["10.0.0.5"])),
        ("*.wild", external(&["10.0.0.6"])),
    ]));
    for (name, octet) in [
        ("web", Some(1)),
        ("dot.ns1.svc.cluster.local", None),
        ("none", None),
        ("letters", Some(3)),
        ("www.example.ns1.svc.cluster.local", Some(4)),
        // only the first search domain
        ("www.example.svc.cluster.local", None),
        ("x.y.wild", Some(6)),
        ("_a._b.web", None),
    ] {
        assert_eq!(v4(&table, name), octet.map(|octet| vec![octet]), "{name}");
    }
    let hidden = find(&table, "web.ns1.ns1.svc.cluster.local").unwrap();
    assert_eq!((hidden.via, hidden.v4[0][15]), (Via::Search { octets: 8 }, 1));
    let searched = via(&table, "x.wild.ns1.svc.cluster.local");
    assert_eq!(searched, Some(Via::WildcardSearch { start: 2, end: 7 }));
    assert_eq!(reverse(&table, "10.0.0.1"), None);
}

#[test]
fn a_first_search_domain_that_is_none_is_not_replaced_by_the_next_in_istios_style() {
    let table = istio(&names([("www.example", external(&["10.0.0.4"]))]));
    let name = Name::parse("www.example.corp").unwrap();
    assert!(table.find(&name, &search(&["corp"])).is_some());
    assert!(table.find(&name, &search(&["not one", "corp"])).is_none());
}

#[test]
fn what_is_found_is_told_in_words() {
    let entries = [
        ("web.ns1.svc.cluster.local", service("web", "ns1", "10.0.0.1")),
        ("*.wild", external(&["10.0.0.2", "2001:db8::1"])),
    ];
    let table = table(&names(entries));
    let trace = |name: &str| {
        let search = search(&["ns1.svc.cluster.local", "svc.cluster.local"]);
        table.trace(&Name::parse(name).unwrap(), &search)
    };

    let alias = trace("web.ns1.ns1.svc.cluster.local");
    assert_eq!(alias.via, Some(Via::Search { octets: 8 }));
    assert_eq!(alias.matched.as_deref(), Some("web.ns1"));
    assert_eq!(alias.search_domain.as_deref(), Some("ns1.svc.cluster.local"));
    let host = alias.host.unwrap();
    assert_eq!((&*host.host, host.registry), ("web.ns1.svc.cluster.local", Registry::Kubernetes));
    assert_eq!(host.aliases, ["web", "web.ns1", "web.ns1.svc"]);
    assert_eq!(host.addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    let wild = trace("a.b.wild");
    assert_eq!((wild.matched.as_deref(), wild.host.unwrap().addresses.len()), (Some("*.wild"), 2));
    assert_eq!(wild.tried, ["a.b.wild", "*.b.wild", "*.wild"]);
    let port = trace("_a._b.web.ns1.ns1.svc.cluster.local");
    assert_eq!((port.via, port.matched.as_deref()), (Some(Via::Below), Some("web.ns1")));
    assert_eq!(port.search_domain.as_deref(), Some("ns1.svc.cluster.local"));
    let unknown = trace("www.elsewhere");
    assert_eq!((unknown.via, unknown.host), (None, None));
    assert_eq!(unknown.tried, ["www.elsewhere", "*.elsewhere"]);

    let hosts: Vec<_> = table.hosts().map(|held| (held.host, held.aliases.len())).collect();
    assert_eq!(hosts, [("*.wild".to_owned(), 0), ("web.ns1.svc.cluster.local".to_owned(), 3)]);
}
