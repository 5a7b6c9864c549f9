//! A query from anybody: what is said to it is well formed and fits the transport.

#![no_main]

use std::sync::LazyLock;

use hawser_dns::{
    Scope, Table,
    answer::{Action, MAX_QUERY, Transport, answer, fail},
    message::{HEADER, Query, Record, flag, kind, number},
};
use hawser_proto::istio::nds::{NameInfo, NameTable};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let mut dice = fastrand::Rng::with_seed(1);
    let mut out = Vec::new();
    for transport in [Transport::Udp, Transport::Tcp] {
        for table in [None, Some(&*TABLE)] {
            match answer(packet, table, transport, &mut dice, &mut out) {
                Action::Answer => check(packet, transport, &out),
                Action::Refuse => assert_eq!(out.len(), HEADER),
                Action::Relay(errand) => {
                    fail(packet, &errand, &mut out);
                    check(packet, transport, &out);
                }
                Action::Drop => {}
            }
        }
    }
});

fn check(packet: &[u8], transport: Transport, answer: &[u8]) {
    let query = Query::parse(packet).expect("only a query is answered");
    let limit = match transport {
        Transport::Udp => query.payload().min(MAX_QUERY),
        Transport::Tcp => usize::from(u16::MAX),
    };
    assert!(answer.len() <= limit);
    assert_eq!(answer[..2], packet[..2]);
    assert_ne!(answer[2] & flag::RESPONSE, 0);
    assert_eq!(answer[HEADER..query.question_end], packet[HEADER..query.question_end]);

    let (mut at, mut options) = (query.question_end, 0);
    for count in [6, 8, 10] {
        for _ in 0..number(answer, count).expect("a header") {
            let record = Record::read(answer, at).expect("as many records as the header says");
            options += usize::from(record.kind == kind::OPT);
            at = record.end;
        }
    }
    assert_eq!(at, answer.len());
    assert_eq!(options, usize::from(query.edns.is_some()));
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let info = |ips: &[&str]| NameInfo {
        ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
        registry: "Kubernetes".into(),
        shortname: "a".into(),
        namespace: "n".into(),
        ..NameInfo::default()
    };
    let many: Vec<_> = (0..5000).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let table = [
        ("a.n.svc.cluster.local".to_owned(), info(&["10.0.0.1", "2001:db8::1"])),
        ("*.w.example".to_owned(), info(&many)),
        ("none.example".to_owned(), info(&[])),
        ("world.test".to_owned(), NameInfo { registry: "External".into(), ..info(&["10.0.0.3"]) }),
    ];
    let scope = Scope {
        namespace: "n".into(),
        domain: "n.svc.cluster.local".into(),
        search: vec!["n.svc.cluster.local".into(), "example".into()],
    };
    Table::build(&NameTable { table: table.into() }, &scope).0
});
