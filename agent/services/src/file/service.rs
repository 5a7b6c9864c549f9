//! A service of the file, as many times as it has ports.

use std::{num::NonZeroU16, time::Duration};

use super::{
    at::{A_PORT, At, Judge, Section, port},
    filters, words,
};
use crate::model::{Outliers, Protocol, Service, Snippet, Transcode};

/// A service, and what the file calls it.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) service: Service,
    /// `services[3]`.
    pub(super) what: usize,
    /// Where its parts stand.
    pub(super) lines: Lines,
}

/// Where that stands which is judged when everything is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    pub(super) aliases: u32,
    pub(super) gateways: u32,
    pub(super) port: u32,
}

/// What may be said of all ports of a service, or of one.
#[derive(Debug, Clone, Default)]
struct Settings {
    protocol: Option<Protocol>,
    local_port: Option<NonZeroU16>,
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    retries: Option<u32>,
    outliers: Option<Option<Outliers>>,
    transcode: Option<Transcode>,
    filters: Option<Vec<Snippet>>,
    /// What of it makes sense for requests alone: the key, and its line.
    requests: Vec<(&'static str, u32)>,
}

/// A port, what is said of it, where that begins, and the line of the number.
struct Port {
    number: NonZeroU16,
    settings: Settings,
    line: u32,
    number_line: u32,
}

/// Reads a service into one for each of its ports.
pub(super) fn read(
    (index, at): (usize, &At<'_>),
    trust_domain: &str,
    judge: &mut Judge,
    services: &mut Vec<Read>,
) {
    let Some(mut section) = Section::open(at, judge) else { return };
    let host = section.required(judge, "host", words::A_HOST, words::host);
    let ports = ports(&mut section, judge);
    let identities = section.some(judge, "identity", (words::AN_IDENTITY, MAX_LISTED), |text| {
        words::identity(text, trust_domain)
    });
    let subset = section.read(judge, "subset", "a subset: letters, digits, - and .", words::subset);
    let aliases = section.several(judge, "aliases", ("a name", MAX_LISTED), words::host);
    let gateways =
        section.several(judge, "gateways", ("the name of a gateway", MAX_LISTED), words::label);
    let base = Settings::read(&mut section, judge);
    let [aliased, through] =
        ["aliases", "gateways"].map(|key| section.field(key).map_or(at.line(), |at| at.line()));
    section.close(judge);
    base.suits(at, &ports, judge);
    let (Some(host), Some(identities)) = (host, identities) else { return };
    for Port { number, settings, line, number_line } in ports {
        let settings = settings.over(&base);
        let protocol = settings.protocol.unwrap_or(Protocol::Http);
        let requests = protocol != Protocol::Tcp;
        services.push(Read {
            what: index,
            lines: Lines { aliases: aliased, gateways: through, port: number_line },
            service: Service {
                host: host.clone(),
                aliases: aliases.clone().unwrap_or_default(),
                port: number,
                local_port: settings.local_port.unwrap_or(number),
                protocol,
                identities: identities.clone(),
                subset: subset.clone().unwrap_or_default(),
                gateways: gateways.clone().unwrap_or_default(),
                timeout: settings.timeout.filter(|_| requests).unwrap_or_default(),
                connect_timeout: settings.connect_timeout.unwrap_or(CONNECT),
                retries: if requests { settings.retries.unwrap_or(RETRIES) } else { 0 },
                outliers: settings.outliers.unwrap_or(Some(OUTLIERS)),
                transcode: settings.transcode.filter(|_| protocol == Protocol::Grpc),
                filters: settings.filters.filter(|_| requests).unwrap_or_default(),
                place: judge.place(line),
            },
        });
    }
}

/// The ports of a service: one, or a list of them.
fn ports(section: &mut Section<'_>, judge: &mut Judge) -> Vec<Port> {
    let own = section.at.line();
    let plain = |at: &At<'_>, line: u32, judge: &mut Judge| {
        let number = at.value(judge, A_PORT, port)?;
        Some(Port { number, settings: Settings::default(), line, number_line: at.line() })
    };
    let list = match [section.field("port"), section.field("ports")] {
        [Some(one), None] => return plain(&one, own, judge).into_iter().collect(),
        [None, Some(list)] => list,
        [Some(_), Some(both)] => {
            judge.wrong(&both, "both port and ports", "one of them");
            return Vec::new();
        }
        [None, None] => {
            judge.missing(section, "port", A_PORT);
            return Vec::new();
        }
    };
    let Some(items) = list.items().filter(|items| (1..=MAX_LISTED).contains(&items.len())) else {
        judge.unfit(&list, format!("a list of 1 to {MAX_LISTED} ports"));
        return Vec::new();
    };
    let mut ports = Vec::new();
    for item in items {
        if item.text().is_some() {
            ports.extend(plain(&item, item.line(), judge));
            continue;
        }
        let Some(mut section) = Section::open(&item, judge) else { continue };
        let number = section.required(judge, "port", A_PORT, port);
        let settings = Settings::read(&mut section, judge);
        let number_line = section.field("port").map_or(item.line(), |at| at.line());
        section.close(judge);
        let port = |number| Port { number, settings, line: item.line(), number_line };
        ports.extend(number.map(port));
    }
    ports
}

impl Settings {
    fn read(section: &mut Section<'_>, judge: &mut Judge) -> Self {
        let protocol = section.read(judge, "protocol", words::A_PROTOCOL, words::protocol);
        let local_port = section.read(judge, "local_port", A_PORT, port);
        let some_time = format!("{}, and longer than nothing", words::A_DURATION);
        let timeout = section.read(
            judge,
            "timeout",
            format!("{}, or 0 for as long as it takes", words::A_DURATION),
            words::duration,
        );
        let connect_timeout = section.read(judge, "connect_timeout", some_time, words::some_time);
        let retries = section.read(judge, "retries", "a number from 0 to 100", |text| {
            words::whole(text).filter(|retries: &u32| *retries <= 100)
        });
        let outliers = section.field("outliers").and_then(|at| outliers(&at, judge));
        let transcode = section.field("transcode").and_then(|at| filters::transcode(&at, judge));
        let filters = section.field("filters").map(|at| filters::snippets(&at, judge));
        let requests = ["timeout", "retries", "transcode", "filters"]
            .into_iter()
            .filter_map(|key| Some((key, section.field(key)?.line())))
            .collect();
        Self {
            protocol,
            local_port,
            timeout,
            connect_timeout,
            retries,
            outliers,
            transcode,
            filters,
            requests,
        }
    }

