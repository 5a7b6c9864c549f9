//! Which rule is told for which name.

use hawser_proto::{
    Names,
    istio::nds::{NameInfo, NameTable},
};

use super::*;
use crate::table::Scope;

struct Mesh {
    search: Search,
    table: Table,
}

impl Mesh {
    fn new() -> Self {
        let info = |registry: &str, short: &str, namespace: &str, ips: &[&str]| NameInfo {
            ips: ips.iter().map(|&ip| ip.to_owned()).collect(),
            registry: registry.to_owned(),
            shortname: short.to_owned(),
            namespace: namespace.to_owned(),
            alt_hosts: Vec::new(),
        };
        let table = [
            ("www.google.com", info("External", "", "", &["1.1.1.1", "2001:db8::1"])),
            ("*.wildcard", info("External", "", "", &["10.10.10.10"])),
            ("*.b.wildcard", info("External", "", "", &["11.11.11.11"])),
            ("page.ns1.svc.cluster.local", info("Kubernetes", "page", "ns1", &["9.9.9.9"])),
            ("page.ns2.svc.cluster.local", info("Kubernetes", "page", "ns2", &["9.9.9.2"])),
            ("www.corp.example", info("External", "", "", &["7.7.7.7"])),
        ];
        let table = table.into_iter().map(|(host, info)| (host.to_owned(), info)).collect();
        let names = Names::from(&NameTable { table });
        let scope = Scope {
            namespace: "ns1".to_owned(),
            domain: "ns1.svc.cluster.local".to_owned(),
            exclude: vec!["corp.example".to_owned()],
            ..Scope::default()
        };
        let search = Search::new(&["lab.example".to_owned()]);
        let (table, _) = Table::build(&names, &scope);
        Self { search, table }
    }

    fn explain(&self, name: &str, kind: u16) -> Explanation {
        explain(&Inquiry {
            name,
            kind,
            table: Some(&self.table),
            style: Style::Plain,
            search: &self.search,
        })
        .unwrap()
    }
}

#[test]
fn the_rule_and_the_entry_are_told_for_every_name_of_the_mesh() {
    let mesh = Mesh::new();
    let page = "page.ns1.svc.cluster.local";
    let table = [
        (page, Rule::Host, page, page, "9.9.9.9"),
        ("PAGE.ns1.svc.cluster.local.", Rule::Host, page, page, "9.9.9.9"),
        ("page", Rule::Alias, "page", page, "9.9.9.9"),
        ("page.ns1.svc", Rule::Alias, "page.ns1.svc", page, "9.9.9.9"),
        ("page.ns2", Rule::Alias, "page.ns2", "page.ns2.svc.cluster.local", "9.9.9.2"),
        ("www.google.com", Rule::Host, "www.google.com", "www.google.com", "1.1.1.1"),
        ("any.where.wildcard", Rule::Wildcard, "*.wildcard", "*.wildcard", "10.10.10.10"),
        ("a.b.wildcard", Rule::Wildcard, "*.b.wildcard", "*.b.wildcard", "11.11.11.11"),
        ("page.lab.example", Rule::Alias, "page", page, "9.9.9.9"),
        ("x.wildcard.lab.example", Rule::Wildcard, "*.wildcard", "*.wildcard", "10.10.10.10"),
    ];
    for (name, rule, matched, host, address) in table {
        let told = mesh.explain(name, kind::A);
        assert_eq!((told.rule, told.matched.as_deref()), (rule, Some(matched)), "{name}");
        assert_eq!(told.entry.map(|entry| entry.host).as_deref(), Some(host), "{name}");
        assert_eq!(told.addresses, [address.parse::<IpAddr>().unwrap()], "{name}");
        assert_eq!((told.does, told.code.as_deref()), (Does::Answers, Some("NOERROR")), "{name}");
        let search = name.ends_with("lab.example").then_some("lab.example");
        assert_eq!(told.search_domain.as_deref(), search, "{name}");
    }
}

#[test]
fn an_entry_without_such_an_address_is_answered_and_empty() {
    let told = Mesh::new().explain("page", kind::AAAA);
    assert_eq!((told.does, told.code.as_deref()), (Does::Answers, Some("NOERROR")));
    assert_eq!(told.addresses, [] as [IpAddr; 0]);
    assert_eq!(told.entry.unwrap().addresses, ["9.9.9.9".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_port_and_an_address_lead_to_their_host() {
    let mesh = Mesh::new();
    for name in ["_http._tcp.page", "_http._tcp.page.ns1.svc.cluster.local"] {
        let told = mesh.explain(name, 33);
        assert_eq!((told.rule, told.does), (Rule::Port, Does::Answers), "{name}");
        assert_eq!(told.entry.unwrap().host, "page.ns1.svc.cluster.local", "{name}");
    }
    let told = mesh.explain("9.9.9.9.in-addr.arpa", kind::PTR);
    assert_eq!((told.rule, told.does), (Rule::Reverse, Does::Answers));
    assert_eq!(told.matched.as_deref(), Some("page.ns1.svc.cluster.local"));
}

#[test]
fn what_is_not_of_the_mesh_is_relayed_with_what_was_looked_for() {
    let told = Mesh::new().explain("other.lab.example", kind::A);
    assert_eq!((told.rule, told.does, told.code), (Rule::Unknown, Does::Relays, None));
    assert_eq!(told.tried, ["other.lab.example", "other", "*.lab.example", "*.example"]);
}

#[test]
fn what_is_kept_out_of_the_mesh_is_said_to_be() {
    let told = Mesh::new().explain("www.corp.example", kind::A);
    assert_eq!((told.rule, told.does), (Rule::Excluded, Does::Relays));
    assert_eq!(told.matched.as_deref(), Some("corp.example"));
}

#[test]
fn without_a_table_everything_is_relayed() {
    let search = Search::default();
    let asked = |name| {
        let inquiry =
            Inquiry { name, kind: kind::A, table: None, style: Style::Plain, search: &search };
        explain(&inquiry)
    };
    let told = asked("page").unwrap();
    assert_eq!((told.rule, told.does), (Rule::NoTable, Does::Relays));
    assert_eq!(asked("no name at all"), None);
}
