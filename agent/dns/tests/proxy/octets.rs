//! What holds for any octets that come from a client or from another resolver.

use std::sync::LazyLock;

use hawser_dns::answer::{Action, Errand, Transport, View, answer, fail};
use hawser_dns::message::Query;
use hawser_dns::{Scope, Search, Style, Table, reply};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::client::{A, AAAA, HTTPS, MX, SRV, query, read};
use crate::fixture::{mesh, scope, search};
use crate::upstream::with_addresses;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_octets_are_answered_well_or_not_at_all(packet in vec(any::<u8>(), 0..600), by in way()) {
        answered_well(&packet, by);
    }

    #[test]
    fn a_query_with_some_octets_changed_is_answered_well_or_not_at_all(
        (name, kind) in (select(NAMES), select(KINDS)),
        payload in proptest::option::of(any::<u16>()),
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<Index>()),
        by in way(),
    ) {
        let mut packet = query(1, name, kind, payload);
        for (at, value) in changes {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        answered_well(&packet, by);
    }

    #[test]
    fn what_stands_behind_the_question_is_read_or_refused(
        name in select(NAMES),
        payloads in vec(any::<u16>(), 0..4),
        version in select(&[0, 0, 0, 1, 255][..]),
        letters in any::<u64>(),
        by in way(),
    ) {
        let mut packet = query(1, &in_letters(name, letters), A, None);
        packet[11] = payloads.len().try_into().unwrap();
        for payload in &payloads {
            let [p0, p1] = payload.to_be_bytes();
            packet.extend_from_slice(&[0, 0, 41, p0, p1, 0, version, 0, 0, 0, 0]);
        }
        let (action, out) = answered_well(&packet, by).expect("an answer");
        let refused = payloads.len() > if by.style == Style::Plain { 1 } else { 2 };
        prop_assert_eq!(action == Action::Refuse, refused);
        if !refused && by.style == Style::Plain {
            let message = read(&out);
            prop_assert_eq!(message.edns.is_some(), payloads.len() == 1);
            let known = !matches!(action, Action::Relay(_));
            let other = message.edns.is_some_and(|edns| edns.rcode_high() == 1);
            prop_assert_eq!(other, known && !payloads.is_empty() && version > 0);
        }
    }

    #[test]
    fn a_question_that_is_a_pointer_is_a_fault(to in 0_u16..0x4000, by in way()) {
        let mut packet = query(1, "", A, Some(1232));
        let [high, low] = (0xc000 | to).to_be_bytes();
        packet.splice(12..13, [high, low]);
        let (action, out) = answered_well(&packet, by).unwrap();
        prop_assert_eq!(action, Action::Refuse);
        prop_assert_eq!((out.len(), out[3] & 0x0f), (12, 1));
    }

    #[test]
    fn any_reply_is_believed_or_not_and_fits(
        octets in vec(any::<u8>(), 0..600),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        addresses in 0_u8..100,
        limit in 512_usize..1500,
        known: bool,
        by in way(),
    ) {
        let packet = query(0x1234, "www.example", A, Some(1232));
        let question_end = packet.len() - 11;
        let errand = Errand { question_end, limit, edns: None, known, style: by.style };
        let question = &packet[12..question_end];
        let ips: Vec<_> = (0..addresses).map(|n| [10, 0, 0, n]).collect();
        let good = with_addresses(&packet, &ips, Some("owner.example."));
        let mut changed = good.clone();
        for (at, value) in changes {
            let at = at.index(changed.len());
            changed[at] = value;
        }
        for mut message in [octets, changed, good] {
            let untouched = message.len() <= limit;
            if reply::check(&message, 0x1234, question).is_some() {
                reply::pass_on(&mut message, &packet, &errand);
                prop_assert!(message.len() <= limit);
                prop_assert_eq!(&message[..2], &packet[..2]);
                if by.style == Style::Istio && !untouched {
                    prop_assert_eq!((message[3], message.len()), (2, question_end));
                }
            }
        }
    }

    #[test]
    fn a_reply_that_is_cut_can_still_be_read(
        addresses in 0_u8..100,
        limit in 512_usize..1500,
        options in any::<bool>(),
        owner in select(&["owner.example.", "www.example.", "a.www.example."][..]),
    ) {
        let packet = query(0x1234, "www.example", A, Some(1232));
        let question_end = packet.len() - 11;
        let errand = Errand { question_end, limit, edns: None, known: false, style: Style::Plain };
        let ips: Vec<_> = (0..addresses).map(|n| [10, 0, 0, n]).collect();
        let mut message = with_addresses(&packet, &ips, Some(owner));
        if options {
            message[11] += 1;
            message.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
        }
        let whole = message.len() <= limit;
        reply::pass_on(&mut message, &packet, &errand);
        let read = read(&message);
        prop_assert_eq!(read.metadata.truncation, !whole);
        prop_assert_eq!(read.answers.len() == ips.len(), whole);
        prop_assert_eq!(read.edns.is_some(), options);
        prop_assert!(read.answers.iter().all(|record| record.name.to_string() == owner));
    }
}

