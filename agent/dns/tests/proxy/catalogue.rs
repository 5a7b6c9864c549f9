//! What a sidecar's DNS has always answered, row by row, decided by the core and over both
//! transports. Rows about wildcards in search domains, large replies and other types have the
//! better behaviour.

use hawser_dns::Table;
use hawser_dns::answer::{Action, Transport, answer};
use hickory_proto::op::ResponseCode::{NXDomain, NoError};
use hickory_proto::op::{Message, ResponseCode};

use crate::client::{A, AAAA, HTTPS, MX, SRV, ask, lines, query, read};
use crate::fixture::{Proxy, mesh, scope};
use crate::upstream::Upstream;

enum Expected {
    /// From the table, with these records in any order.
    Answer(&'static [&'static str]),
    /// From the table: known, and has no such record.
    NoData,
    /// From the other resolver, with this code and number of records.
    Relayed(ResponseCode, usize),
}
use Expected::{Answer, NoData, Relayed};

const ANY: u16 = 255;

/// Name, type, expected.
const ROWS: &[(&str, u16, Expected)] = &[
    ("www.google.com", A, Answer(&["www.google.com. A 1.1.1.1"])),
    (
        "www.google.com.ns1.svc.cluster.local",
        A,
        Answer(&[
            "www.google.com.ns1.svc.cluster.local. CNAME www.google.com.",
            "www.google.com. A 1.1.1.1",
        ]),
    ),
    ("www.bing.com", A, Relayed(NoError, 1)),
    (
        "productpage.ns1.svc.cluster.local",
        A,
        Answer(&["productpage.ns1.svc.cluster.local. A 9.9.9.9"]),
    ),
    ("productpage.ns1.svc.cluster.local.ns1.svc.cluster.local", A, Relayed(NXDomain, 0)),
    ("productpage.ns1", A, Answer(&["productpage.ns1. A 9.9.9.9"])),
    ("productpage", A, Answer(&["productpage. A 9.9.9.9"])),
    (
        "productpage.ns1.ns1.svc.cluster.local",
        A,
        Answer(&[
            "productpage.ns1.ns1.svc.cluster.local. CNAME productpage.ns1.",
            "productpage.ns1. A 9.9.9.9",
        ]),
    ),
    ("productpage.ns1.ns1.svc.cluster.local", AAAA, NoData),
    ("example.ns2", A, Answer(&["example.ns2. A 10.10.10.10"])),
    ("example.ns2.svc.cluster.local", A, Answer(&["example.ns2.svc.cluster.local. A 10.10.10.10"])),
    ("example.ns2.svc", A, Answer(&["example.ns2.svc. A 10.10.10.10"])),
    ("example", A, Relayed(NXDomain, 0)),
    ("svc-with-alt", A, Answer(&["svc-with-alt. A 15.15.15.15"])),
    ("svc-with-alt.ns1", A, Answer(&["svc-with-alt.ns1. A 15.15.15.15"])),
    ("svc-with-alt.ns1.svc", A, Answer(&["svc-with-alt.ns1.svc. A 15.15.15.15"])),
    (
        "svc-with-alt.ns1.svc.cluster.local",
        A,
        Answer(&["svc-with-alt.ns1.svc.cluster.local. A 15.15.15.15"]),
    ),
    (
        "svc-with-alt.ns1.svc.clusterset.local",
        A,
        Answer(&["svc-with-alt.ns1.svc.clusterset.local. A 15.15.15.15"]),
    ),
    (
        "details.ns2.svc.cluster.remote",
        A,
        Answer(&[
            "details.ns2.svc.cluster.remote. A 11.11.11.11",
            "details.ns2.svc.cluster.remote. A 12.12.12.12",
            "details.ns2.svc.cluster.remote. A 13.13.13.13",
            "details.ns2.svc.cluster.remote. A 14.14.14.14",
        ]),
    ),
    ("details.ns2", A, Relayed(NXDomain, 0)),
    ("dual.localhost", A, Answer(&["dual.localhost. A 2.2.2.2"])),
    ("dual.localhost", AAAA, Answer(&["dual.localhost. AAAA 2001:db8::ff00:42:8329"])),
    ("ipv6.localhost", A, NoData),
    ("ipv4.localhost", AAAA, NoData),
    ("foo.wildcard", A, Answer(&["foo.wildcard. A 10.10.10.10"])),
    ("a.b.wildcard", A, Answer(&["a.b.wildcard. A 11.11.11.11"])),
    (
        "foo.wildcard.ns1.svc.cluster.local",
        A,
        Answer(&["foo.wildcard.ns1.svc.cluster.local. A 10.10.10.10"]),
    ),
    ("foo.svc.mesh.company.net", A, Answer(&["foo.svc.mesh.company.net. A 10.1.2.3"])),
    ("foo.foons.svc.mesh.company.net", A, Answer(&["foo.foons.svc.mesh.company.net. A 10.1.2.3"])),
    (
        "foo.svc.mesh.company.net.ns1.svc.cluster.local",
        A,
        Answer(&["foo.svc.mesh.company.net.ns1.svc.cluster.local. A 10.1.2.3"]),
    ),
    ("example.localhost", A, Answer(&["example.localhost. A 3.3.3.3"])),
    // beyond what a sidecar did
    ("WWW.Google.com", A, Answer(&["WWW.Google.com. A 1.1.1.1"])),
    (
        "Example.NS2.cluster.local",
        A,
        Answer(&["Example.NS2.cluster.local. CNAME Example.NS2.", "Example.NS2. A 10.10.10.10"]),
    ),
    ("productpage", SRV, NoData),
    ("productpage.ns1.svc.cluster.local", HTTPS, NoData),
    ("productpage", ANY, Answer(&["productpage. A 9.9.9.9"])),
    ("www.google.com", HTTPS, NoData),
    ("www.google.com", MX, Relayed(NoError, 0)),
    ("foo.wildcard", MX, Relayed(NoError, 0)),
    ("headless", A, NoData),
    ("headless.ns1.svc.cluster.local", SRV, NoData),
];

