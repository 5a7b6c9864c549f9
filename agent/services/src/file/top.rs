//! What is said once for all services: the mesh, its gateways, the ranges, the log, the forwarder.

use std::{net::IpAddr, num::NonZeroU16, path::PathBuf};

use super::{
    at::{At, Judge, Section, quoted},
    words,
};
use crate::{
    model::{Forwarder, Gateway, Range, ServerCertificate},
    problem::Place,
};

/// What fragments say together, each thing with its place.
#[derive(Debug, Default)]
pub(super) struct Top {
    pub(super) trust_domain: Once<String>,
    pub(super) range: Once<Range>,
    pub(super) locality: Once<String>,
    pub(super) access_log: Once<PathBuf>,
    pub(super) forwarder: Once<Forwarder>,
    pub(super) gateways: Vec<Gateway>,
    /// Where gateways are said.
    pub(super) gateways_at: Option<Place>,
    /// Whether one of them is wrong, so that nobody knows what it is called.
    pub(super) gateways_wrong: bool,
    /// Whether a list of services or ports was begun at all.
    pub(super) lists: bool,
}

/// What may be said once.
#[derive(Debug)]
pub(super) struct Once<T> {
    pub(super) value: Option<T>,
    said: Option<Place>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { value: None, said: None }
    }
}

impl<T> Once<T> {
    /// Takes what a fragment says, unless another has said it.
    fn take(&mut self, at: Option<&At<'_>>, value: Option<T>, judge: &mut Judge) {
        let Some(at) = at else { return };
        if let Some(before) = &self.said {
            judge.wrong(at, format!("it again, after {before}"), "it in one place");
            return;
        }
        self.said = Some(judge.place(at.line()));
        self.value = value;
    }
}

impl Top {
    /// Reads all of a fragment but its services and ports.
    pub(super) fn read(&mut self, section: &mut Section<'_>, judge: &mut Judge) {
        let at = section.field("trust_domain");
        let expected = "the name of a mesh such as cluster.local";
        let value = at.and_then(|at| at.value(judge, expected, words::trust_domain));
        self.trust_domain.take(at.as_ref(), value, judge);

        let at = section.field("addresses");
        let value = at.and_then(|at| at.value(judge, words::A_RANGE, words::range));
        self.range.take(at.as_ref(), value, judge);

        let at = section.field("locality");
        let value = at.and_then(|at| at.value(judge, words::A_LOCALITY, words::locality));
        self.locality.take(at.as_ref(), value, judge);

        let at = section.field("access_log");
        let value = at.and_then(|at| at.value(judge, "an absolute path, or journal", log));
        self.access_log.take(at.as_ref(), value, judge);

        let at = section.field("forwarder");
        let value = at.and_then(|at| forwarder(&at, judge));
        self.forwarder.take(at.as_ref(), value, judge);

        if let Some(at) = section.field("gateways") {
            let before = judge.problems.len();
            self.gateways(&at, judge);
            self.gateways_at.get_or_insert(judge.place(at.line()));
            self.gateways_wrong |= judge.problems.len() > before;
        }
    }

    fn gateways(&mut self, at: &At<'_>, judge: &mut Judge) {
        if at.text().is_some() {
            self.gateway(at, judge);
            return;
        }
        let Some(items) = at.items() else {
            return judge.unfit(at, "a list of gateways, or the address of one");
        };
        if items.len() > MAX_GATEWAYS {
            return judge.wrong(
                at,
                format!("{} gateways", items.len()),
                format!("at most {MAX_GATEWAYS}"),
            );
        }
        for item in items {
            self.gateway(&item, judge);
        }
    }

    fn gateway(&mut self, at: &At<'_>, judge: &mut Judge) {
        let Some(gateway) = gateway(at, judge) else { return };
        if self.gateways.iter().any(|other| other.name == gateway.name) {
            let found = format!("another gateway with the name {}", quoted(&gateway.name));
            return judge.wrong(at, found, "a name of its own for each");
        }
        self.gateways.push(gateway);
    }
}

fn gateway(at: &At<'_>, judge: &mut Judge) -> Option<Gateway> {
    let plain = |(host, port): (String, Option<NonZeroU16>)| Gateway {
        name: host.clone(),
        host,
        port: port.unwrap_or(EAST_WEST),
        locality: String::new(),
        priority: 0,
    };
    if at.text().is_some() {
        return at.value(judge, words::A_GATEWAY, words::gateway).map(plain);
    }
    let mut section = Section::open(at, judge)?;
    let address = section.required(judge, "address", words::A_GATEWAY, words::gateway);
    let name = section.read(judge, "name", "a name of letters, digits, - _ and .", words::label);
    let locality = section.read(judge, "locality", words::A_LOCALITY, words::locality);
    let priority = section.read(judge, "priority", "a number from 0 (first) to 127", |text| {
        words::whole(text).filter(|priority: &u8| *priority <= 127)
    });
    section.close(judge);
    let mut gateway = plain(address?);
    gateway.name = name.unwrap_or(gateway.name);
    gateway.locality = locality.unwrap_or_default();
    gateway.priority = priority.unwrap_or(0);
    Some(gateway)
}

fn log(text: &str) -> Option<PathBuf> {
    match text {
        // Envoy's standard output is the journal where systemd starts it.
        "journal" | "stdout" => Some(PathBuf::from("/dev/stdout")),
        _ => Some(PathBuf::from(text)).filter(|path| path.is_absolute()),
    }
}

fn forwarder(at: &At<'_>, judge: &mut Judge) -> Option<Forwarder> {
    let mut section = Section::open(at, judge)?;
    let expected = "the address of this machine that others call";
    let address = section.required(judge, "address", expected, |text| {
        text.parse().ok().filter(|ip: &IpAddr| words::callable(*ip))
    });
    let expected = "the ranges of those who may call, such as [10.0.0.0/8]";
    let allow = section.some(judge, "allow", (expected, MAX_ALLOWED), |text| text.parse().ok());
    let tls = section.field("tls").and_then(|at| certificate(&at, judge));
    section.close(judge);
    Some(Forwarder { address: address?, allow: allow?, tls })
}

fn certificate(at: &At<'_>, judge: &mut Judge) -> Option<ServerCertificate> {
    if at.text() == Some("own") {
        return Some(ServerCertificate::Own);
    }
    if at.text() == Some("off") {
        return None;
    }
    if at.text().is_some() || at.node.is_null() {
        judge.unfit(at, "own, off, or {chain: FILE, key: FILE}");
        return None;
    }
    let mut section = Section::open(at, judge)?;
    let path = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let chain = section.required(judge, "chain", "the path of a certificate in PEM", path);
    let key = section.required(judge, "key", "the path of its key in PEM", path);
    section.close(judge);
    Some(ServerCertificate::Files { chain: judge.beside(&chain?), key: judge.beside(&key?) })
}

/// The port of a gateway for what is between networks.
const EAST_WEST: NonZeroU16 = NonZeroU16::new(15443).unwrap();
const MAX_GATEWAYS: usize = 64;
const MAX_ALLOWED: usize = 256;
