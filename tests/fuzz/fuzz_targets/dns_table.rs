//! A name table with any content: read as a full decoder reads it, and each of its hosts is found,
//! whatever order they come in.

#![no_main]

use std::net::IpAddr;

use hawser_dns::{Scope, Search, Style, Table, name::Name};
use hawser_proto::{Names, istio::nds::NameTable};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(full) = NameTable::decode(bytes) {
        // Of the entries of a map a full decoder takes more than there can be: what it has taken
        // is written as everybody writes it, in an order of its own.
        let names = Names::new(full.encode_to_vec().into()).expect("a table");
        is_read_as(&names, &full);
    }
    let Ok(names) = Names::new(bytes.to_vec().into()) else { return };
    let search = Search::new(&["n.svc.cluster.local".into(), "svc.cluster.local".into()]);
    for style in [Style::Plain, Style::Istio] {
        each_is_found(&names, &search, style);
    }
});

fn is_read_as(names: &Names, full: &NameTable) {
    assert_eq!(names.len(), full.table.len());
    for entry in names.iter() {
        let info = full.table.get(entry.host).expect("a host of the table");
        assert!(entry.ips().eq(info.ips.iter().map(String::as_str)), "{}", entry.host);
        assert!(entry.alt_hosts().eq(info.alt_hosts.iter().map(String::as_str)));
        assert_eq!(
            (entry.registry, entry.shortname, entry.namespace),
            (&*info.registry, &*info.shortname, &*info.namespace)
        );
    }
}

fn each_is_found(names: &Names, search: &Search, style: Style) {
    let scope = Scope {
        namespace: "n".into(),
        domain: "n.svc.cluster.local".into(),
        style,
        ..Scope::default()
    };
    let (table, skipped) = Table::build(names, &scope);
    let (same, same_skipped) = Table::build(names, &scope);
    assert_eq!(skipped, same_skipped);
    assert_eq!(table.names(), same.names());
    for entry in names.iter() {
        let Some(name) = Name::parse(entry.host) else { continue };
        let found = table.find(&name, search);
        let known = style == Style::Plain && name.labels() > 1;
        assert!(found.is_some() || name.is_wildcard() || !known, "{}", entry.host);
        let addresses = found.map(|found| (found.v4, found.v6));
        let again = same.find(&name, search).map(|found| (found.v4, found.v6));
        assert_eq!(addresses, again, "{}", entry.host);
        for address in entry.ips().filter_map(|ip| ip.parse::<IpAddr>().ok()) {
            let host = table.reverse(address);
            assert_eq!(host, same.reverse(address));
            assert!(host.is_none_or(|host| !host.starts_with(b"\x01*")));
        }
    }
}
