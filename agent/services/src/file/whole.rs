//! What only shows when everything is known: who is whose name, and who takes whose port.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::IpAddr,
    num::NonZeroU16,
};

use super::{at::quoted, service::Read, top::Top};
use crate::{
    model::{Inbound, Protocol, Service, Services},
    problem::{Place, Problem},
};

/// Everything that does not go together.
pub(super) fn judged(top: &Top, services: &[Read], inbound: &[Inbound]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !top.gateways_wrong {
        gateways(top, services, &mut problems);
    }
    names(services, &mut problems);
    ports(services, &mut problems);
    sni(services, &mut problems);
    listeners(top, services, inbound, &mut problems);
    problems
}

fn problem(read: &Read, line: u32, key: &str, found: String, expected: String) -> Problem {
    let place = Place { file: read.service.place.file.clone(), line };
    Problem { place, what: format!("services[{}].{key}", read.what), found, expected }
}

/// Services go through gateways that are there.
fn gateways(top: &Top, services: &[Read], problems: &mut Vec<Problem>) {
    if top.gateways.is_empty() {
        problems.extend(services.first().map(|read| {
            Problem {
                place: top
                    .gateways_at
                    .clone()
                    .unwrap_or_else(|| Place { line: 0, ..read.service.place.clone() }),
                what: "gateways".to_owned(),
                found: String::new(),
                expected: "the address of an east-west gateway, through which services are reached"
                    .to_owned(),
            }
        }));
        return;
    }
    let known: HashSet<&str> = top.gateways.iter().map(|gateway| gateway.name.as_str()).collect();
    let listed = || {
        let names: Vec<&str> =
            top.gateways.iter().take(10).map(|gateway| gateway.name.as_str()).collect();
        format!("one of {}", names.join(", "))
    };
    let mut told = HashSet::new();
    for read in services {
        for name in &read.service.gateways {
            let place = (&read.service.place.file, read.lines.gateways, name);
            if !known.contains(name.as_str()) && told.insert(place) {
                let line = read.lines.gateways;
                problems.push(problem(read, line, "gateways", quoted(name), listed()));
            }
        }
    }
}

/// A name leads to one host.
fn names(services: &[Read], problems: &mut Vec<Problem>) {
    let mut owners: HashMap<&str, &Read> = HashMap::new();
    for read in services {
        owners.entry(read.service.host.as_str()).or_insert(read);
    }
    for read in services {
        for alias in &read.service.aliases {
            match owners.entry(alias) {
                Entry::Vacant(free) => {
                    free.insert(read);
                }
                Entry::Occupied(taken) => {
                    let other = &taken.get().service;
                    if other.host != read.service.host {
                        let found = format!("{alias}, which is {} ({})", other.host, other.place);
                        let expected = "a name that no other service has".to_owned();
                        problems.push(problem(
                            read,
                            read.lines.aliases,
                            "aliases",
                            found,
                            expected,
                        ));
                    }
                }
            }
        }
    }
    // A service with several ports says its aliases once.
    problems.dedup();
}

/// A port of a name leads to one service, and nothing is there twice.
fn ports(services: &[Read], problems: &mut Vec<Problem>) {
    let mut local: HashMap<(&str, NonZeroU16), &Read> = HashMap::new();
    let mut remote: HashMap<(&str, NonZeroU16, &str), &Read> = HashMap::new();
    for read in services {
        let own = &read.service;
        if let Some(other) = remote.insert((&own.host, own.port, &own.subset), read) {
            let found = format!("{}:{} again, after {}", own.host, own.port, other.service.place);
            let expected = "every port of a subset of a host once".to_owned();
            problems.push(problem(read, read.lines.port, "port", found, expected));
        } else if let Some(other) = local.insert((&own.host, own.local_port), read) {
            let found = format!(
                "{} on local port {}, where {} is",
                own.host, own.local_port, other.service.place
            );
            let expected = "a local_port of its own for each".to_owned();
            problems.push(problem(read, read.lines.port, "local_port", found, expected));
        }
    }
}