    fn over(self, base: &Self) -> Self {
        Self {
            protocol: self.protocol.or(base.protocol),
            local_port: self.local_port.or(base.local_port),
            timeout: self.timeout.or(base.timeout),
            connect_timeout: self.connect_timeout.or(base.connect_timeout),
            retries: self.retries.or(base.retries),
            outliers: self.outliers.or_else(|| base.outliers.clone()),
            transcode: self.transcode.or_else(|| base.transcode.clone()),
            filters: self.filters.or_else(|| base.filters.clone()),
            requests: self.requests,
        }
    }

    /// Whether what is said suits what is spoken: that of one port its own protocol, that of all
    /// ports one of theirs.
    fn suits(&self, at: &At<'_>, ports: &[Port], judge: &mut Judge) {
        let protocol =
            |port: &Port| port.settings.protocol.or(self.protocol).unwrap_or(Protocol::Http);
        if ports.len() > 1
            && let Some(local) = self.local_port
        {
            let found = format!("{local} for {} ports", ports.len());
            let what = format!("{}.local_port", at.what());
            judge.at(at.line(), what, found, "a local_port in each of `ports`");
        }
        for key in self.requests.iter().filter(|_| !ports.is_empty()) {
            if !ports.iter().any(|port| fits(key.0, protocol(port))) {
                unsuitable(*key, at, judge);
            }
        }
        for port in ports {
            for key in &port.settings.requests {
                if !fits(key.0, protocol(port)) {
                    unsuitable(*key, at, judge);
                }
            }
        }
    }
}

fn fits(key: &str, protocol: Protocol) -> bool {
    match key {
        "transcode" => protocol == Protocol::Grpc,
        _ => protocol != Protocol::Tcp,
    }
}

fn unsuitable((key, line): (&str, u32), at: &At<'_>, judge: &mut Judge) {
    let expected = match key {
        "transcode" => "it with protocol grpc alone",
        _ => "it with protocol http, http2 or grpc alone",
    };
    judge.at(line, format!("{}.{key}", at.what()), "it with another protocol", expected);
}

fn outliers(at: &At<'_>, judge: &mut Judge) -> Option<Option<Outliers>> {
    if at.text() == Some("off") {
        return Some(None);
    }
    if at.text().is_some() || at.node.is_null() {
        judge.unfit(at, "off, or {errors: 5, ejection: 30s}");
        return None;
    }
    let mut section = Section::open(at, judge)?;
    let errors = section.read(judge, "errors", "a number from 1 to 1000", |text| {
        words::whole(text).filter(|errors: &u32| (1..=1000).contains(errors))
    });
    let ejection = section.read(judge, "ejection", words::A_DURATION, words::some_time);
    section.close(judge);
    Some(Some(Outliers {
        errors: errors.unwrap_or(OUTLIERS.errors),
        ejection: ejection.unwrap_or(OUTLIERS.ejection),
    }))
}

const CONNECT: Duration = Duration::from_secs(5);
const RETRIES: u32 = 2;
const OUTLIERS: Outliers = Outliers { errors: 5, ejection: Duration::from_secs(30) };
const MAX_LISTED: usize = 64;
