//! The file of services in use: read at the start, followed, and kept for the day it is damaged.
//!
//! - What is in use is whole: a file that is wrong anywhere changes nothing, and is told of with every
//!   line that is wrong.
//! - What was in use last is kept as it was read. A start with a file that is no good goes on with it.
//! - A name keeps its address for as long as it is in the file, over restarts and edits.

mod follow;
mod kept;
pub mod names;
mod sources;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use hawser_proto::{Names, type_url};
use hawser_services::{
    Addresses, Local, Made, Place, Problem, Problems, Services,
    file::{self, Text},
    model::Service,
};
use hawser_state::Store;
use hawser_xds::{Supplied, Supply};

use crate::config::{
    Config,
    services::{Services as Settings, Wins},
};

pub(crate) use follow::{complain, follow};
pub(crate) use sources::{Followed, Sources};

/// What is known of the file of services.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Where it is: a file, or a directory of them.
    pub file: PathBuf,
    /// Whether there is a mesh besides.
    pub beside: bool,
    /// Who is believed about a name that both have.
    pub wins: Wins,
    /// What is in use.
    pub services: Arc<Services>,
    /// The addresses of its names.
    pub addresses: Arc<Addresses>,
    /// Since when that is in use.
    pub since: SystemTime,
    /// Whether it is what was kept from before, because the file is no good.
    pub kept: bool,
    /// What is wrong with the file as it is now: each with its line. None of it is in use.
    pub problems: Vec<String>,
    /// Since when something is wrong with it.
    pub wrong_since: Option<SystemTime>,
    /// Names that istiod has too.
    pub conflicts: Vec<String>,
    /// What is added to ports below 1024.
    pub low_ports: u16,
}

impl Standing {
    /// Where programs of this machine, or those that it calls for, find a service.
    pub fn port(&self, service: &Service) -> u16 {
        local_port(service, self.low_ports)
    }
}

/// The port that programs use.
pub(crate) fn local_port(service: &Service, low_ports: u16) -> u16 {
    Local { low_ports, ..Local::default() }.port(service.local_port)
}

/// What is to be read, and how.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) settings: Settings,
    pub(crate) trust_domain: String,
    pub(crate) namespace: String,
}

/// What holds at the start.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) wanted: Wanted,
    pub(crate) standing: Standing,
    pub(crate) supply: Arc<Supply>,
    texts: Vec<Text>,
}

/// What was read, and makes sense.
struct Read {
    texts: Vec<Text>,
    services: Services,
}

impl Wanted {
    /// None where there is no file of services.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let settings = config.services.clone()?;
        let id = &config.node.id;
        let [trust_domain, namespace] = [id.trust_domain(), id.namespace()].map(str::to_owned);
        Some(Self { settings, trust_domain, namespace })
    }

    /// Reads the file; or all that is wrong with it.
    pub(crate) fn check(&self) -> Result<Services, Problems> {
        let services = self.read()?.services;
        self.addresses(&Addresses::default(), &services)?;
        Ok(services)
    }

    fn read(&self) -> Result<Read, Problems> {
        self.understand(file::texts(&self.settings.file)?)
    }

    fn understand(&self, texts: Vec<Text>) -> Result<Read, Problems> {
        let services = file::parse(&texts, &self.trust_domain)?;
        file::lifted(&services, self.settings.low_ports)?;
        Ok(Read { texts, services })
    }

    /// The addresses of these services, among them those that names have had.
    fn addresses(&self, before: &Addresses, services: &Services) -> Result<Addresses, Problems> {
        before.assign(services).map_err(|full| {
            Problems(vec![Problem {
                place: Place { file: self.settings.file.clone(), line: 0 },
                what: "addresses".to_owned(),
                found: format!("{} hosts", full.hosts),
                expected: full.to_string(),
            }])
        })
    }

    /// What follows from them, after what there was `before`.
    fn supply(&self, services: &Services, addresses: &Addresses, before: &Supply) -> Arc<Supply> {
        let low_ports = self.settings.low_ports;
        let local = Local { low_ports, namespace: self.namespace.clone() };
        let had =
            |type_url: &str, name: &str| Some(before.0.get(type_url)?.get(name)?.body.clone());
        Arc::new(supply(hawser_services::remake(services, addresses, &local, &had)))
    }
}

/// What there is at the start: the file, or what was kept of it; or all that is wrong with the file,
/// if nothing was kept.
pub(crate) fn begin(wanted: Wanted, store: &Store) -> Result<Begun, Problems> {
    let before = kept::addresses(store);
    let assigned = |read: Read| {
        let addresses = wanted.addresses(&before, &read.services)?;
        Ok((read, addresses))
    };
    let (read, addresses, wrong) = match wanted.read().and_then(&assigned) {
        Ok((read, addresses)) => (read, addresses, None),
        Err(wrong) => {
            let kept = kept::texts(store).map(|texts| wanted.understand(texts));
            let Some(Ok((read, addresses))) = kept.map(|kept| kept.and_then(&assigned)) else {
                return Err(wrong);
            };
            (read, addresses, Some(wrong))
        }
    };
    let supply = wanted.supply(&read.services, &addresses, &Supply::default());
    let now = SystemTime::now();
    let standing = Standing {
        file: wanted.settings.file.clone(),
        beside: wanted.settings.beside,
        wins: wanted.settings.wins,
        services: Arc::new(read.services),
        addresses: Arc::new(addresses),
        since: now,
        kept: wrong.is_some(),
        wrong_since: wrong.as_ref().map(|_| now),
        problems: wrong.as_ref().map(told).unwrap_or_default(),
        conflicts: Vec::new(),
        low_ports: wanted.settings.low_ports,
    };
    match &wrong {
        None => kept::keep(store, &read.texts, &standing.addresses),
        Some(wrong) => complain(wrong, "what was in use before is used"),
    }
    Ok(Begun { wanted, standing, supply, texts: read.texts })
}

/// Each problem on a line of its own, as many as anybody reads.
fn told(problems: &Problems) -> Vec<String> {
    problems.0.iter().take(MOST_TOLD).map(ToString::to_string).collect()
}

fn supply(made: Made) -> Supply {
    let types = made.0.into_iter().map(|(type_url, resources)| {
        let resources = resources.into_iter().map(|(name, resource)| {
            (name, Supplied { version: resource.version, body: resource.body })
        });
        (type_url, resources.collect())
    });
    Supply(types.collect())
}

/// The names that are supplied.
pub(crate) fn names_of(supply: &Supply) -> Names {
    let table = supply.0.get(type_url::NAME_TABLE).and_then(|tables| tables.values().next());
    table.and_then(|table| Names::new(table.body.clone()).ok()).unwrap_or_default()
}

/// What has to be looked at again when it changes: the file, or the directory and what is in it, and
/// what they name.
fn watched(file: &Path, texts: &[Text], services: &Services) -> Vec<PathBuf> {
    let named = services.services.iter().filter_map(|service| service.transcode.as_ref());
    let named = named.map(|transcode| transcode.path.clone());
    let mut paths = vec![file.to_owned()];
    paths.extend(texts.iter().map(|text| text.path.clone()).chain(named));
    paths.sort();
    paths.dedup();
    paths
}

/// How many problems are told of.
const MOST_TOLD: usize = 50;
