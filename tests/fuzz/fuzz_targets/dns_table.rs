//! A name table with any content: each of its hosts is found, whatever order they come in.

#![no_main]

use hawser_dns::{Scope, Table, name::Name};
use hawser_proto::istio::nds::NameTable;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    // Each decoded map has an order of its own.
    let (Ok(names), Ok(again)) = (NameTable::decode(bytes), NameTable::decode(bytes)) else {
        return;
    };
    let scope = Scope {
        namespace: "n".into(),
        domain: "n.svc.cluster.local".into(),
        search: vec!["n.svc.cluster.local".into(), "svc.cluster.local".into()],
    };
    let (table, skipped) = Table::build(&names, &scope);
    let (same, same_skipped) = Table::build(&again, &scope);
    assert_eq!(skipped, same_skipped);
    assert_eq!(table.names(), same.names());

    for host in names.table.keys() {
        let Some(name) = Name::parse(host) else { continue };
        let found = table.find(&name);
        assert!(found.is_some() || name.is_wildcard(), "{host}");
        let addresses = found.map(|found| (found.v4, found.v6));
        assert_eq!(addresses, same.find(&name).map(|found| (found.v4, found.v6)), "{host}");
    }
});
