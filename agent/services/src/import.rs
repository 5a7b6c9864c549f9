//! A first file, made of what others print: `kubectl`, `istioctl`, or a list of names.
//!
//! What is taken over makes sense as a file; what cannot be reached through a gateway, or is not
//! known well enough, is left out and told. Nothing is asked of anybody: what was printed is all
//! there is.

mod envoy;
mod kube;
mod names;
mod written;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    path::Path,
};

use serde_json::Value;

use crate::{
    file::words,
    model::Protocol,
    problem::{Place, Problem, Problems},
};

/// What is not in the text.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The east-west gateways, as they are to stand in the file; those in the text if there are none.
    pub gateways: Vec<String>,
    /// The trust domain, if it is not the machine's.
    pub trust_domain: Option<String>,
    /// What names in the cluster end in: `cluster.local`.
    pub cluster_domain: String,
    /// The namespaces that are taken; all but the system's if empty.
    pub namespaces: Vec<String>,
}

/// A file, and what did not come into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The file.
    pub text: String,
    /// How many services are in it.
    pub services: usize,
    /// What is not, and why: a line for each.
    pub skipped: Vec<String>,
}

/// Makes a file of what was printed. `name` is what to call it where it makes no sense.
pub fn import(text: &str, name: &Path, wanted: &Wanted) -> Result<Imported, Problems> {
    let mut found = Found::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match Form::of(text) {
        Form::Json => match serde_json::from_str::<Value>(text) {
            Ok(value) => found.walk(&value, wanted),
            Err(error) => return Err(unread(name, error.line(), "JSON", &error.to_string())),
        },
        Form::Yaml => match yaml(text) {
            Ok(values) => values.iter().for_each(|value| found.walk(value, wanted)),
            Err((line, error)) => return Err(unread(name, line, "YAML", &error)),
        },
        Form::Table => envoy::table(text, &mut found),
        Form::Names => names::read(text, name, &mut found)?,
    }
    found.settle();
    if found.services.is_empty() {
        let expected = "services: of `kubectl get svc,serviceentry,pods -A -o json`, of `istioctl \
                        proxy-config cluster POD -o json`, or lines of HOST:PORT/PROTOCOL";
        let reason = match found.skipped.len() {
            0 => "none".to_owned(),
            all => format!("none that can be called, of {all}"),
        };
        return Err(Problems(vec![problem(name, 0, "the text", reason, expected)]));
    }
    Ok(written::file(&found, wanted))
}

/// A gateway as it is typed: what `gateways` of a file takes.
pub fn gateway(text: &str) -> Result<String, String> {
    match words::gateway(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("expected {}", words::A_GATEWAY)),
    }
}

/// A trust domain as it is typed.
pub fn trust_domain(text: &str) -> Result<String, String> {
    words::trust_domain(text)
        .ok_or_else(|| "expected the name of a mesh such as cluster.local".into())
}

/// How a text is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Yaml,
    /// What `istioctl proxy-config cluster` prints by itself.
    Table,
    Names,
}

impl Form {
    fn of(text: &str) -> Self {
        let said = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let first = text.lines().map(str::trim).find(said).unwrap_or_default();
        let yaml = |line: &str| {
            line == "---" || line.starts_with("- ") || line.contains(": ") || line.ends_with(':')
        };
        match first {
            line if line.starts_with(['{', '[']) => Self::Json,
            line if line.starts_with("SERVICE FQDN") => Self::Table,
            line if yaml(line) => Self::Yaml,
            _ => Self::Names,
        }
    }
}

/// What the text tells of.
#[derive(Debug, Default)]
struct Found {
    services: BTreeMap<String, Service>,
    /// Addresses of east-west gateways.
    gateways: BTreeSet<String>,
    /// Which accounts the programs of a namespace run as, by the labels of their pods.
    pods: Vec<Pod>,
    skipped: BTreeSet<String>,
}

