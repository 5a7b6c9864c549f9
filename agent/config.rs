//! The configuration: typed, complete, and valid by construction.
//!
//! [`source`] reads what was said and by whom; [`Config::load`] says what is meant. It looks at
//! every setting before it complains about any, so one run shows all mistakes.

pub mod accounts;
pub mod dns;
pub mod downward;
pub mod envfile;
pub mod envoy;
pub mod export;
pub mod health;
pub mod hosts;
pub mod identity;
pub mod intercept;
pub mod parse;
pub mod paths;
pub mod port;
pub mod problem;
pub mod proxy;
pub mod relay;
pub mod roots;
pub mod services;
pub mod setting;
pub mod source;
pub mod values;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hawser_istiod::{Endpoint, Hosts};
use hawser_pki::SpiffeId;

use self::{
    dns::Dns,
    envoy::Envoy,
    export::Export,
    identity::{Identity, Mesh},
    intercept::Intercept,
    paths::Paths,
    problem::{Problem, Problems},
    relay::Relay,
    roots::Believed,
    services::Services,
    setting::Setting,
    source::Sources,
    values::Values,
};

/// What the agent is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where things are.
    pub paths: Paths,
    /// Who the machine is.
    pub node: Node,
    /// How istiod is reached for configuration.
    pub istiod: Istiod,
    /// How the certificate authority is reached.
    pub ca: Istiod,
    /// Addresses for names that no resolver knows.
    pub hosts: Hosts,
    /// How long one address may take to answer.
    pub connect_timeout: Duration,
    /// The certificate, and the way to it.
    pub identity: Identity,
    /// The files that other programs find it in, if they are wanted.
    pub export: Option<Export>,
    /// How configuration is carried.
    pub relay: Relay,
    /// The file of services, if there is one.
    pub services: Option<Services>,
    /// The DNS proxy, if it is wanted.
    pub dns: Option<Dns>,
    /// Envoy, and its bootstrap.
    pub envoy: Envoy,
    /// What is redirected to Envoy, and when.
    pub intercept: Intercept,
    /// What the operator wants to have probed, if anything is to be told of this machine.
    pub health: Option<hawser_health::Probe>,
    /// Where the agent answers /healthz/ready.
    pub status: SocketAddr,
    /// What it answers there besides its own.
    pub port: port::Port,
    /// Istio's variables, for the node metadata and the headers.
    pub variables: Variables,
    /// The effective ProxyConfig, as JSON.
    pub proxy: serde_json::Value,
}

/// Who the machine is.
#[derive(Debug, Clone)]
pub struct Node {
    /// The address for the mesh, if it was set.
    pub ip: Option<IpAddr>,
    /// Its name.
    pub name: String,
    /// Its SPIFFE id: trust domain, namespace, service account.
    pub id: SpiffeId,
    /// Its DNS domain.
    pub domain: String,
    /// Its service cluster, if one was said.
    pub service: Option<String>,
}

/// The addresses of the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Istiod {
    /// Host, port and the name in its certificate; the first one is preferred, and there is one.
    pub endpoints: Vec<Endpoint>,
    /// What its certificate has to chain to.
    pub roots: Believed,
}

impl fmt::Display for Istiod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        f.write_str(&endpoints.join(", "))
    }
}

/// Istio's variables, without their prefixes.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// `ISTIO_META_*`.
    pub meta: BTreeMap<String, String>,
    /// `ISTIO_METAJSON_*`.
    pub meta_json: Vec<(String, String)>,
    /// `XDS_HEADER_*`.
    pub xds_headers: Vec<(String, String)>,
    /// `CA_HEADER_*`.
    pub ca_headers: Vec<(String, String)>,
    /// `DNS_PROXY_ADDR`, which istiod wants to know.
    pub dns_proxy_addr: Option<String>,
    /// `PEER_METADATA_DISCOVERY`.
    pub metadata_discovery: Option<bool>,
    /// `ENVOY_SKIP_DEPRECATED_LOGS`.
    pub skip_deprecated_logs: bool,
    /// Those that are said and nothing is done about.
    pub unheeded: Vec<&'static str>,
    /// Labels of a pod, where a file gives them.
    pub pod_labels: BTreeMap<String, String>,
    /// Its annotations.
    pub pod_annotations: BTreeMap<String, String>,
}

