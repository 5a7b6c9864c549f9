//! Tests of answers, octet by octet and as another implementation reads them.

use hawser_proto::istio::nds::{NameInfo, NameTable};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::*;
use crate::message::IN;
use crate::table::Scope;

fn info(registry: &str, shortname: &str, ips: &[&str]) -> NameInfo {
    NameInfo {
        ips: ips.iter().map(|&ip| ip.to_owned()).collect(),
        registry: registry.to_owned(),
        shortname: shortname.to_owned(),
        namespace: "ns1".to_owned(),
        alt_hosts: Vec::new(),
    }
}

fn table() -> Table {
    let many: Vec<String> = (0..250).map(|n| format!("10.1.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let names = [
        ("web.ns1.svc.cluster.local", info("Kubernetes", "web", &["10.0.0.1"])),
        ("many.example", info("External", "", &many)),
        ("six.example", info("External", "", &["2001:db8::1", "2001:db8::2"])),
        ("none.ns1.svc.cluster.local", info("Kubernetes", "none", &[])),
        ("*.wild.example", info("External", "", &["10.0.0.7"])),
    ];
    let names = names.map(|(host, info)| (host.to_owned(), info)).into_iter().collect();
    let scope = Scope {
        namespace: "ns1".to_owned(),
        domain: "svc.cluster.local".to_owned(),
        search: vec!["ns1.svc.cluster.local".to_owned()],
    };
    Table::build(&NameTable { table: names }, &scope).0
}

/// A query with RD set.
fn query(name: &str, kind: u16, class: u16, edns: Option<[u8; 11]>) -> Vec<u8> {
    let mut packet = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in name.split('.') {
        packet.push(label.len().try_into().unwrap());
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&class.to_be_bytes());
    packet.extend_from_slice(&edns.unwrap_or_default()[..if edns.is_some() { 11 } else { 0 }]);
    packet
}

fn opt(payload: u16, version: u8) -> [u8; 11] {
    let [p0, p1] = payload.to_be_bytes();
    [0, 0, 41, p0, p1, 0, version, 0x80, 0, 0, 0]
}

fn decide(packet: &[u8], transport: Transport) -> (Action, Vec<u8>) {
    let mut out = b"left over".to_vec();
    let mut dice = fastrand::Rng::with_seed(1);
    let action = answer(packet, Some(&table()), transport, &mut dice, &mut out);
    (action, out)
}

fn answered(packet: &[u8], transport: Transport) -> Message {
    let (action, out) = decide(packet, transport);
    assert_eq!(action, Action::Answer);
    read(&out)
}

fn read(out: &[u8]) -> Message {
    let mut decoder = BinDecoder::new(out);
    let message = Message::read(&mut decoder).unwrap();
    assert!(decoder.is_empty(), "octets behind the message");
    message
}

#[test]
fn an_answer_is_the_question_and_ready_records() {
    let packet = query("wEb.ns1", kind::A, IN, None);

    let (action, out) = decide(&packet, Transport::Udp);

    assert_eq!(action, Action::Answer);
    let expected: &[u8] = b"\xab\xcd\x85\x80\0\x01\0\x01\0\0\0\0\
        \x03wEb\x03ns1\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\0\0\x01";
    assert_eq!(out, expected);
}

#[test]
fn flags_of_the_query_come_back_where_they_mean_something() {
    let mut packet = query("web", kind::A, IN, None);
    for (given, expected) in [
        ([0x00, 0x00], [0x84, 0x80]),
        ([0x01, 0x00], [0x85, 0x80]),
        ([0x01, 0x10], [0x85, 0x90]),
        // neither AD nor AA, TC, RA or Z are the client's to set
        ([0x07, 0xef], [0x85, 0x80]),
    ] {
        packet[2..4].copy_from_slice(&given);
        assert_eq!(decide(&packet, Transport::Udp).1[2..4], expected, "{given:?}");
    }
}

#[test]
fn an_opt_record_is_answered_by_one() {
    let (_, out) = decide(&query("web", kind::A, IN, Some(opt(1232, 0))), Transport::Udp);
    assert_eq!(out[out.len() - 11..], [0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
    assert!(read(&out).edns.is_some());
}

#[test]
fn an_unknown_version_of_edns_is_named() {
    let message = answered(&query("web", kind::A, IN, Some(opt(1232, 1))), Transport::Udp);
    assert_eq!(message.edns.as_ref().unwrap().rcode_high(), 1);
    assert_eq!(message.edns.as_ref().unwrap().version(), 0);
    assert!(message.answers.is_empty());
}

#[test]
fn a_search_domain_is_answered_by_the_name_proper_in_the_clients_letters() {
    let packet = query("wEb.nS1.ns1.svc.CLUSTER.local", kind::A, IN, None);
    let message = answered(&packet, Transport::Udp);
    let lines: Vec<String> = message.answers.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["wEb.nS1.ns1.svc.CLUSTER.local. 30 IN CNAME wEb.nS1.", "wEb.nS1. 30 IN A 10.0.0.1"]
    );
}

#[test]
fn a_wildcard_is_answered_under_the_name_that_was_asked() {
    for name in ["a.wild.example", "a.b.wild.example", "a.wild.example.ns1.svc.cluster.local"] {
        let message = answered(&query(name, kind::A, IN, None), Transport::Udp);
        let lines: Vec<String> = message.answers.iter().map(ToString::to_string).collect();
        assert_eq!(lines, [format!("{name}. 30 IN A 10.0.0.7")]);
    }
}

#[test]
fn what_a_known_name_does_not_have_is_said_with_a_zone() {
    for (name, kind, parent) in [
        ("web.ns1.svc.cluster.local", kind::AAAA, "ns1.svc.cluster.local."),
        ("web", kind::AAAA, "."),
        ("web.ns1", 33, "ns1."),
        ("none.ns1", kind::A, "ns1."),
        ("none.ns1", kind::ANY, "ns1."),
        ("web.ns1.ns1.svc.cluster.local", kind::AAAA, "ns1.ns1.svc.cluster.local."),
        ("six.example", kind::HTTPS, "example."),
        ("six.example", kind::SVCB, "example."),
    ] {
        let message = answered(&query(name, kind, IN, Some(opt(512, 0))), Transport::Udp);
        assert_eq!(message.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(message.answers.is_empty(), "{name}");
        let lines: Vec<String> = message.authorities.iter().map(ToString::to_string).collect();
        let soa = format!("{parent} nobody.invalid. 1 3600 1200 604800 10");
        assert_eq!(lines, [format!("{parent} 10 IN SOA {soa}")]);
    }
}

#[test]
fn any_is_answered_by_one_kind_of_address() {
    for (name, answers) in [("web", 1), ("six.example", 2)] {
        let message = answered(&query(name, kind::ANY, IN, None), Transport::Udp);
        assert_eq!(message.answers.len(), answers, "{name}");
    }
}

#[test]
fn what_the_mesh_cannot_know_is_relayed() {
    let relay = |name, kind, class| decide(&query(name, kind, class, None), Transport::Udp).0;
    let errand =
        |question_end, known| Action::Relay(Errand { question_end, limit: 512, edns: None, known });
    assert_eq!(relay("web.elsewhere", kind::A, IN), errand(31, false));
    assert_eq!(relay("web", kind::A, 3), errand(21, false), "class CH");
    assert_eq!(relay("web", kind::A, 255), errand(21, false), "any class");
    assert_eq!(relay("six.example", 15, IN), errand(29, true), "mail servers");
}

#[test]
fn without_a_table_everything_is_relayed() {
    let packet = query("web", kind::A, IN, None);
    let mut out = Vec::new();
    let action = answer(&packet, None, Transport::Tcp, &mut fastrand::Rng::with_seed(1), &mut out);
    assert!(matches!(action, Action::Relay(Errand { limit: 65535, known: false, .. })));
}

#[test]
fn an_answer_is_as_large_as_the_client_takes_it() {
    // header, question, OPT; then 16 octets each
    let cases = [
        (None, Transport::Udp, (512 - 12 - 18) / 16, true),
        (Some(opt(100, 0)), Transport::Udp, (512 - 12 - 18 - 11) / 16, true),
        (Some(opt(1232, 0)), Transport::Udp, (1232 - 12 - 18 - 11) / 16, true),
        (Some(opt(65535, 0)), Transport::Udp, 250, false),
        (None, Transport::Tcp, 250, false),
    ];
    for (edns, transport, fit, truncated) in cases {
        let (_, out) = decide(&query("many.example", kind::A, IN, edns), transport);
        let message = read(&out);
        assert_eq!(message.answers.len(), fit, "{edns:?}");
        assert_eq!(message.metadata.truncation, truncated, "{edns:?}");
        assert_eq!(message.edns.is_some(), edns.is_some());
    }
}

#[test]
fn a_canonical_name_that_does_not_fit_leaves_a_truncated_answer() {
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(40)].join(".");
    let names = [(long.clone(), info("External", "", &["10.0.0.1"]))];
    let scope = Scope { search: vec!["corp.example".to_owned()], ..Scope::default() };
    let (table, _) = Table::build(&NameTable { table: names.into() }, &scope);
    let packet = query(&format!("{long}.corp.example"), kind::A, IN, Some(opt(512, 0)));
    let mut out = Vec::new();

    answer(&packet, Some(&table), Transport::Udp, &mut fastrand::Rng::with_seed(1), &mut out);

    let message = read(&out);
    assert!(message.metadata.truncation && message.answers.is_empty());
    assert!(out.len() <= 512);
}

#[test]
fn addresses_come_in_an_order_that_the_dice_decide() {
    let table = table();
    let packet = query("many.example", kind::A, IN, None);
    let order = |seed| {
        let mut out = Vec::new();
        let mut dice = fastrand::Rng::with_seed(seed);
        answer(&packet, Some(&table), Transport::Tcp, &mut dice, &mut out);
        read(&out).answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>()
    };
    let (mut one, mut other) = (order(1), order(2));
    assert_ne!(one, other);
    assert_eq!(one, order(1));
    one.sort();
    other.sort();
    assert_eq!(one, other);
}

#[test]
fn every_address_comes_first_now_and_then_even_if_not_all_fit() {
    let table = table();
    let packet = query("many.example", kind::A, IN, None);
    let mut dice = fastrand::Rng::with_seed(1);
    let mut out = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..5000 {
        answer(&packet, Some(&table), Transport::Udp, &mut dice, &mut out);
        seen.insert(out[12 + 18 + 15]);
    }
    assert_eq!(seen.len(), 250);
}

#[test]
fn what_cannot_be_read_is_refused_by_a_header_alone() {
    let (action, out) = decide(b"\xab\xcd\x01\0\0\x02\0\0\0\0\0\0rest", Transport::Udp);
    assert_eq!((action, &*out), (Action::Refuse, &b"\xab\xcd\x81\x81\0\0\0\0\0\0\0\0"[..]));
    let (action, out) = decide(b"\xab\xcd\x29\0\0\x01\0\0\0\0\0\0rest", Transport::Udp);
    assert_eq!((action, &*out), (Action::Refuse, &b"\xab\xcd\xa9\x84\0\0\0\0\0\0\0\0"[..]));
}

#[test]
fn responses_and_scraps_are_dropped() {
    assert_eq!(decide(&[0; 11], Transport::Udp).0, Action::Drop);
    assert_eq!(decide(b"", Transport::Tcp).0, Action::Drop);
    let mut response = query("web", kind::A, IN, None);
    response[2] |= flag::RESPONSE;
    assert_eq!(decide(&response, Transport::Udp).0, Action::Drop);
}

#[test]
fn a_failure_repeats_the_question_and_answers_opt_by_opt() {
    let packet = query("web.Elsewhere", kind::A, IN, Some(opt(1232, 0)));
    let (Action::Relay(errand), mut out) = decide(&packet, Transport::Udp) else { panic!() };

    fail(&packet, &errand, &mut out);

    let message = read(&out);
    assert_eq!(out[..4], [0xab, 0xcd, 0x81, 0x82]);
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(message.queries[0].to_string(), "web.Elsewhere. IN A");
    assert!(message.edns.is_some());
}
