//! What each part is told of the configuration: its own options, and no more.

pub(crate) mod dns;
pub(crate) mod intercept;
mod port;
mod ssh;

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hawser_envoy::{
    arguments::Arguments,
    bootstrap::{self, Flavour, LogFormat, Transport},
    find, grpc,
    launch::Launch,
    supervise,
    unit::Unit,
};
use hawser_health::Probe;
use hawser_identity::SealKey;
use hawser_intercept::plan::Mode;
use hawser_istiod as istiod;
use hawser_node::{Facts, Node, Ports};
use hawser_rt::{Backoff, Clock, metrics::Registry, uds::Peers};
use hawser_state::Store;
use hawser_xds::Fit;
use nix::unistd::geteuid;
use serde_json::json;
use tokio::sync::watch;

use crate::config::{Config, Istiod, accounts, envoy::Envoy, parse, relay::Compat};

pub(crate) use self::{dns::dns, intercept::intercept, port::port};

/// The way to the certificate authority.
pub(crate) fn ca(config: &Config) -> istiod::Options {
    way(config, &config.ca, &config.variables.ca_headers)
}

/// The way to configuration.
pub(crate) fn xds(config: &Config) -> istiod::Options {
    way(config, &config.istiod, &config.variables.xds_headers)
}

fn way(config: &Config, to: &Istiod, headers: &[(String, String)]) -> istiod::Options {
    // Istio's agent sends it even if it is empty, and istiod tells clusters apart by it.
    let cluster = config.variables.meta.get("CLUSTER_ID").cloned().unwrap_or_default();
    let mut all = vec![("clusterid".to_owned(), cluster)];
    all.extend_from_slice(headers);
    istiod::Options {
        endpoints: to.endpoints.clone(),
        roots: to.roots.roots.clone(),
        learned: to.roots.learned,
        hosts: config.hosts.clone(),
        headers: all,
        connect_timeout: config.connect_timeout,
    }
}

/// What istiod is shown.
pub(crate) fn credentials(config: &Config) -> istiod::credential::Options {
    istiod::credential::Options {
        id: Some(config.node.id.clone()),
        provisioned: config.identity.provisioned.clone(),
        tokens: config.identity.tokens.clone(),
    }
}

/// The certificate to obtain, and where to keep it.
pub(crate) fn identity(
    config: &Config,
    store: Arc<Store>,
    seal: Option<SealKey>,
    clock: Clock,
    metrics: Registry,
) -> hawser_identity::Options {
    let identity = &config.identity;
    hawser_identity::Options {
        id: config.node.id.clone(),
        expected: (!config.is_alone()).then(|| config.node.id.clone()),
        source: identity.source.clone(),
        key: identity.key,
        ttl: identity.ttl,
        renewal: identity.renewal,
        signer: identity.signer.clone(),
        store,
        seal,
        clock,
        metrics,
    }
}

/// The secrets that Envoy is served.
pub(crate) fn secrets(
    config: &Config,
    peers: Peers,
    counts: Arc<hawser_sds::Counts>,
) -> hawser_sds::Options {
    hawser_sds::Options {
        peers,
        counts,
        form: config.identity.form,
        crl: config.identity.crl.clone(),
    }
}

/// Who may speak to the sockets that Envoy speaks to: its user alone.
pub(crate) fn peers(config: &Config) -> Peers {
    Peers { uids: config.envoy.user.into_iter().collect(), ..Peers::default() }
}

/// Who may ask for configuration: Envoy, and a group. Its members are looked up once, here: later
/// nobody waits for a directory that does not answer.
fn readers(config: &Config, mut peers: Peers) -> Peers {
    if let Some(group) = config.relay.group {
        peers.groups.push(group);
        peers.uids.extend(accounts::members(group));
    }
    peers
}

/// The files for other programs, if they are wanted.
pub(crate) fn export(config: &Config) -> Option<hawser_export::Options> {
    let export = config.export.as_ref()?;
    Some(hawser_export::Options {
        directory: export.directory.clone(),
        owner: export.owner,
        group: export.group,
        key_mode: export.key_mode,
        mode: export.mode,
        form: config.identity.form,
        command: export.command.clone(),
        stamp: Some(config.paths.exported()),
        spacing: BETWEEN_POKES,
    })
}

/// How configuration is served, and to whom.
pub(crate) fn relay(config: &Config, peers: Peers) -> hawser_xds::Options {
    // Besides its own, Envoy may have the agent's user, or root.
    let envoy = peers.uids.iter().copied().chain([0, geteuid().as_raw()]).collect();
    hawser_xds::Options {
        envoy,
        peers: readers(config, peers),
        stale_after: config.relay.stale_after,
        fit: match config.relay.compat {
            Compat::Auto => Fit::Auto,
            Compat::Stock => Fit::Stock,
            Compat::Istio => Fit::Istio,
        },
        spiffe: config.node.id.to_string(),
    }
}