/// A host, as far as it is told of.
#[derive(Debug, Default)]
struct Service {
    namespace: Option<String>,
    identities: BTreeSet<String>,
    ports: BTreeMap<NonZeroU16, Protocol>,
    /// The labels of its pods.
    selector: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Pod {
    namespace: String,
    account: String,
    labels: BTreeMap<String, String>,
}

impl Found {
    /// Looks for services, wherever they stand: in lists, in dumps, by themselves.
    fn walk(&mut self, value: &Value, wanted: &Wanted) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, wanted)),
            Value::Object(fields) => {
                let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default();
                let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
                match kind {
                    "Service" => kube::service(value, wanted, self),
                    "ServiceEntry" => kube::entry(value, wanted, self),
                    "Pod" => kube::pod(value, self),
                    _ if name.starts_with("outbound|") => envoy::cluster(name, value, self),
                    _ => fields.values().for_each(|inner| self.walk(inner, wanted)),
                }
            }
            _ => {}
        }
    }

    /// The service of a host; None if it is no name that a file may have.
    fn service(&mut self, host: &str) -> Option<&mut Service> {
        let Some(name) = words::host(host) else {
            self.skip(host, "its name is not one that can be called");
            return None;
        };
        Some(self.services.entry(name).or_default())
    }

    fn skip(&mut self, what: &str, why: &str) {
        self.skipped.insert(format!("{what}: {why}"));
    }

    /// Finds out who answers for each, and leaves out those of whom that is not known.
    fn settle(&mut self) {
        let mut unknown = Vec::new();
        for (host, service) in &mut self.services {
            if service.ports.is_empty() {
                unknown.push((host.clone(), "no port of it is known"));
                continue;
            }
            let (ports, ids) = (service.ports.len(), service.identities.len());
            if ports.max(ids) > LISTED {
                unknown.push((host.clone(), "more ports or accounts than a service may have"));
                continue;
            }
            if ids > 0 {
                continue;
            }
            let namespace = service.namespace.clone().or_else(|| namespace(host));
            let Some(namespace) = namespace else {
                unknown.push((host.clone(), "it is not known who answers: say its SPIFFE id"));
                continue;
            };
            let own = |pod: &&Pod| {
                let labelled = |(key, value)| pod.labels.get(key) == Some(value);
                let selector = &service.selector;
                pod.namespace == namespace && !selector.is_empty() && selector.iter().all(labelled)
            };
            let accounts = self.pods.iter().filter(own).map(|pod| pod.account.as_str());
            service.identities =
                accounts.map(|account| format!("ns/{namespace}/sa/{account}")).collect();
            if !(1..=LISTED).contains(&service.identities.len()) {
                service.identities.clear();
                service.identities.insert(format!("ns/{namespace}/sa/*"));
            }
        }
        for (host, why) in unknown {
            self.services.remove(&host);
            self.skip(&host, why);
        }
    }
}

/// The namespace in a name of the cluster.
fn namespace(host: &str) -> Option<String> {
    let mut labels = host.split('.');
    let (_, namespace, kind) = (labels.next()?, labels.next()?, labels.next()?);
    (kind == "svc").then(|| namespace.to_owned())
}

/// What is spoken on a port, as Istio tells it by what Kubernetes says: `http-web`, `grpc`.
fn protocol(said: &str) -> Option<Protocol> {
    let word = said.rsplit('/').next().unwrap_or(said);
    match word.split('-').next().unwrap_or(word).to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(Protocol::Http),
        "http2" | "h2c" => Some(Protocol::Http2),
        "grpc" => Some(Protocol::Grpc),
        "tcp" | "tls" | "https" | "mongo" | "redis" | "mysql" => Some(Protocol::Tcp),
        _ => None,
    }
}

fn yaml(text: &str) -> Result<Vec<Value>, (usize, String)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: NODES * 2,
            max_nodes: NODES,
        },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let text = error.without_snippet().to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (usize::try_from(line).unwrap_or(0), text)
    })
}

fn unread(name: &Path, line: usize, form: &str, error: &str) -> Problems {
    let found = format!("a mistake: {error}");
    let expected = format!("{form} that can be read");
    Problems(vec![problem(name, line, form, found, &expected)])
}

fn problem(file: &Path, line: usize, what: &str, found: String, expected: &str) -> Problem {
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    let place = Place { file: file.to_owned(), line };
    Problem { place, what: what.to_owned(), found, expected: expected.to_owned() }
}

/// How many ports and ids a service may have.
const LISTED: usize = 64;
/// How many values there may be: what a cluster of thousands of pods has.
const NODES: usize = 8_000_000;

#[cfg(test)]
mod tests;