impl Config {
    /// What is meant by what was said.
    pub fn load(paths: &Paths, sources: &Sources) -> Result<Self, Problems> {
        let mut reader = Reader { values: &sources.values, problems: Vec::new() };
        let config = reader.config(paths, sources);
        let mut problems = sources.values.problems.clone();
        problems.append(&mut reader.problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems(problems)),
        }
    }

    /// Whether there is no istiod, but a file of services.
    pub fn is_alone(&self) -> bool {
        self.services.as_ref().is_some_and(|services| !services.beside)
    }
}

/// Reads settings and collects what is wrong with them.
struct Reader<'a> {
    values: &'a Values,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Every part is read before any is found missing.
    fn config(&mut self, paths: &Paths, sources: &Sources) -> Option<Config> {
        let node = self.node();
        let name = self.optional("istiod.server_name", parse::name);
        let istiod = self.istiod("istiod.address", "istiod.root_cert", paths);
        let ca = self.istiod("istiod.ca_address", "istiod.ca_root_cert", paths);
        let connect_timeout = self.required("istiod.connect_timeout", parse::some_time);
        let services = self.services(paths, sources);
        let alone = matches!(services, Some(Some(Services { beside: false, .. })));
        let mesh = if alone { Mesh::Unknown } else { Mesh::Istiod };
        let identity = self.identity(paths, sources, mesh);
        let export = self.export(paths, identity.as_ref().map(|identity| &identity.source));
        let relay = self.relay();
        let (mut dns, envoy) = (self.dns(), self.envoy());
        let mut intercept = self.intercept();
        if alone {
            self.without_mesh(paths, &mut dns, &mut intercept);
        }
        let health = self.health();
        let status = self.required("status.listen", parse::socket);
        let port = self.port();
        self.required("log.level", |text| text.parse::<crate::log::level::Filter>().ok());
        self.required("log.format", |text| text.parse::<crate::log::Format>().ok());

        self.told_beside(services.as_ref(), relay.as_ref());
        if let (Some(Envoy { foreground: true, .. }), Some(Identity { only: true, .. })) =
            (&envoy, &identity)
        {
            let expected = "there is nothing for Envoy with certificates only (identity.only)";
            self.problems.push(Problem::with("envoy.foreground", expected));
        }
        let (mut istiod, mut ca, name) = (istiod?, ca?, name?);
        for endpoint in istiod.endpoints.iter_mut().chain(&mut ca.endpoints) {
            endpoint.server_name = name.clone().or(endpoint.server_name.take());
        }
        let (envoy, status) = (envoy?, status?);
        let port = port?;
        self.apart(&port, (&envoy, status), dns.as_ref().and_then(Option::as_ref));
        Some(Config {
            paths: paths.clone(),
            node: node?,
            proxy: effective(sources, &istiod, &envoy, status, port.local_only),
            ca,
            istiod,
            hosts: sources.hosts.clone(),
            connect_timeout: connect_timeout?,
            identity: identity?,
            export: export?,
            relay: relay?,
            services: services?,
            dns: dns?,
            envoy,
            intercept: intercept?,
            health: health?,
            status,
            port,
            variables: variables(sources),
        })
    }

    fn node(&mut self) -> Option<Node> {
        let ip = self.optional("node.ip", |text| text.parse::<IpAddr>().ok());
        let name = self.optional("node.name", parse::name);
        let namespace = self.required("node.namespace", parse::name);
        let account = self.required("node.service_account", parse::name);
        let trust = self.required("node.trust_domain", parse::name);
        let domain = self.optional("node.domain", parse::name);
        let service = self.optional("node.service", parse::name);

        let namespace = namespace?;
        let id = match SpiffeId::new(&trust?, &namespace, &account?) {
            Ok(id) => Some(id),
            Err(error) => {
                self.problems.push(Problem::with("node", error.to_string()));
                None
            }
        };
        Some(Node {
            ip: ip?,
            name: name?.unwrap_or_else(source::host_name),
            id: id?,
            domain: domain?.unwrap_or_else(|| format!("{namespace}.svc.cluster.local")),
            service: service?,
        })
    }

    /// The addresses for certificates are those for configuration, unless somebody says otherwise.
    fn istiod(&mut self, address: &str, root: &str, paths: &Paths) -> Option<Istiod> {
        let own = self.optional(address, parse::endpoints);
        let same = || parse::endpoints(&self.text("istiod.address"));
        let endpoints = own.map(|own| own.or_else(same));
        let roots = self.roots(root, paths);
        Some(Istiod { endpoints: endpoints??, roots: roots? })
    }

    /// A setting that always has a value. None is told as a problem already.
    fn required<T>(&mut self, key: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let setting = self.known(key)?;
        let said = self.values.setting(setting);
        let value = parse(said.value.trim());
        if value.is_none() {
            let expected = format!("expected {}", setting.expected);
            self.problems.push(Problem::wrong(key, &said.value, &said.source, expected));
        }
        value
    }

    /// A setting that may be left empty.
    fn optional<T>(&mut self, key: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
        if self.text(key).trim().is_empty() {
            return Some(None);
        }
        self.required(key, parse).map(Some)
    }

    fn text(&self, key: &str) -> String {
        setting::find(key).map(|known| self.values.setting(known).value).unwrap_or_default()
    }

    /// The row of a setting; a name that is not in the table is a mistake of ours, told as one.
    fn known(&mut self, key: &str) -> Option<&'static Setting> {
        let setting = setting::find(key);
        if setting.is_none() {
            self.problems.push(Problem::with(key, "not in the table of settings"));
        }
        setting
    }
}