/// Where what Envoy took is kept, and how much of it.
pub(crate) fn shelf(config: &Config, clock: Clock, metrics: Registry) -> hawser_lastgood::Options {
    hawser_lastgood::Options {
        directory: config.paths.last_good(),
        limit: config.relay.keep,
        versions: config.relay.versions,
        versions_bytes: VERSIONS_BYTES,
        clock,
        metrics,
    }
}

/// How Wasm modules are fetched, if they are.
pub(crate) fn modules(
    config: &Config,
    clock: Clock,
    metrics: Registry,
) -> Option<hawser_wasm::Options> {
    let wasm = config.relay.wasm.clone()?;
    Some(hawser_wasm::Options {
        largest: wasm.largest,
        http_timeout: wasm.timeout,
        attempts: wasm.attempts,
        insecure: wasm.insecure,
        blocked: wasm.blocked,
        keychain: wasm.keychain,
        expiry: wasm.expiry,
        purge_every: wasm.purge_every,
        clock,
        metrics,
        ..hawser_wasm::Options::new(config.paths.modules())
    })
}

/// What programs start with that speak xDS themselves.
pub(crate) fn grpc(config: &Config) -> grpc::Options {
    grpc::Options {
        xds_socket: config.paths.xds_socket(),
        certificates: config.export.as_ref().map(|export| export.directory.clone()),
        registers: false,
    }
}

/// What the node is made from.
pub(crate) fn facts(config: &Config, ips: Vec<IpAddr>) -> Facts {
    let node = &config.node;
    let variables = &config.variables;
    let mut proxy_config = config.proxy.clone();
    if let (Some(service), Some(proxy)) = (&node.service, proxy_config.as_object_mut()) {
        proxy.insert("serviceCluster".to_owned(), service.as_str().into());
    }
    // istiod sends no traffic to a machine that has a probe until it is told that it is well.
    if let (Err(_), Some(proxy)) = (probe(config), proxy_config.as_object_mut()) {
        proxy.remove(PROBE);
    }
    // What the operator wants to have probed has no words there, and istiod reads none: it heeds
    // what it is told of a machine that says that it has a probe.
    if let (Some(_), Some(proxy)) = (&config.health, proxy_config.as_object_mut()) {
        proxy.entry(PROBE).or_insert_with(|| json!({"exec": {"command": ["hawser", "status"]}}));
    }
    Facts {
        ips,
        name: node.name.clone(),
        namespace: node.id.namespace().to_owned(),
        domain: Some(node.domain.clone()),
        service_account: Some(node.id.service_account().to_owned()),
        meta: variables.meta.clone(),
        meta_json: variables.meta_json.clone(),
        pod_labels: variables.pod_labels.clone(),
        pod_annotations: variables.pod_annotations.clone(),
        proxy_config,
        dns_proxy_addr: variables.dns_proxy_addr.clone(),
        ports: ports(&config.envoy),
        skip_deprecated_logs: variables.skip_deprecated_logs,
        metadata_discovery: variables.metadata_discovery,
        workload_identity_socket: "socket".to_owned(),
        istio_version: ISTIO_VERSION.to_owned(),
    }
}

/// How this machine is probed: as the mesh wants it, and as its operator does.
pub(crate) fn probes(config: &Config) -> Vec<Probe> {
    probe(config).ok().flatten().into_iter().chain(config.health.clone()).collect()
}

/// How the workload is probed, if the mesh wants it; or what is wrong with that.
fn probe(config: &Config) -> Result<Option<Probe>, Vec<hawser_health::Problem>> {
    config.proxy.get(PROBE).map(Probe::read).transpose()
}

/// What the mesh or the operator wants and this agent does not do, each with what it does instead.
pub(crate) fn unheeded(config: &Config) -> Vec<String> {
    let fields = PROXY_FIELDS.iter().filter(|(field, _)| config.proxy.get(field).is_some());
    let fields =
        fields.map(|(field, instead)| format!("{field} of mesh.yaml is not heeded: {instead}"));
    let said = |name: &&(&str, &str)| config.variables.unheeded.contains(&name.0);
    let variables = UNHEEDED.iter().chain(&intercept::UNHEEDED).filter(said);
    let fate = match config.health {
        Some(_) => "it is not heeded, and what hawser.toml says is",
        None => "the mesh takes this machine for healthy",
    };
    let probe = probe(config).err().into_iter().flatten().map(|wrong| {
        let hawser_health::Problem { place, wrong } = wrong;
        format!("{place} of mesh.yaml: {wrong}: {fate}")
    });
    fields
        .chain(probe)
        .chain(variables.map(|(name, instead)| format!("{name} is not heeded: {instead}")))
        .chain(config.intercept.unheeded.iter().cloned())
        .collect()
}

/// Variables that Istio's agent reads and this one does not.
pub(crate) const UNHEEDED: [(&str, &str); 3] = [
    ("COMPLIANCE_POLICY", "istiod is spoken to with TLS 1.2 or 1.3 and this program's own suites"),
    ("GRPC_KEEPALIVE_INTERVAL", "a connection to istiod is looked after every 30 s"),
    ("GRPC_KEEPALIVE_TIMEOUT", "it is given up when nothing comes for 10 s"),
];