/// The name that TLS carries has its limit.
fn sni(services: &[Read], problems: &mut Vec<Problem>) {
    for read in services {
        let own = &read.service;
        let length = format!("outbound_.{}_.{}_.{}", own.port, own.subset, own.host).len();
        if length > MAX_SNI {
            let found = format!("a server name of {length} bytes (outbound_.{}_.…)", own.port);
            let expected = format!("host and subset that fit into {MAX_SNI} bytes with it");
            problems.push(problem(read, read.lines.port, "host", found, expected));
        }
    }
}

/// Nothing listens where something else does.
fn listeners(top: &Top, services: &[Read], inbound: &[Inbound], problems: &mut Vec<Problem>) {
    let mut taken: HashMap<NonZeroU16, Vec<(IpAddr, &Place)>> = HashMap::new();
    for own in inbound {
        let others = taken.entry(own.port).or_default();
        let meets =
            |ip: IpAddr| ip == own.address || ip.is_unspecified() || own.address.is_unspecified();
        if let Some((ip, place)) = others.iter().find(|(ip, _)| meets(*ip)) {
            problems.push(Problem {
                place: own.place.clone(),
                what: "inbound.port".to_owned(),
                found: format!("port {} of {ip}, which {place} has", own.port),
                expected: "a port of its own for each".to_owned(),
            });
        }
        others.push((own.address, &own.place));
    }
    let Some(forwarder) = &top.forwarder.value else { return };
    let mut ports: HashMap<NonZeroU16, &Read> = HashMap::new();
    for read in services {
        let own = &read.service;
        let clash = |(ip, _): &&(IpAddr, &Place)| *ip == forwarder.address || ip.is_unspecified();
        if let Some((_, place)) = taken.get(&own.local_port).and_then(|all| all.iter().find(clash))
        {
            let found = format!("port {}, where {place} listens for the mesh", own.local_port);
            let expected = "a port that inbound does not have".to_owned();
            problems.push(problem(read, read.lines.port, "local_port", found, expected));
        }
        let Some(other) = ports.insert(own.local_port, read) else { continue };
        let same = (&other.service.host, other.service.port) == (&own.host, own.port);
        let tcp = [own.protocol, other.service.protocol].contains(&Protocol::Tcp);
        if tcp && !same {
            let found = format!("port {}, where {} is", own.local_port, other.service.place);
            let expected =
                "a local_port of its own for each tcp service of a forwarder, which has one address"
                    .to_owned();
            problems.push(problem(read, read.lines.port, "local_port", found, expected));
        }
    }
}

/// Ports that meet when those of the system are raised.
pub(super) fn lifted(services: &Services, low_ports: u16) -> Vec<Problem> {
    let lifted = |service: &Service| match service.local_port.get() {
        low if low < LOW => low.saturating_add(low_ports),
        port => port,
    };
    // A forwarder has one address: what is not told apart by its name meets there.
    let alone =
        |service: &&Service| services.forwarder.is_some() && service.protocol == Protocol::Tcp;
    let tcp: HashSet<u16> = services.services.iter().filter(alone).map(lifted).collect();
    let mut problems = Vec::new();
    let mut taken: HashMap<(&str, u16), &Service> = HashMap::new();
    for own in services.services.iter().filter(|_| low_ports > 0) {
        let port = lifted(own);
        let host = if tcp.contains(&port) { "" } else { own.host.as_str() };
        let Some(other) = taken.insert((host, port), own) else { continue };
        if other.local_port != own.local_port {
            problems.push(Problem {
                place: own.place.clone(),
                what: format!("local_port of {}", own.host),
                found: format!(
                    "port {port} with services.low_ports = {low_ports}, where {} is too",
                    other.place
                ),
                expected: "a local_port of its own for each".to_owned(),
            });
        }
    }
    problems
}

/// Ports below that are for those who may.
const LOW: u16 = 1024;
const MAX_SNI: usize = 255;
