//! Services made into what an Envoy and a resolver are told.
//!
//! Values in, values out, and the same for the same in every process. What is true of all of it:
//!
//! - Every resource is called `hawser/…`, so that none is ever taken for one of istiod's.
//! - Services that speak HTTP meet in one listener for each port, and are told apart by `Host`: one
//!   more of them changes no listener.
//! - A stock Envoy takes it.

mod access;
mod chain;
mod cluster;
mod doors;
mod inbound;
mod listener;
mod message;
mod names;
mod route;
mod snippet;
mod tls;
mod trial;

use std::{collections::BTreeMap, num::NonZeroU16};

use bytes::Bytes;
use hawser_proto::type_url;
use prost::Message;

use crate::{
    addresses::Addresses,
    model::{Service, Services},
};
use doors::Doors;

pub use trial::Trial;

/// What follows from a file: per type URL, the resources by their names; the name table is one of them
/// (`type_url::NAME_TABLE`, with the empty name).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made(pub BTreeMap<&'static str, BTreeMap<String, Resource>>);

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Changes when the resource does, and is the same for the same resource in every process.
    pub version: String,
    /// The message, as the value of an `Any`.
    pub body: Bytes,
}

/// What of this machine goes into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Local {
    /// What is added to ports below 1024 where the ports may not be taken; 0 where they may.
    pub low_ports: u16,
    /// The namespace of this machine: services of it are called by their bare names.
    pub namespace: String,
}

/// What there was of that type and name, if anything was.
pub type Had<'a> = dyn Fn(&str, &str) -> Option<Bytes> + 'a;

/// Makes all of it.
pub fn make(services: &Services, addresses: &Addresses, local: &Local) -> Made {
    remake(services, addresses, local, &|_, _| None)
}

/// Makes all of it. What is as it was shares the memory of that: of many thousands an edit changes a
/// few, and they are not to be there twice.
pub fn remake(services: &Services, addresses: &Addresses, local: &Local, had: &Had<'_>) -> Made {
    let doors = Doors::of(services, addresses, local);
    let mut made = Making { made: Made::default(), had };
    for service in &services.services {
        let cluster = cluster::of(service, services);
        made.put(type_url::CLUSTER, &service.cluster(), &cluster);
    }
    for (&port, there) in &doors.http {
        made.add(type_url::ROUTE, &route::name(port), route::of(port, there, local));
    }
    for (&door, lead) in &doors.doors {
        made.put(type_url::LISTENER, &door.name(), &listener::of(door, lead, &doors, services));
    }
    for inbound in &services.inbound {
        let name = inbound::name(inbound);
        made.put(type_url::CLUSTER, &name, &inbound::cluster(inbound));
        made.put(type_url::LISTENER, &name, &inbound::listener(inbound, services));
    }
    made.add(type_url::NAME_TABLE, "", names::of(services, addresses));
    made.made
}

impl Local {
    /// The port that is listened on for what programs know by this one.
    pub fn port(&self, port: NonZeroU16) -> u16 {
        match port.get() {
            low @ ..1024 => low.saturating_add(self.low_ports),
            port => port,
        }
    }
}

impl Service {
    /// What its cluster is called.
    pub fn cluster(&self) -> String {
        format!("hawser/{}/{}/{}", self.port, self.subset, self.host)
    }

    /// What a gateway knows it by.
    pub fn sni(&self) -> String {
        format!("outbound_.{}_.{}_.{}", self.port, self.subset, self.host)
    }
}

/// What is being made.
struct Making<'a> {
    made: Made,
    had: &'a Had<'a>,
}

impl Making<'_> {
    fn put(&mut self, type_url: &'static str, name: &str, message: &impl Message) {
        self.add(type_url, name, message.encode_to_vec().into());
    }

    fn add(&mut self, type_url: &'static str, name: &str, body: Bytes) {
        let body = (self.had)(type_url, name).filter(|had| *had == body).unwrap_or(body);
        let resource = Resource { version: format!("{:016x}", fnv(&body)), body };
        self.made.0.entry(type_url).or_default().insert(name.to_owned(), resource);
    }
}

/// FNV-1a: of a changed resource it differs, and that is all that is asked.
fn fnv(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
