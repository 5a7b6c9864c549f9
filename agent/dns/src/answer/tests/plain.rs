//! Tests of answers that suit every client.

use super::*;
use crate::message::ANY_CLASS;

fn mesh() -> Mesh {
    Mesh::new(Style::Plain)
}

fn arpa(octets: [u8; 4]) -> String {
    let [a, b, c, d] = octets;
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

#[test]
fn an_answer_is_the_question_and_ready_records() {
    let (action, out) = mesh().decide(&query("wEb.ns1", kind::A, IN, None), Transport::Udp);

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
        assert_eq!(mesh().decide(&packet, Transport::Udp).1[2..4], expected, "{given:?}");
    }
}

#[test]
fn an_opt_record_is_answered_by_one() {
    let packet = query("web", kind::A, IN, Some(opt(1232, 0)));
    let (_, out) = mesh().decide(&packet, Transport::Udp);
    assert_eq!(out[out.len() - 11..], [0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
    assert!(read(&out).edns.is_some());
}

#[test]
fn an_unknown_version_of_edns_is_named() {
    for (name, kind) in [("web", kind::A), ("web", 33), (&arpa([10, 0, 0, 1]), kind::PTR)] {
        let message = mesh().answered(&query(name, kind, IN, Some(opt(1232, 1))));
        assert_eq!(message.edns.as_ref().unwrap().rcode_high(), 1);
        assert_eq!(message.edns.as_ref().unwrap().version(), 0);
        assert!(message.answers.is_empty());
    }
}

#[test]
fn two_opt_records_are_a_fault() {
    let mut packet = query("web", kind::A, IN, Some(opt(1232, 0)));
    packet[11] = 2;
    packet.extend_from_slice(&opt(4096, 0));
    let (action, out) = mesh().decide(&packet, Transport::Udp);
    assert_eq!((action, out.len(), out[3]), (Action::Refuse, 12, 0x81));
}

#[test]
fn a_search_domain_is_answered_by_the_name_proper_in_the_clients_letters() {
    let name = "wEb.nS1.ns1.svc.CLUSTER.local";
    let alias = format!("{name}. 30 IN CNAME wEb.nS1.");
    let address = "wEb.nS1. 30 IN A 10.0.0.1".to_owned();
    let both = [alias.clone(), address];
    assert_eq!(lines(&mesh().answered(&query(name, kind::A, IN, None))), both);
    assert_eq!(lines(&mesh().answered(&query(name, kind::ANY, IN, None))), both);
    assert_eq!(lines(&mesh().answered(&query(name, kind::CNAME, IN, None))), [alias]);
}

#[test]
fn a_wildcard_is_answered_under_the_name_that_was_asked() {
    for name in ["a.wild.example", "a.b.wild.example", "a.wild.example.ns1.svc.cluster.local"] {
        let message = mesh().answered(&query(name, kind::A, IN, None));
        assert_eq!(lines(&message), [format!("{name}. 30 IN A 10.0.0.7")]);
    }
}

#[test]
fn what_a_known_name_does_not_have_is_said_with_a_zone() {
    for (name, kind, parent) in [
        ("web.ns1.svc.cluster.local", kind::AAAA, "ns1.svc.cluster.local."),
        ("web", kind::AAAA, "."),
        ("web.ns1", kind::SRV, "ns1."),
        ("web.ns1", kind::SOA, "ns1."),
        ("web.ns1", kind::CNAME, "ns1."),
        ("none.ns1", kind::A, "ns1."),
        ("none.ns1", kind::ANY, "ns1."),
        ("web.ns1.ns1.svc.cluster.local", kind::AAAA, "ns1.ns1.svc.cluster.local."),
        ("_http._tcp.web.ns1", kind::SRV, "_tcp.web.ns1."),
        ("_http._tcp.web.ns1", kind::A, "_tcp.web.ns1."),
        ("six.example", kind::A, "example."),
        ("six.example", kind::HTTPS, "example."),
        ("six.example", kind::SVCB, "example."),
    ] {
        let message = mesh().answered(&query(name, kind, IN, Some(opt(512, 0))));
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
        let message = mesh().answered(&query(name, kind::ANY, IN, None));
        assert_eq!(message.answers.len(), answers, "{name}");
    }
}

#[test]
fn an_address_of_the_mesh_has_the_name_of_its_host() {
    let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.2.IP6.arpa";
    for (name, host) in
        [(&*arpa([10, 0, 0, 1]), "web.ns1.svc.cluster.local."), (six, "six.example.")]
    {
        for kind in [kind::PTR, kind::ANY] {
            let message = mesh().answered(&query(name, kind, IN, Some(opt(512, 0))));
            assert_eq!(lines(&message), [format!("{name}. 30 IN PTR {host}")]);
            assert!(message.edns.is_some());
        }
        assert!(mesh().relayed(&query(name, kind::SOA, IN, None)).known, "another type");
        assert!(mesh().relayed(&query(name, kind::PTR, 3, None)).known, "another class");
    }
    for other in [&*arpa([10, 1, 0, 1]), "0.10.in-addr.arpa", "01.0.0.10.in-addr.arpa"] {
        assert!(!mesh().relayed(&query(other, kind::PTR, IN, None)).known, "{other}");
    }
}

#[test]
fn nothing_that_is_said_of_an_address_has_an_asterisk() {
    let packet = query(&arpa([10, 0, 0, 7]), kind::PTR, IN, None);
    let (_, out) = mesh().decide(&packet, Transport::Udp);
    assert!(!out.contains(&b'*'));
}

#[test]
fn what_the_mesh_cannot_know_is_relayed() {
    let mut mesh = mesh();
    let mut relay = |name, kind, class| mesh.relayed(&query(name, kind, class, None));
    let errand = |question_end, known| Errand {
        question_end,
        limit: 512,
        edns: None,
        known,
        style: Style::Plain,
    };
    assert_eq!(relay("web.elsewhere", kind::A, IN), errand(31, false));
    assert_eq!(relay("web.elsewhere", kind::A, 3), errand(31, false), "class CH");
    assert_eq!(relay("six.example", 15, IN), errand(29, true), "mail servers");
    assert_eq!(relay("six.example", kind::A, 3), errand(29, true), "class CH");
    assert_eq!(relay("none.example", kind::A, IN), errand(30, true), "no address in the mesh");
}

#[test]
fn under_a_search_domain_the_mesh_knows_the_addresses_and_nothing_else() {
    let names = [("mail.ns1.svc.cluster.local", info("Kubernetes", "mail", &["10.0.0.1"]))];
    let mut mesh = Mesh::of(Style::Plain, &names, "corp.example");
    for kind in [15, 16, kind::SRV, kind::SOA] {
        assert!(mesh.relayed(&query("mail.corp.example", kind, IN, None)).known, "{kind}");
        assert!(mesh.answered(&query("mail", kind, IN, None)).answers.is_empty(), "{kind}");
    }
    let both = ["mail.corp.example. 30 IN CNAME mail.", "mail. 30 IN A 10.0.0.1"];
    assert_eq!(lines(&mesh.answered(&query("mail.corp.example", kind::A, IN, None))), both);
    for kind in [kind::AAAA, kind::HTTPS] {
        let message = mesh.answered(&query("mail.corp.example", kind, IN, None));
        assert!(message.answers.is_empty(), "{kind}");
    }
}

#[test]
fn a_name_of_the_mesh_is_not_asked_outside_in_another_class() {
    let (action, out) = mesh().decide(&query("web", kind::A, 3, Some(opt(512, 0))), Transport::Udp);
    assert_eq!((action, &out[2..4]), (Action::Refuse, &[0x81, 0x85][..]));
    let message = read(&out);
    assert_eq!(message.metadata.response_code, ResponseCode::Refused);
    assert_eq!((message.queries.len(), message.edns.is_some()), (1, true));

    let any = mesh().answered(&query("web", kind::A, ANY_CLASS, None));
    assert_eq!(lines(&any), ["web. 30 IN A 10.0.0.1"]);
}

#[test]
fn zones_are_not_transferred() {
    for kind in [kind::AXFR, kind::IXFR] {
        for name in ["web", "elsewhere.example"] {
            let (action, out) = mesh().decide(&query(name, kind, IN, None), Transport::Tcp);
            assert_eq!((action, out[3] & flag::RCODE), (Action::Refuse, rcode::REFUSED));
        }
    }
}

#[test]
fn an_answer_is_as_large_as_the_client_takes_it() {
    // header, question, OPT; then 16 octets each
    let fit = |limit: usize, opt: usize| (limit - 12 - 18 - opt) / 16;
    let cases = [
        (None, Transport::Udp, fit(512, 0), fit(512, 0)),
        (Some(opt(100, 0)), Transport::Udp, fit(512, 11), fit(512, 11)),
        (Some(opt(1232, 0)), Transport::Udp, fit(1232, 11), fit(1232, 11)),
        (Some(opt(1500, 0)), Transport::Udp, fit(1500, 11), fit(1232, 11)),
        (Some(opt(65535, 0)), Transport::Udp, 250, fit(1232, 11)),
        (None, Transport::Tcp, 250, 250),
    ];
    for (edns, transport, near, far) in cases {
        for (afar, fit) in [(false, near), (true, far)] {
            let mut mesh = Mesh { far: afar, ..mesh() };
            let (_, out) = mesh.decide(&query("many.example", kind::A, IN, edns), transport);
            let message = read(&out);
            assert_eq!(message.answers.len(), fit, "{edns:?}");
            assert_eq!(message.metadata.truncation, fit < 250, "{edns:?}");
            assert_eq!(message.edns.is_some(), edns.is_some());
        }
    }
}

#[test]
fn a_canonical_name_that_does_not_fit_leaves_a_truncated_answer() {
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(40)].join(".");
    let names = [(&*long, info("External", "", &["10.0.0.1"]))];
    let mut mesh = Mesh::of(Style::Plain, &names, "corp.example");
    for kind in [kind::A, kind::CNAME] {
        let packet = query(&format!("{long}.corp.example"), kind, IN, Some(opt(512, 0)));
        let (_, out) = mesh.decide(&packet, Transport::Udp);
        let message = read(&out);
        assert!(message.metadata.truncation && message.answers.is_empty());
        assert!(out.len() <= 512);
    }
}

#[test]
fn addresses_come_in_an_order_that_the_dice_decide() {
    let packet = query("many.example", kind::A, IN, None);
    let order = |seed| {
        let mut mesh = Mesh { dice: fastrand::Rng::with_seed(seed), ..mesh() };
        lines(&read(&mesh.decide(&packet, Transport::Tcp).1))
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
    let mut mesh = mesh();
    let packet = query("many.example", kind::A, IN, None);
    let seen: std::collections::HashSet<_> =
        (0..5000).map(|_| mesh.decide(&packet, Transport::Udp).1[12 + 18 + 15]).collect();
    assert_eq!(seen.len(), 250);
}