fn variables(sources: &Sources) -> Variables {
    let values = &sources.values;
    // As in Istio, what is no boolean counts as not said.
    let boolean = |name| parse::boolean(&values.variable(name)?.value);
    let after = |prefix| values.variables_after(prefix);
    let pairs =
        |prefix| after(prefix).map(|(k, said)| (k.to_owned(), said.value.clone())).collect();
    let lower = |prefix| {
        after(prefix).map(|(k, said)| (k.to_ascii_lowercase(), said.value.clone())).collect()
    };
    Variables {
        meta: after("ISTIO_META_").map(|(k, said)| (k.to_owned(), said.value.clone())).collect(),
        meta_json: pairs("ISTIO_METAJSON_"),
        xds_headers: lower("XDS_HEADER_"),
        ca_headers: lower("CA_HEADER_"),
        dns_proxy_addr: values.variable("DNS_PROXY_ADDR").map(|said| said.value.clone()),
        metadata_discovery: boolean("PEER_METADATA_DISCOVERY"),
        skip_deprecated_logs: boolean("ENVOY_SKIP_DEPRECATED_LOGS").unwrap_or(true),
        unheeded: crate::options::UNHEEDED
            .iter()
            .chain(&crate::options::intercept::UNHEEDED)
            .map(|(name, _)| *name)
            .filter(|name| values.variable(name).is_some_and(|said| !said.value.is_empty()))
            .collect(),
        pod_labels: sources.labels.clone(),
        pod_annotations: sources.annotations.clone(),
    }
}

/// istiod reads these fields back, so they say what holds and not what the file said.
fn effective(
    sources: &Sources,
    istiod: &Istiod,
    envoy: &Envoy,
    status: SocketAddr,
    metrics_local: bool,
) -> serde_json::Value {
    let mut proxy = sources.proxy.clone();
    // One address has room there; istiod only looks at it.
    let first = istiod.endpoints.first().map(ToString::to_string).unwrap_or_default();
    proxy.set("discoveryAddress", first.into());
    proxy.set("proxyAdminPort", envoy.admin_port.into());
    proxy.set("statusPort", status.port().into());
    proxy.set("concurrency", envoy.concurrency.into());
    proxy.set("terminationDrainDuration", format!("{}s", envoy.drain.as_secs_f64()).into());
    let mut proxy = proxy.to_json();
    if metrics_local {
        // Envoy's own metrics are for this machine alone by this word.
        let fields = proxy.as_object_mut();
        let metadata =
            fields.map(|all| all.entry("proxyMetadata").or_insert_with(|| serde_json::json!({})));
        if let Some(metadata) = metadata.and_then(serde_json::Value::as_object_mut) {
            metadata.insert("METRICS_LOCALHOST_ACCESS_ONLY".to_owned(), "true".into());
        }
    }
    proxy
}
