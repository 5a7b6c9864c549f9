//! What is said of a file of services.

use std::{collections::BTreeMap, num::NonZeroU16, time::Duration};

use hawser_services::{
    Addresses, Place,
    model::{Forwarder, Range},
};

use super::*;

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn service(host: &str, number: u16, protocol: Protocol) -> Service {
    Service {
        host: host.to_owned(),
        aliases: Vec::new(),
        port: port(number),
        local_port: port(number),
        protocol,
        identities: vec!["spiffe://cluster.local/ns/prod/sa/reviews".to_owned()],
        subset: String::new(),
        gateways: Vec::new(),
        timeout: Duration::ZERO,
        connect_timeout: Duration::from_secs(5),
        retries: 2,
        outliers: None,
        transcode: None,
        filters: Vec::new(),
        place: Place { file: "services.yaml".into(), line: 7 },
    }
}

fn standing() -> Standing {
    let gateway = |name: &str, host: &str| Gateway {
        name: name.to_owned(),
        host: host.to_owned(),
        port: port(15443),
        locality: String::new(),
        priority: 0,
    };
    let services = Services {
        range: Range::DEFAULT,
        gateways: vec![gateway("first", "gw.example"), gateway("second", "2001:db8::1")],
        services: vec![
            service("reviews.prod.svc.cluster.local", 9080, Protocol::Http),
            service("reviews.prod.svc.cluster.local", 5432, Protocol::Tcp),
        ],
        ..Services::default()
    };
    let address = ("reviews.prod.svc.cluster.local".to_owned(), [127, 240, 0, 2].into());
    Standing {
        file: "/etc/hawser/services.yaml".into(),
        beside: true,
        wins: Wins::Mesh,
        services: Arc::new(services),
        addresses: Arc::new(Addresses(BTreeMap::from([address]))),
        since: std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(7),
        kept: false,
        problems: Vec::new(),
        wrong_since: None,
        conflicts: vec!["reviews.prod.svc.cluster.local".to_owned()],
        low_ports: 0,
    }
}

#[test]
fn the_status_counts_what_is_in_use_and_names_the_ways_to_it() {
    let status = ServicesStatus::of(&standing());
    assert_eq!((status.services, status.hosts, status.since), (2, 1, 7));
    assert_eq!((status.wins.as_str(), status.is_alone()), ("mesh", false));
    let gateways: Vec<&str> = status.gateways.iter().map(|it| it.address.as_str()).collect();
    assert_eq!(gateways, ["gw.example:15443", "[2001:db8::1]:15443"]);
}

#[test]
fn what_is_long_is_told_in_part_and_counted_whole() {
    let mut standing = standing();
    standing.problems = vec!["wrong".to_owned(); 40];
    let status = ServicesStatus::of(&standing);
    assert_eq!((status.problems.len(), status.problem_count), (MOST, 40));
}

#[test]
fn every_service_is_a_line_of_the_list() {
    let mut standing = standing();
    let mut text = Vec::new();
    write(&standing, None, &mut text).unwrap();
    assert_eq!(text.iter().filter(|octet| **octet == b'\n').count(), 4);
    let rows: Vec<ServiceRow> = serde_json::from_slice(&text).unwrap();
    assert_eq!(rows[1].sni, "outbound_.5432_._.reviews.prod.svc.cluster.local");
    assert_eq!(rows[0].gateways, ["first", "second"]);
    assert_eq!(rows[0].address, Some([127, 240, 0, 2].into()));
    assert_eq!(rows[0].place, "services.yaml:7");

    text.clear();
    write(&standing, Some("elsewhere.prod.svc.cluster.local"), &mut text).unwrap();
    assert_eq!(serde_json::from_slice::<Vec<ServiceRow>>(&text).unwrap(), []);

    // Whoever calls through this machine calls its own address.
    let services = Services {
        forwarder: Some(Forwarder { address: [10, 0, 0, 5].into(), allow: Vec::new(), tls: None }),
        services: standing.services.services.clone(),
        ..Services::default()
    };
    standing.services = Arc::new(services);
    text.clear();
    write(&standing, None, &mut text).unwrap();
    let rows: Vec<ServiceRow> = serde_json::from_slice(&text).unwrap();
    assert_eq!(rows[0].address, Some([10, 0, 0, 5].into()));
}

#[test]
fn no_services_are_an_empty_list() {
    let standing = Standing { services: Arc::default(), ..standing() };
    let mut text = Vec::new();
    write(&standing, None, &mut text).unwrap();
    assert_eq!(serde_json::from_slice::<Vec<ServiceRow>>(&text).unwrap(), []);
}

#[test]
fn what_is_in_use_is_numbers_too() {
    let metrics = Registry::default();
    let (publish, standing) = watch::channel(Arc::new(standing()));
    register(&metrics, &standing);
    let text = metrics.render();
    for line in [
        "hawser_services{protocol=\"http\"} 1\n",
        "hawser_services{protocol=\"grpc\"} 0\n",
        "hawser_services_gateways 2\n",
        "hawser_services_problems 0\n",
        "hawser_services_conflicts 1\n",
        "hawser_services_since_timestamp_seconds 7\n",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    publish.send_modify(|standing| Arc::make_mut(standing).problems.push("wrong".to_owned()));
    assert!(metrics.render().contains("hawser_services_problems 1\n"));
}
