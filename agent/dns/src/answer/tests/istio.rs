//! Tests of answers as Istio's own agent gives them.

use super::*;

fn mesh() -> Mesh {
    Mesh::new(Style::Istio)
}

fn said(name: &str, kind: u16) -> Vec<String> {
    lines(&mesh().answered(&query(name, kind, IN, Some(opt(4096, 0)))))
}

#[test]
fn an_answer_is_in_full_and_in_lower_case_and_says_that_there_is_no_recursion() {
    let mut packet = query("wEb.ns1", kind::A, IN, Some(opt(1232, 1)));
    packet[3] = 0xff;

    let (action, out) = mesh().decide(&packet, Transport::Udp);

    assert_eq!(action, Action::Answer);
    let expected: &[u8] = b"\xab\xcd\x85\x10\0\x01\0\x01\0\0\0\0\
        \x03wEb\x03ns1\0\0\x01\0\x01\
        \x03web\x03ns1\0\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\0\0\x01";
    assert_eq!(out, expected);
}

#[test]
fn a_search_domain_is_answered_by_an_alias() {
    let (_, out) =
        mesh().decide(&query("Web.ns1.ns1.svc.cluster.local", kind::A, IN, None), Transport::Udp);
    let expected: &[u8] = b"\xab\xcd\x85\0\0\x01\0\x02\0\0\0\0\
        \x03Web\x03ns1\x03ns1\x03svc\x07cluster\x05local\0\0\x01\0\x01\
        \x03web\x03ns1\x03ns1\x03svc\x07cluster\x05local\0\0\x05\0\x01\0\0\0\x1e\0\x09\x03web\x03ns1\0\
        \x03web\x03ns1\0\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\0\0\x01";
    assert_eq!(out, expected);
}

#[test]
fn behind_a_search_domain_a_wildcard_owns_the_records() {
    assert_eq!(said("A.b.wild.example", kind::A), ["a.b.wild.example. 30 IN A 10.0.0.7"]);
    assert_eq!(
        said("A.b.wild.example.ns1.svc.cluster.local", kind::A),
        [
            "a.b.wild.example.ns1.svc.cluster.local. 30 IN CNAME *.wild.example.",
            "*.wild.example. 30 IN A 10.0.0.7"
        ]
    );
}

#[test]
fn what_a_known_name_does_not_have_is_said_without_a_zone() {
    for (name, kind) in [
        ("web.ns1.svc.cluster.local", kind::AAAA),
        ("web.ns1.ns1.svc.cluster.local", kind::AAAA),
        ("six.example", kind::A),
        ("x.wild.example", kind::AAAA),
    ] {
        let packet = query(name, kind, IN, Some(opt(512, 0)));
        let end = packet.len() - 11;
        let (action, out) = mesh().decide(&packet, Transport::Udp);
        assert_eq!((action, out.len()), (Action::Answer, end), "{name}");
        assert_eq!(out[2..12], [0x85, 0, 0, 1, 0, 0, 0, 0, 0, 0], "{name}");
    }
}

#[test]
fn all_but_addresses_is_for_others_to_say() {
    let reverse = "1.0.0.10.in-addr.arpa";
    for (name, kind) in [
        ("web", kind::SRV),
        ("web", kind::HTTPS),
        ("web", kind::ANY),
        ("web.ns1.ns1.svc.cluster.local", kind::CNAME),
        ("none.ns1", kind::A),
        ("none.ns1", kind::AAAA),
        ("_http._tcp.web.ns1", kind::A),
        (reverse, kind::PTR),
        ("elsewhere", kind::AXFR),
        ("elsewhere", kind::A),
    ] {
        let errand = mesh().relayed(&query(name, kind, IN, None));
        assert!(!errand.known && errand.style == Style::Istio, "{name}");
    }
}

#[test]
fn the_class_and_the_version_of_edns_are_not_looked_at() {
    let expected = ["web. 30 IN A 10.0.0.1"];
    for (class, version) in [(3, 0), (255, 0), (IN, 7)] {
        let packet = query("web", kind::A, class, Some(opt(512, version)));
        let (_, out) = mesh().decide(&packet, Transport::Udp);
        assert_eq!(lines(&read(&out)), expected);
    }
}

#[test]
fn of_several_opt_records_the_last_counts() {
    let mut packet = query("elsewhere", kind::A, IN, Some(opt(512, 0)));
    packet[11] = 2;
    packet.extend_from_slice(&opt(1000, 0));
    assert_eq!(mesh().relayed(&packet).limit, 1000);
}

#[test]
fn what_does_not_fit_in_full_is_compressed_and_then_cut() {
    let full = 250 * (14 + 14);
    // name, payload → addresses, size
    let cases = [
        ("many.example", 30 + full, 250, 30 + full),
        ("many.example", 30 + full - 1, 250, 30 + 250 * 16),
        ("many.example", 512, 30, 30 + 30 * 16),
        // the first owner has letters that the question has not
        ("Many.example", 512, 29, 30 + 28 + 28 * 16),
        ("many.example.ns1.svc.cluster.local", 512, 27, 52 + 26 + 27 * 16),
        ("Many.example.ns1.svc.cluster.local", 520, 25, 52 + 60 + 25 * 16),
    ];
    for (name, payload, addresses, size) in cases {
        let packet = query(name, kind::A, IN, Some(opt(payload, 0)));
        let (_, out) = mesh().decide(&packet, Transport::Udp);
        let message = read(&out);
        let lower = name.to_lowercase();
        let proper = lower.strip_suffix(".ns1.svc.cluster.local");
        assert_eq!(message.metadata.truncation, addresses < 250, "{name} {payload}");
        assert_eq!(message.answers.len(), addresses + usize::from(proper.is_some()), "{name}");
        assert_eq!(out.len(), usize::from(size), "{name} {payload}");
        let mut answers = message.answers.iter();
        if proper.is_some() {
            assert_eq!(answers.next().unwrap().name.to_string(), format!("{lower}."));
        }
        let owner = format!("{}.", proper.unwrap_or(&lower));
        let mut seen = std::collections::HashSet::new();
        for record in answers {
            assert_eq!(record.name.to_string(), owner);
            assert!(seen.insert(record.data.to_string()), "each address once");
        }
    }
}

#[test]
fn a_name_that_does_not_fit_leaves_a_truncated_answer() {
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(44)].join(".");
    let names = [(&*long, info("External", "", &["10.0.0.1"]))];
    let mut mesh = Mesh::of(Style::Istio, &names, "corp.example");
    let packet = query(&format!("{long}.corp.example"), kind::A, IN, Some(opt(512, 0)));
    let message = mesh.answered(&packet);
    assert!(message.metadata.truncation && message.answers.is_empty());
}

#[test]
fn every_order_of_addresses_comes_up() {
    let names = [("three.example", info("External", "", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]))];
    let mut mesh = Mesh::of(Style::Istio, &names, "corp.example");
    let packet = query("three.example", kind::A, IN, None);
    let orders: std::collections::HashSet<_> =
        (0..200).map(|_| lines(&mesh.answered(&packet))).collect();
    assert_eq!(orders.len(), 6);
}