const NAMES: &[&str] = &[
    "www.google.com",
    "productpage.ns1.ns1.svc.cluster.local",
    "details.ns2.svc.cluster.remote",
    "a.b.wildcard",
    "foo.wildcard.ns1.svc.cluster.local",
    "_x._tcp.productpage.ns1",
    "ipv6.localhost",
    "headless.ns1",
    "9.9.9.9.in-addr.arpa",
    "www.example",
];

const KINDS: &[u16] = &[A, A, AAAA, MX, SRV, HTTPS, 5, 6, 12, 252, 255];

/// How a query is answered.
#[derive(Clone, Copy, Debug)]
struct Way {
    transport: Transport,
    style: Style,
    far: bool,
}

fn way() -> impl Strategy<Value = Way> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(tcp, istio, far)| Way {
        transport: if tcp { Transport::Tcp } else { Transport::Udp },
        style: if istio { Style::Istio } else { Style::Plain },
        far,
    })
}

/// The name in letters of which each is large if its bit says so.
fn in_letters(name: &str, bits: u64) -> String {
    let letter = |(at, letter): (usize, char)| {
        if bits >> (at % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
    };
    name.chars().enumerate().map(letter).collect()
}

/// What is decided, and the answer: one that says what it must, is no longer than it may be, and
/// can be read.
fn answered_well(packet: &[u8], by: Way) -> Option<(Action, Vec<u8>)> {
    static SEARCH: LazyLock<Search> = LazyLock::new(search);
    static TABLES: LazyLock<[Table; 2]> = LazyLock::new(|| {
        [Style::Plain, Style::Istio]
            .map(|style| Table::build(&mesh(), &Scope { style, ..scope() }).0)
    });
    let Way { transport, style, far } = by;
    let table = Some(&TABLES[usize::from(style == Style::Istio)]);
    let view = View { table, search: &SEARCH, style, far };
    let mut out = Vec::new();
    let action = answer(packet, &view, transport, &mut fastrand::Rng::with_seed(1), &mut out);
    match action {
        Action::Drop => return None,
        Action::Relay(errand) => fail(packet, &errand, &mut out),
        Action::Answer | Action::Refuse => {}
    }
    assert_eq!(out[..2], packet[..2]);
    if action == Action::Refuse && out.len() == 12 {
        return Some((action, out));
    }
    let asked = Query::parse(packet).unwrap();
    let limit = match transport {
        Transport::Tcp => 65535,
        Transport::Udp if far => asked.payload().min(1232),
        Transport::Udp => asked.payload(),
    };
    assert!(out.len() <= limit);
    assert_eq!(out[12..asked.question_end], packet[12..asked.question_end]);
    // hickory refuses some names and types that others ask for
    if plain(&packet[12..asked.question_end]) {
        read(&out);
    }
    Some((action, out))
}

fn plain(question: &[u8]) -> bool {
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || *octet < 64 || b"._".contains(octet);
    question.iter().all(plain)
}
