//! Tests of answers, octet by octet and as another implementation reads them.

mod istio;
mod plain;

use hawser_proto::istio::nds::{NameInfo, NameTable};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::*;
use crate::message::{IN, kind};
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

/// What is known, and to whom it is told.
struct Mesh {
    table: Option<Table>,
    search: Search,
    style: Style,
    far: bool,
    dice: fastrand::Rng,
}

impl Mesh {
    fn new(style: Style) -> Self {
        let many: Vec<String> = (0..250).map(|n| format!("10.1.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let names = [
            ("web.ns1.svc.cluster.local", info("Kubernetes", "web", &["10.0.0.1"])),
            ("many.example", info("External", "", &many)),
            ("six.example", info("External", "", &["2001:2::1", "2001:db8::2"])),
            ("none.ns1.svc.cluster.local", info("Kubernetes", "none", &[])),
            ("none.example", info("External", "", &[])),
            ("*.wild.example", info("External", "", &["10.0.0.7"])),
        ];
        Self::of(style, &names, "ns1.svc.cluster.local")
    }

    fn of(style: Style, names: &[(&str, NameInfo)], search: &str) -> Self {
        let names = names.iter().map(|(host, info)| ((*host).to_owned(), info.clone()));
        let names = NameTable { table: names.collect() };
        let scope = Scope {
            namespace: "ns1".to_owned(),
            domain: "svc.cluster.local".to_owned(),
            style,
            ..Scope::default()
        };
        Self {
            table: Some(Table::build(&(&names).into(), &scope).0),
            search: Search::new(&[search.to_owned()]),
            style,
            far: false,
            dice: fastrand::Rng::with_seed(1),
        }
    }

    fn decide(&mut self, packet: &[u8], transport: Transport) -> (Action, Vec<u8>) {
        let Self { table, search, style, far, dice } = self;
        let view = View { table: table.as_ref(), search, style: *style, far: *far };
        let mut out = b"left over".to_vec();
        let action = answer(packet, &view, transport, dice, &mut out);
        (action, out)
    }

    fn answered(&mut self, packet: &[u8]) -> Message {
        let (action, out) = self.decide(packet, Transport::Udp);
        assert_eq!(action, Action::Answer);
        read(&out)
    }

    fn relayed(&mut self, packet: &[u8]) -> Errand {
        match self.decide(packet, Transport::Udp).0 {
            Action::Relay(errand) => errand,
            action => panic!("{action:?}"),
        }
    }
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
    packet.extend_from_slice(edns.as_ref().map_or(&[], |opt| &opt[..]));
    packet
}

fn opt(payload: u16, version: u8) -> [u8; 11] {
    let [p0, p1] = payload.to_be_bytes();
    [0, 0, 41, p0, p1, 0, version, 0x80, 0, 0, 0]
}

fn read(out: &[u8]) -> Message {
    let mut decoder = BinDecoder::new(out);
    let message = Message::read(&mut decoder).unwrap();
    assert!(decoder.is_empty(), "octets behind the message");
    message
}

fn lines(message: &Message) -> Vec<String> {
    message.answers.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_table_everything_is_relayed() {
    for style in [Style::Plain, Style::Istio] {
        let mut mesh = Mesh { table: None, ..Mesh::new(style) };
        let errand = mesh.relayed(&query("web", kind::A, IN, Some(opt(1232, 0))));
        let edns = Some(Edns { payload: 1232, version: 0, dnssec_ok: true });
        assert_eq!(errand, Errand { question_end: 21, limit: 1232, edns, known: false, style });
    }
}

#[test]
fn what_is_relayed_is_as_large_as_the_client_takes_it_or_as_it_may_travel() {
    let mut mesh = Mesh { table: None, ..Mesh::new(Style::Plain) };
    for (edns, near, far) in [
        (None, 512, 512),
        (Some(opt(1024, 0)), 1024, 1024),
        (Some(opt(4096, 0)), 4096, 1232),
        (Some(opt(65535, 0)), 16384, 1232),
    ] {
        let packet = query("web", kind::A, IN, edns);
        for (afar, limit) in [(false, near), (true, far)] {
            mesh.far = afar;
            assert_eq!(mesh.relayed(&packet).limit, limit, "{edns:?}");
            let (Action::Relay(by_tcp), _) = mesh.decide(&packet, Transport::Tcp) else { panic!() };
            assert_eq!(by_tcp.limit, 65535);
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_a_header_alone() {
    // what came → what is said, in our style and in Istio's
    let cases: [(&[u8], [&[u8]; 2]); 3] = [
        (b"\x01\0\0\x02\0\0\0\0\0\0rest", [b"\x81\x81", b"\x81\x01"]),
        (b"\x29\0\0\x01\0\0\0\0\0\0rest", [b"\xa9\x84", b"\xa9\x04"]),
        (b"\x07\xff\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01", [b"\x81\x81", b"\x83\xb1"]),
    ];
    for (rest, said) in cases {
        for (style, flags) in [Style::Plain, Style::Istio].into_iter().zip(said) {
            let packet = [b"\xab\xcd", rest].concat();
            let (action, out) = Mesh::new(style).decide(&packet, Transport::Udp);
            assert_eq!(action, Action::Refuse);
            assert_eq!(out, [b"\xab\xcd", flags, &[0; 8]].concat(), "{}", rest.escape_ascii());
        }
    }
}

#[test]
fn a_query_that_is_longer_than_it_may_be_is_refused() {
    let mut mesh = Mesh::new(Style::Plain);
    let mut packet = query("web", kind::A, IN, None);
    for (more, action) in [(0, Action::Answer), (1, Action::Refuse)] {
        packet.resize(MAX_QUERY + more, 0);
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_eq!(mesh.decide(&packet, transport).0, action, "{transport:?}");
        }
    }
}

#[test]
fn responses_and_scraps_are_dropped() {
    for style in [Style::Plain, Style::Istio] {
        let mut mesh = Mesh::new(style);
        assert_eq!(mesh.decide(&[0; 11], Transport::Udp).0, Action::Drop);
        assert_eq!(mesh.decide(b"", Transport::Tcp).0, Action::Drop);
        let mut response = query("web", kind::A, IN, None);
        response[2] |= flag::RESPONSE;
        assert_eq!(mesh.decide(&response, Transport::Udp).0, Action::Drop);
    }
}

#[test]
fn a_failure_repeats_the_question() {
    let mut packet = query("web.Elsewhere", kind::A, IN, Some(opt(1232, 0)));
    packet[3] |= flag::CHECKING_DISABLED;
    for (style, low, edns) in [(Style::Plain, 0x92, true), (Style::Istio, 0x12, false)] {
        let errand = Mesh::new(style).relayed(&packet);
        let mut out = Vec::new();

        fail(&packet, &errand, &mut out);

        assert_eq!(out[..4], [0xab, 0xcd, 0x81, low]);
        let message = read(&out);
        assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(message.queries[0].to_string(), "web.Elsewhere. IN A");
        assert_eq!(message.edns.is_some(), edns);
    }
}
