//! A query from anybody: what is said to it is well formed and fits the transport.

#![no_main]

use std::sync::LazyLock;

use hawser_dns::{
    Scope, Search, Style, Table,
    answer::{Action, MAX_QUERY, Transport, View, answer, fail},
    message::{HEADER, Query, Record, flag, kind, number, rcode},
};
use hawser_proto::{
    Names,
    istio::nds::{NameInfo, NameTable},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let mut dice = fastrand::Rng::with_seed(1);
    let mut out = Vec::new();
    for transport in [Transport::Udp, Transport::Tcp] {
        for view in views() {
            match answer(packet, &view, transport, &mut dice, &mut out) {
                Action::Answer => check(packet, &view, transport, &out),
                Action::Refuse if out.len() == HEADER => assert_eq!(out[..2], packet[..2]),
                Action::Refuse => {
                    assert_eq!(out[3] & flag::RCODE, rcode::REFUSED);
                    check(packet, &view, transport, &out);
                }
                Action::Relay(errand) => {
                    fail(packet, &errand, &mut out);
                    assert!(out.len() <= errand.limit);
                    check(packet, &view, transport, &out);
                }
                Action::Drop => {}
            }
        }
    }
});

/// With and without a table, in each style, for askers near and far.
fn views() -> impl Iterator<Item = View<'static>> {
    TABLES.iter().flat_map(|(style, table)| {
        [None, Some(table)].into_iter().flat_map(|table| {
            [false, true].map(|far| View { table, search: &SEARCH, style: *style, far })
        })
    })
}

fn check(packet: &[u8], view: &View<'_>, transport: Transport, answer: &[u8]) {
    let query = Query::parse(packet).expect("only a query is answered");
    let limit = match (transport, view.style) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, _) if view.far => query.payload().min(1232),
        (Transport::Udp, Style::Plain) => query.payload().min(MAX_QUERY),
        (Transport::Udp, Style::Istio) => query.payload(),
    };
    assert!(answer.len() <= limit);
    assert_eq!(answer[..2], packet[..2]);
    assert_ne!(answer[2] & flag::RESPONSE, 0);
    assert_eq!(answer[HEADER..query.question_end], packet[HEADER..query.question_end]);

    let (mut at, mut options) = (query.question_end, 0);
    for count in [6, 8, 10] {
        for _ in 0..number(answer, count).expect("a header") {
            let record = Record::read(answer, at).expect("as many records as the header says");
            let owner = name(answer, at);
            match record.kind {
                kind::OPT => options += 1,
                kind::CNAME | kind::PTR | kind::SOA => drop(name(answer, record.fields + 8)),
                _ => assert!(
                    view.style == Style::Istio
                        || !owner.starts_with(b"\x01*")
                        || packet[HEADER..].starts_with(b"\x01*")
                ),
            }
            at = record.end;
        }
    }
    assert_eq!(at, answer.len());
    assert_eq!(options, usize::from(query.edns.is_some() && view.style == Style::Plain));
}

/// A name, whose pointers lead back and to the end.
fn name(message: &[u8], mut at: usize) -> Vec<u8> {
    let mut name = Vec::new();
    loop {
        match message[at] {
            0 => break,
            length @ 1..64 => {
                name.extend_from_slice(&message[at..=at + usize::from(length)]);
                at += 1 + usize::from(length);
            }
            _ => {
                let to = usize::from(number(message, at).expect("a pointer") & 0x3fff);
                assert!((HEADER..at).contains(&to));
                at = to;
            }
        }
    }
    assert!(name.len() < 255);
    name
}

static SEARCH: LazyLock<Search> =
    LazyLock::new(|| Search::new(&["n.svc.cluster.local".into(), "example".into()]));

static TABLES: LazyLock<[(Style, Table); 2]> =
    LazyLock::new(|| [Style::Plain, Style::Istio].map(|style| (style, table(style))));

fn table(style: Style) -> Table {
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
        style,
        ..Scope::default()
    };
    Table::build(&Names::from(&NameTable { table: table.into() }), &scope).0
}
