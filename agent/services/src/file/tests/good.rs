//! Files that make sense, and what is filled in.

use std::{net::Ipv4Addr, num::NonZeroU16, time::Duration};

use super::*;
use crate::model::{Callers, Gateway, Outliers, Protocol, Range, ServerCertificate, Service};

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn place(line: u32) -> Place {
    Place { file: PathBuf::from("services.yaml"), line }
}

#[test]
fn the_least_that_can_be_said_has_its_defaults() {
    let read = services(
        "gateways: gw.example\n\
         services:\n\
         - {host: reviews.prod.svc.cluster.local, port: 9080, identity: ns/prod/sa/reviews}\n",
    )
    .unwrap();

    let gateway = Gateway {
        name: "gw.example".to_owned(),
        host: "gw.example".to_owned(),
        port: port(15443),
        locality: String::new(),
        priority: 0,
    };
    let service = Service {
        host: "reviews.prod.svc.cluster.local".to_owned(),
        aliases: Vec::new(),
        port: port(9080),
        local_port: port(9080),
        protocol: Protocol::Http,
        identities: vec!["spiffe://cluster.local/ns/prod/sa/reviews".to_owned()],
        subset: String::new(),
        gateways: Vec::new(),
        timeout: Duration::ZERO,
        connect_timeout: Duration::from_secs(5),
        retries: 2,
        outliers: Some(Outliers { errors: 5, ejection: Duration::from_secs(30) }),
        transcode: None,
        filters: Vec::new(),
        place: place(3),
    };
    assert_eq!(
        read,
        Services {
            trust_domain: "cluster.local".to_owned(),
            gateways: vec![gateway],
            range: Range::DEFAULT,
            locality: String::new(),
            services: vec![service],
            inbound: Vec::new(),
            forwarder: None,
            access_log: None,
        }
    );
}

#[test]
fn everything_that_can_be_said_is_taken() {
    let read = services(WHOLE).unwrap();

    assert_eq!(read.trust_domain, "mesh.example");
    assert_eq!(read.range, Range("127.241.0.0/16".parse().unwrap()));
    assert_eq!(read.locality, "eu-west-1/a");
    assert_eq!(read.access_log, Some(PathBuf::from("/var/log/hawser/access.log")));
    let gateways: Vec<_> = read
        .gateways
        .iter()
        .map(|of| (of.name.as_str(), of.host.as_str(), of.port.get(), of.priority))
        .collect();
    assert_eq!(
        gateways,
        [("first", "gw1.example", 15443, 0), ("2001:db8::1", "2001:db8::1", 15444, 1)]
    );
    let Service { aliases, subset, gateways, timeout, connect_timeout, retries, outliers, .. } =
        read.services.first().unwrap();
    assert_eq!((aliases.join(" "), subset.as_str()), ("reviews rv".to_owned(), "v1"));
    assert_eq!(gateways.join(" "), "first 2001:db8::1");
    assert_eq!(*timeout, Duration::from_millis(1500));
    assert_eq!((*connect_timeout, *retries), (Duration::from_millis(250), 0));
    assert_eq!(outliers, &Some(Outliers { errors: 3, ejection: Duration::from_secs(60) }));
    let [inbound] = read.inbound.as_slice() else { panic!("{:?}", read.inbound) };
    assert_eq!((inbound.address, inbound.port), (Ipv4Addr::UNSPECIFIED.into(), port(8443)));
    assert_eq!(inbound.to, (Ipv4Addr::LOCALHOST.into(), port(8080)));
    let callers = ["spiffe://mesh.example/ns/prod/sa/*", "spiffe://other.example/ns/a/sa/b"];
    assert_eq!(inbound.callers, Callers::These(callers.map(str::to_owned).to_vec()));
    let forwarder = read.forwarder.unwrap();
    assert_eq!(forwarder.address, Ipv4Addr::new(10, 0, 0, 5));
    assert_eq!(forwarder.allow.len(), 2);
    assert_eq!(forwarder.tls, Some(ServerCertificate::Own));
}

#[test]
fn a_service_is_there_once_for_each_of_its_ports_in_the_order_of_hosts() {
    let read = services(
        "gateways: [gw.example]\n\
         services:\n\
         - host: zebra.example\n  \
           ports: [81, {port: 80, local_port: 8080, retries: 1}, {port: 5432, protocol: tcp}]\n  \
           retries: 7\n  \
           identity: [ns/z/sa/a, ns/z/sa/b]\n\
         - {host: ant.example, port: 80, identity: ns/a/sa/a}\n",
    )
    .unwrap();

    let seen: Vec<_> = read
        .services
        .iter()
        .map(|of| (of.host.as_str(), of.port.get(), of.local_port.get(), of.protocol, of.retries))
        .collect();
    assert_eq!(
        seen,
        [
            ("ant.example", 80, 80, Protocol::Http, 2),
            ("zebra.example", 80, 8080, Protocol::Http, 1),
            ("zebra.example", 81, 81, Protocol::Http, 7),
            ("zebra.example", 5432, 5432, Protocol::Tcp, 0),
        ]
    );
    assert!(read.services.iter().skip(1).all(|of| of.identities.len() == 2));
}

