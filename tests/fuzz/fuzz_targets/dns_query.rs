//! A query from anybody: decided and answered without a panic, and never answered with more than
//! the transport carries.

#![no_main]

use std::sync::LazyLock;

use hawser_dns::{
    Scope, Table,
    answer::{Transport, answer},
};
use hawser_proto::istio::nds::{NameInfo, NameTable};
use libfuzzer_sys::fuzz_target;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let info = |ips: &[&str]| NameInfo {
        ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
        registry: "Kubernetes".into(),
        shortname: "a".into(),
        namespace: "n".into(),
        ..NameInfo::default()
    };
    let table = [
        ("a.n.svc.cluster.local".to_owned(), info(&["10.0.0.1", "2001:db8::1"])),
        ("*.w.example".to_owned(), info(&["10.0.0.2"; 60])),
        ("none.example".to_owned(), info(&[])),
    ];
    let scope = Scope {
        namespace: "n".into(),
        domain: "n.svc.cluster.local".into(),
        search: vec!["n.svc.cluster.local".into(), "example".into()],
    };
    Table::build(&NameTable { table: table.into() }, &scope).0
});

fuzz_target!(|packet: &[u8]| {
    let mut dice = fastrand::Rng::with_seed(1);
    for transport in [Transport::Udp, Transport::Tcp] {
        for table in [None, Some(&*TABLE)] {
            let mut out = Vec::new();
            answer(packet, table, transport, &mut dice, &mut out);
            assert!(out.len() <= 65_535);
        }
    }
});