#[test]
fn the_core_decides_every_row() {
    let (table, skipped) = Table::build(&mesh(), &scope());
    assert_eq!(skipped, hawser_dns::table::Skipped::default());
    let mut dice = fastrand::Rng::with_seed(1);
    let mut out = Vec::new();
    for (name, kind, expected) in ROWS {
        let packet = query(1, name, *kind, None);
        let action = answer(&packet, Some(&table), Transport::Udp, &mut dice, &mut out);
        match (action, expected) {
            (Action::Relay(_), Relayed(..)) => {}
            (Action::Answer, Answer(_) | NoData) => check(name, *kind, &read(&out), expected),
            (action, _) => panic!("{name} {kind}: {action:?}"),
        }
    }
}

#[tokio::test]
async fn every_row_is_answered_over_udp() {
    every_row(Transport::Udp).await;
}

#[tokio::test]
async fn every_row_is_answered_over_tcp() {
    every_row(Transport::Tcp).await;
}

async fn every_row(transport: Transport) {
    let upstream = Upstream::of_the_catalogue().await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    for (id, (name, kind, expected)) in (1..).zip(ROWS) {
        let packet = query(id, name, *kind, Some(4096));
        let answer = ask(&packet, proxy.address, transport).await;
        let question = 12..packet.len() - 11;
        assert_eq!(answer[..2], packet[..2], "{name}");
        assert_eq!(answer[question.clone()], packet[question], "{name}: question as it was asked");
        check(name, *kind, &read(&answer), expected);
    }
    let (relayed, answered): (Vec<_>, Vec<_>) =
        ROWS.iter().partition(|(.., expected)| matches!(expected, Relayed(..)));
    let totals = proxy.totals();
    assert_eq!(totals.queries, ROWS.len() as u64);
    assert_eq!((totals.answered, totals.relayed), (answered.len() as u64, relayed.len() as u64));
    assert_eq!((totals.refused, totals.dropped, totals.relay_failed), (0, 0, 0));
    proxy.end().await;
}

fn check(name: &str, kind: u16, message: &Message, expected: &Expected) {
    let mut found = lines(message);
    assert!(message.metadata.recursion_available, "{name}");
    match expected {
        Answer(records) => {
            found.sort_by_key(|line| records.iter().position(|record| record == line));
            assert_eq!(found, *records, "{name} {kind}");
            assert!(message.metadata.authoritative && message.authorities.is_empty());
        }
        NoData => {
            assert_eq!(found, [""; 0], "{name} {kind}");
            assert_eq!(message.metadata.response_code, NoError, "{name} {kind}");
            assert_eq!(message.authorities.len(), 1, "{name} {kind}: the zone");
        }
        Relayed(code, records) => {
            assert_eq!(message.metadata.response_code, *code, "{name} {kind}");
            assert_eq!(found.len(), *records, "{name} {kind}");
        }
    }
    assert!(!found.iter().any(|line| line.contains('*')), "{name}");
}

#[test]
fn the_order_of_addresses_depends_on_the_dice() {
    let (table, _) = Table::build(&mesh(), &scope());
    let packet = query(1, "details.ns2.svc.cluster.remote", A, None);
    let order = |seed| {
        let mut out = Vec::new();
        let mut dice = fastrand::Rng::with_seed(seed);
        answer(&packet, Some(&table), Transport::Udp, &mut dice, &mut out);
        lines(&read(&out))
    };
    let orders: std::collections::HashSet<_> = (0..200).map(order).collect();
    assert_eq!(orders.len(), 4 * 3 * 2, "every order there is");
}

/// Large replies: name, payload → records and TC over UDP, the same over TCP.
#[tokio::test]
async fn large_replies_fit_and_say_what_is_missing() {
    let upstream = Upstream::of_the_catalogue().await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let cases = [
        ("giant", None, (29, true), (64, false)),
        ("giant", Some(65535), (64, false), (64, false)),
        ("giant", Some(100), (29, true), (64, false)),
        ("giant-tc", None, (29, true), (29, true)),
    ];
    for (name, payload, by_udp, by_tcp) in cases {
        let packet = query(1, name, A, payload);
        for (transport, expected) in [(Transport::Udp, by_udp), (Transport::Tcp, by_tcp)] {
            let message = read(&ask(&packet, proxy.address, transport).await);
            assert_eq!(message.metadata.response_code, NoError);
            let found = (message.answers.len(), message.metadata.truncation);
            assert_eq!(found, expected, "{name} {payload:?} {transport:?}");
        }
    }
    proxy.end().await;
}