#[test]
fn gateways_are_in_the_order_of_their_priorities() {
    let read = services(
        "gateways:\n\
         - {address: a.example, priority: 2}\n\
         - b.example\n\
         - {address: c.example, priority: 1}\n\
         services: []\n",
    )
    .unwrap();

    let names: Vec<_> = read.gateways.iter().map(|of| of.name.as_str()).collect();
    assert_eq!(names, ["b.example", "c.example", "a.example"]);
}

#[test]
fn who_has_to_answer_may_be_written_in_several_ways() {
    let cases = [
        ("ns/prod/sa/reviews", "spiffe://cluster.local/ns/prod/sa/reviews"),
        ("ns/prod/sa/*", "spiffe://cluster.local/ns/prod/sa/*"),
        ("ns/prod/sa/re*", "spiffe://cluster.local/ns/prod/sa/re*"),
        ("ns/prod/*", "spiffe://cluster.local/ns/prod/*"),
        ("ns/*", "spiffe://cluster.local/ns/*"),
        ("spiffe://a.b/c/D-1_.x", "spiffe://a.b/c/D-1_.x"),
    ];
    for (written, whole) in cases {
        assert_eq!(words::identity(written, "cluster.local").as_deref(), Some(whole));
    }
}

#[test]
fn filters_are_json_with_what_plain_words_mean() {
    let read = services(
        "gateways: gw\n\
         services:\n\
         - host: a.example\n  \
           port: 80\n  \
           identity: ns/a/sa/a\n  \
           filters:\n  \
           - name: envoy.filters.http.lua\n    \
             typed_config:\n      \
               \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\n      \
               words: [off, 'true', true, ~, '', 1.10, -3, 0x10, 1e3, 1.2.3, 18446744073709551615]\n      \
               default_source_code:\n        \
                 inline_string: |\n          \
                   function envoy_on_request(handle)\n          \
                   end\n",
    )
    .unwrap();

    let [snippet] = read.services.first().unwrap().filters.as_slice() else { panic!() };
    let code = "function envoy_on_request(handle)\nend\n";
    assert_eq!((snippet.name.as_str(), &snippet.place), ("envoy.filters.http.lua", &place(7)));
    assert_eq!(
        snippet.config,
        serde_json::json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "words": ["off", "true", true, null, "", 1.1, -3, 16, 1000.0, "1.2.3", u64::MAX],
            "default_source_code": {"inline_string": code},
        })
    );
}

#[test]
fn an_access_log_is_a_file_or_the_journal() {
    let log = |word: &str| services(&format!("services: []\naccess_log: {word}\n")).unwrap();

    assert_eq!(log("/a/b").access_log, Some(PathBuf::from("/a/b")));
    assert_eq!(log("journal").access_log, Some(PathBuf::from("/dev/stdout")));
    assert_eq!(log("stdout").access_log, Some(PathBuf::from("/dev/stdout")));
}

#[test]
fn files_that_are_named_stand_beside_the_one_that_names_them() {
    let text = "services: []\n\
                forwarder: {address: 10.0.0.5, allow: 10.0.0.0/8, tls: {chain: a.pem, key: /b.pem}}\n";
    let read = parse(&[named("/etc/hawser/services.yaml", text)], "cluster.local").unwrap();

    let tls = ServerCertificate::Files { chain: "/etc/hawser/a.pem".into(), key: "/b.pem".into() };
    assert_eq!(read.forwarder.unwrap().tls, Some(tls));
}

#[test]
fn a_machine_that_is_only_called_needs_no_gateway() {
    let read = services("inbound: [{port: 8443, to: 127.0.0.1:8080, callers: anybody}]\n").unwrap();

    assert_eq!(read.inbound.first().map(|of| &of.callers), Some(&Callers::Anybody));
}

/// As it stands in the documentation.
pub(super) const WHOLE: &str = r#"
trust_domain: mesh.example
addresses: 127.241.0.0/16
locality: eu-west-1/a
access_log: /var/log/hawser/access.log
gateways:
  - address: gw1.example
    name: first
    locality: eu-west-1/a
    priority: 0
  - {address: "[2001:db8::1]:15444", priority: 1}
services:
  - host: Reviews.prod.svc.cluster.local.
    port: 9080
    local_port: 9080
    protocol: http
    identity: ns/prod/sa/reviews
    subset: v1
    aliases: [reviews, rv]
    gateways: [first, "2001:db8::1"]
    timeout: 1.5s
    connect_timeout: 250ms
    retries: 0
    outliers: {errors: 3, ejection: 1m}
inbound:
  - port: 8443
    address: 0.0.0.0
    to: 8080
    protocol: http
    callers: [ns/prod/sa/*, spiffe://other.example/ns/a/sa/b]
forwarder:
  address: 10.0.0.5
  allow: [10.0.0.0/8, 192.168.0.0/16]
  tls: own
"#;