/// Fields of ProxyConfig for which the same holds.
const PROXY_FIELDS: [(&str, &str); 1] = [("privateKeyProvider", "Envoy gets the key itself")];

fn ports(envoy: &Envoy) -> Ports {
    Ports { status: envoy.status_port, prometheus: envoy.prometheus_port }
}

/// Envoy's bootstrap; its status port leads to the agent's.
pub(crate) fn bootstrap(config: &Config, agent: SocketAddr) -> bootstrap::Options {
    let envoy = &config.envoy;
    bootstrap::Options {
        flavour: flavour(config),
        transport: if config.relay.delta { Transport::Delta } else { Transport::StateOfTheWorld },
        dual_stack: envoy.dual_stack,
        xds_socket: config.paths.xds_socket(),
        sds_socket: config.paths.sds_socket(),
        admin_port: envoy.admin_port,
        agent: reached(agent),
        ports: ports(envoy),
        profile: config.paths.run().join("envoy.prof"),
        log_format: LogFormat::Text,
    }
}

/// Where this machine reaches what listens there.
fn reached(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

/// The bootstrap holds what only Istio's build loads if that is what there is for certain.
fn flavour(config: &Config) -> Flavour {
    match config.relay.compat {
        Compat::Istio => Flavour::Istio,
        Compat::Auto | Compat::Stock => Flavour::Stock,
    }
}

/// Envoy's life, when the agent is to lead it.
pub(crate) fn supervise(
    config: &Config,
    node: &Node,
    admin: SocketAddr,
    state: watch::Sender<supervise::EnvoyState>,
) -> Result<Option<supervise::Options>, hawser_envoy::Error> {
    if !config.envoy.foreground {
        return Ok(None);
    }
    Ok(Some(supervise::Options {
        binary: match &config.envoy.binary {
            Some(binary) => binary.clone(),
            None => find::find(Path::new("/"), None, None)?,
        },
        arguments: arguments(config, node, config.paths.bootstrap()),
        admin,
        drain: config.envoy.drain,
        own_ports: own_ports(config),
        patience: ENVOY_PATIENCE,
        backoff: Backoff::new(ENVOY_FIRST, ENVOY_LAST),
        state,
    }))
}

/// What Envoy's unit has to know, when systemd is to lead its life.
pub(crate) fn launch(config: &Config, node: &Node, admin: SocketAddr) -> Launch {
    let envoy = &config.envoy;
    let bootstrap = Unit::under(config.paths.root()).bootstrap();
    let arguments = arguments(config, node, bootstrap).into_iter();
    Launch {
        binary: envoy.binary.clone(),
        arguments: arguments.map(|argument| argument.to_string_lossy().into_owned()).collect(),
        admin,
        own_ports: own_ports(config),
        drain_wait: envoy.drain_wait,
        drain: envoy.drain,
        log: envoy.log_to.clone(),
        transparent: config.intercept.enabled && matches!(config.intercept.mode, Mode::Tproxy),
    }
}

fn arguments(config: &Config, node: &Node, bootstrap: PathBuf) -> Vec<OsString> {
    let mut arguments = Arguments::new(bootstrap, &node.ips);
    arguments.concurrency = config.envoy.concurrency;
    arguments.log = config.envoy.log.clone();
    arguments.skip_deprecated_logs = config.variables.skip_deprecated_logs;
    if let Some(drain) = drain_duration(config) {
        arguments.drain = drain;
    }
    arguments.list()
}

/// Listeners of Envoy's that take what comes in, as it is and through tunnels.
pub(crate) fn inbound(config: &Config) -> Vec<u16> {
    vec![config.intercept.envoy.inbound, config.intercept.envoy.tunnel]
}

/// Listeners of Envoy's whose connections nobody waits for.
fn own_ports(config: &Config) -> Vec<u16> {
    vec![config.envoy.status_port, config.envoy.prometheus_port]
}

/// How long Envoy takes to close what it drains, as the mesh wants it.
fn drain_duration(config: &Config) -> Option<Duration> {
    config.proxy.get("drainDuration")?.as_str().and_then(parse::some_time)
}

/// istiod decides by it what to send: the version of Istio whose agent this one stands in for.
const ISTIO_VERSION: &str = "1.32.0";
const PROBE: &str = "readinessProbe";
/// The versions before the present one, of each type.
const VERSIONS_BYTES: u64 = 16 << 20;
/// A rotation is one event for those who are told of it, and so is a flapping one.
const BETWEEN_POKES: Duration = Duration::from_secs(10);
const ENVOY_PATIENCE: Duration = Duration::from_secs(5);
const ENVOY_FIRST: Duration = Duration::from_millis(500);
const ENVOY_LAST: Duration = Duration::from_secs(30);
