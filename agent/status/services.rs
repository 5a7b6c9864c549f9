//! What there is to say of the file of services: what of it is in use, and what is wrong with it.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::IpAddr,
    sync::Arc,
};

use hawser_rt::metrics::{Kind, Registry, Sample};
use hawser_services::{
    Addresses,
    model::{Gateway, Protocol, Service, Services},
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::seconds;
use crate::{config::services::Wins, services::Standing};

/// The file of services, as the running agent knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct ServicesStatus {
    /// The file, or the directory of them.
    pub file: String,
    /// Whether istiod tells of services besides. If not, there is no istiod on this machine.
    pub beside: bool,
    /// Who is believed about a name that both have: `file` or `mesh`.
    pub wins: String,
    /// Since when what is in use is. Seconds since 1970.
    pub since: u64,
    /// What is in use is what was kept from before, because the file was no good at the start.
    pub kept: bool,
    /// Ports of services that can be called.
    pub services: usize,
    /// The hosts that have them.
    pub hosts: usize,
    /// Ports of this machine that can be called.
    pub inbound: usize,
    /// Where names get their addresses.
    pub range: String,
    /// Where this machine calls for others, if it does.
    pub forwarder: Option<IpAddr>,
    /// The first of the gateways; the preferred first.
    pub gateways: Vec<GatewayStatus>,
    pub gateway_count: usize,
    /// The first of what is wrong with the file as it is now; none of that is in use.
    pub problems: Vec<String>,
    pub problem_count: usize,
    /// Since when something is wrong with it. Seconds since 1970.
    pub wrong_since: Option<u64>,
    /// The first of the names that istiod has too.
    pub conflicts: Vec<String>,
    pub conflict_count: usize,
}

/// A way into the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct GatewayStatus {
    pub name: String,
    /// Host and port.
    pub address: String,
    pub locality: String,
    /// Lower goes first.
    pub priority: u8,
}

/// One port of one service, in a list of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct ServiceRow {
    pub host: String,
    pub aliases: Vec<String>,
    pub port: u16,
    /// What programs of this machine call, before `services.low_ports` is added.
    pub local_port: u16,
    pub protocol: String,
    /// What its names resolve to.
    pub address: Option<IpAddr>,
    /// One of these has to answer.
    pub identities: Vec<String>,
    pub subset: String,
    /// The gateways that lead to it, by their names.
    pub gateways: Vec<String>,
    /// What gateways know it by.
    pub sni: String,
    /// Where it stands: file and line.
    pub place: String,
}

impl ServicesStatus {
    /// As it stands.
    pub(super) fn of(standing: &Standing) -> Self {
        let Standing { services, .. } = standing;
        let few = |all: &[String]| all.iter().take(MOST).cloned().collect();
        let range = services.range.0;
        Self {
            file: standing.file.display().to_string(),
            beside: standing.beside,
            wins: match standing.wins {
                Wins::File => "file",
                Wins::Mesh => "mesh",
            }
            .to_owned(),
            since: seconds(standing.since),
            kept: standing.kept,
            services: services.services.len(),
            hosts: hosts(services),
            inbound: services.inbound.len(),
            range: range.to_string(),
            forwarder: services.forwarder.as_ref().map(|own| own.address),
            gateways: services.gateways.iter().take(MOST).map(GatewayStatus::of).collect(),
            gateway_count: services.gateways.len(),
            problems: few(&standing.problems),
            problem_count: standing.problems.len(),
            wrong_since: standing.wrong_since.map(seconds),
            conflicts: few(&standing.conflicts),
            conflict_count: standing.conflicts.len(),
        }
    }

    /// Whether there is no istiod on this machine.
    pub fn is_alone(&self) -> bool {
        !self.beside
    }
}

impl GatewayStatus {
    fn of(gateway: &Gateway) -> Self {
        let Gateway { name, host, port, locality, priority } = gateway;
        let address = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let (name, locality) = (name.clone(), locality.clone());
        Self { name, address, locality, priority: *priority }
    }
}

