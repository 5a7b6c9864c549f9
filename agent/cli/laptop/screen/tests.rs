//! What somebody at a terminal reads.

use std::{sync::Arc, time::SystemTime};

use hawser_services::{
    Addresses,
    file::{self, Text},
};

use super::*;
use crate::config::services::Wins;

/// A file of services that is in use.
fn standing(text: &str, low_ports: u16) -> Standing {
    let texts = [Text { path: "services.yaml".into(), text: text.to_owned() }];
    let services = file::parse(&texts, "cluster.local").unwrap();
    let addresses = Addresses::default().assign(&services).unwrap();
    Standing {
        file: "services.yaml".into(),
        beside: false,
        wins: Wins::File,
        services: Arc::new(services),
        addresses: Arc::new(addresses),
        since: SystemTime::UNIX_EPOCH,
        kept: false,
        problems: Vec::new(),
        wrong_since: None,
        conflicts: Vec::new(),
        low_ports,
    }
}

fn lines(standing: &Standing, dns: Option<&str>) -> String {
    let mut text = String::new();
    let dns = dns.map(|dns| dns.parse().unwrap());
    let screen = Screen::of(standing, Path::new("/home/ada/my state"));
    screen.lines(dns, |line| text.push_str(&format!("{line}\n")));
    text
}

const SERVICES: &str = "\
gateways: [gw1.example.com, '[2001:db8::1]:8443']
services:
  - {host: reviews.prod.svc.cluster.local, port: 80, identity: ns/prod/sa/reviews, aliases: [reviews]}
  - {host: cart.prod.svc.cluster.local, port: 7070, protocol: grpc, identity: ns/prod/sa/cart}
  - {host: db.legacy.example.com, port: 5432, protocol: tcp, identity: ns/prod/sa/db}
";

#[test]
fn each_service_has_its_line_and_names_have_a_way_here() {
    let text = lines(&standing(SERVICES, 10_000), Some("127.0.0.1:15053"));

    let expected = "\
NAME                            ADDRESS            CALL IT
cart.prod.svc.cluster.local     127.240.0.1:7070   cart.prod.svc.cluster.local:7070 (gRPC)
db.legacy.example.com           127.240.0.2:5432   db.legacy.example.com:5432 (TCP)
reviews.prod.svc.cluster.local  127.240.0.1:10080  http://reviews.prod.svc.cluster.local:10080

They are called through gw1.example.com:15443, [2001:db8::1]:8443.
Their names are answered at 127.0.0.1:15053: `dig @127.0.0.1 -p 15053 cart.prod.svc.cluster.local`.
For every program of this machine, once, one of:
  printf '[Resolve]\\nDNS=127.0.0.1:15053\\nDomains=~legacy.example.com ~svc.cluster.local\\n' | sudo \
install -D -m 644 /dev/stdin /etc/systemd/resolved.conf.d/hawser.conf && sudo systemctl restart \
systemd-resolved
  in dnsmasq.conf: server=/legacy.example.com/127.0.0.1#15053
  in dnsmasq.conf: server=/svc.cluster.local/127.0.0.1#15053
  hawser laptop --print-hosts | sudo tee -a /etc/hosts
`hawser status --root '/home/ada/my state'` says how it is. Ctrl-C ends it.
";
    assert_eq!(text, expected);
}

#[test]
fn without_dns_there_are_lines_for_hosts() {
    let standing = standing(SERVICES, 0);
    let text = lines(&standing, None);
    assert!(text.contains("Names are not answered (dns.enabled)"), "{text}");
    assert!(text.contains("http://reviews.prod.svc.cluster.local\n"), "{text}");

    let mut lines = Vec::new();
    hosts(&standing, |line| lines.push(line.to_owned()));
    let expected = [
        "127.240.0.1 cart.prod.svc.cluster.local",
        "127.240.0.2 db.legacy.example.com",
        "127.240.0.1 reviews.prod.svc.cluster.local reviews",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn more_than_anybody_reads_are_counted() {
    let mut text = "gateways: gw.example.com\nservices:\n".to_owned();
    for number in 0..60 {
        text.push_str(&format!(
            "  - {{host: s{number:02}.prod.svc.cluster.local, port: 80, identity: ns/a/sa/b}}\n"
        ));
    }
    let text = lines(&standing(&text, 0), Some("127.0.0.1:53"));
    assert!(text.contains("s49.prod"), "{text}");
    assert!(!text.contains("s50.prod"), "{text}");
    assert!(text.contains("and 10 more: `hawser services show` lists all"), "{text}");
}
