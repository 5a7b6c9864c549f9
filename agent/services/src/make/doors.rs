//! Where programs of this machine find the services.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::Local;
use crate::{
    addresses::Addresses,
    model::{Protocol, Service, Services},
};

/// An address and a port that are listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Door(pub(super) SocketAddr);

/// Where a door leads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Lead<'a> {
    /// To whatever service of that port a request names.
    Http,
    /// To this one.
    Tcp(&'a Service),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Doors<'a> {
    /// What speaks HTTP, by the port that is listened on.
    pub(super) http: BTreeMap<u16, Vec<&'a Service>>,
    /// What is listened on.
    pub(super) doors: BTreeMap<Door, Lead<'a>>,
}

impl<'a> Doors<'a> {
    pub(super) fn of(services: &'a Services, addresses: &Addresses, local: &Local) -> Self {
        let mut all = Self::default();
        for service in &services.services {
            let port = local.port(service.local_port);
            let door = Door::new(addresses.of(services, &service.host), port);
            if service.protocol == Protocol::Tcp {
                all.doors.insert(door, Lead::Tcp(service));
            } else {
                all.http.entry(port).or_default().push(service);
                all.doors.entry(door).or_insert(Lead::Http);
            }
        }
        all
    }
}

impl Door {
    fn new(address: IpAddr, port: u16) -> Self {
        Self(SocketAddr::new(address, port))
    }

    /// What its listener is called.
    pub(super) fn name(self) -> String {
        format!("hawser/{}", self.0)
    }
}