impl ServiceRow {
    /// One of these services, with the addresses that hosts have.
    pub(crate) fn of(service: &Service, services: &Services, addresses: &Addresses) -> Self {
        let forwarder = services.forwarder.as_ref().map(|own| own.address);
        let all = || services.gateways.iter().map(|gateway| gateway.name.clone());
        let gateways = match service.gateways.as_slice() {
            [] => all().collect(),
            some => some.to_vec(),
        };
        Self {
            host: service.host.clone(),
            aliases: service.aliases.clone(),
            port: service.port.get(),
            local_port: service.local_port.get(),
            protocol: service.protocol.word().to_owned(),
            address: forwarder.or_else(|| addresses.0.get(&service.host).copied()),
            identities: service.identities.clone(),
            subset: service.subset.clone(),
            gateways,
            sni: sni(service),
            place: service.place.to_string(),
        }
    }
}

/// Every service, or those of one host: an array with one a line.
pub(super) fn write(
    standing: &Standing,
    host: Option<&str>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut before = "[\n";
    let wanted = |service: &&Service| host.is_none_or(|host| service.host == host);
    for service in standing.services.services.iter().filter(wanted) {
        out.write_all(before.as_bytes())?;
        let row = ServiceRow::of(service, &standing.services, &standing.addresses);
        serde_json::to_writer(&mut *out, &row)?;
        before = ",\n";
    }
    out.write_all(if before.starts_with('[') { b"[\n]\n" } else { b"\n]\n" })
}

/// Registers what is counted of it.
pub(crate) fn register(metrics: &Registry, standing: &watch::Receiver<Arc<Standing>>) {
    let one = |name: &str, help: &str, value: fn(&Standing) -> Option<f64>| {
        let standing = standing.clone();
        metrics.computed(name, help, &[], move || value(&standing.borrow()));
    };
    let help = "Ports of services in use from the file of services, by what is spoken.";
    let of = standing.clone();
    metrics.read("hawser_services", help, Kind::Gauge, move || by_protocol(&of.borrow()));
    one("hawser_services_gateways", "Gateways in the file of services.", |it| {
        Some(float(it.services.gateways.len()))
    });
    one("hawser_services_inbound", "Ports of this machine that the file opens.", |it| {
        Some(float(it.services.inbound.len()))
    });
    one("hawser_services_problems", "Problems that keep the file of services out of use.", |it| {
        Some(float(it.problems.len()))
    });
    one(
        "hawser_services_conflicts",
        "Names that are in the file of services and come from istiod too.",
        |it| Some(float(it.conflicts.len())),
    );
    one(
        "hawser_services_since_timestamp_seconds",
        "Since when what is in use of the file of services is, in seconds since 1970.",
        |it| {
            #[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
            let since = seconds(it.since) as f64;
            Some(since)
        },
    );
}

fn by_protocol(standing: &Standing) -> Vec<Sample> {
    let all = &standing.services.services;
    let sample = |protocol: &Protocol| Sample {
        labels: vec![("protocol", protocol.word().to_owned())],
        value: float(all.iter().filter(|service| service.protocol == *protocol).count()),
    };
    PROTOCOLS.iter().map(sample).collect()
}

fn hosts(services: &Services) -> usize {
    services.services.iter().map(|service| &service.host).collect::<BTreeSet<_>>().len()
}

/// What gateways know a service by.
pub(crate) fn sni(service: &Service) -> String {
    let Service { port, subset, host, .. } = service;
    format!("outbound_.{port}_.{subset}_.{host}")
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
fn float(number: usize) -> f64 {
    number as f64
}

const PROTOCOLS: [Protocol; 4] = [Protocol::Http, Protocol::Http2, Protocol::Grpc, Protocol::Tcp];
/// So many of each kind are told; how many there are is told besides.
const MOST: usize = 16;

#[cfg(test)]
mod tests;
