//! What each part is told of the configuration: its own options, and no more.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hawser_dns::{Scope, Upstreams, resolv};
use hawser_envoy::{
    arguments::Arguments,
    bootstrap::{self, LogFormat, Transport},
    supervise,
};
use hawser_istiod as istiod;
use hawser_node::{Facts, Ports};
use hawser_rt::{Backoff, Chain};
use hawser_state::Store;
use tokio::sync::watch;
use tracing::warn;

use crate::config::{Config, Dns, Envoy, Istiod, parse};

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
        endpoint: to.endpoint.clone(),
        roots: to.roots.clone(),
        hosts: config.hosts.clone(),
        token: Some(config.token.clone()),
        headers: all,
        connect_timeout: config.connect_timeout,
    }
}

/// The certificate to obtain, and where to keep it.
pub(crate) fn identity(config: &Config, store: Arc<Store>) -> hawser_identity::Options {
    hawser_identity::Options {
        id: config.node.id.clone(),
        key: config.identity.key,
        ttl: config.identity.ttl,
        signer: config.identity.signer.clone(),
        token: config.token.clone(),
        store,
    }
}

/// What the node is made from.
pub(crate) fn facts(config: &Config) -> Facts {
    let node = &config.node;
    let variables = &config.variables;
    let mut proxy_config = config.proxy.clone();
    if let (Some(service), Some(proxy)) = (&node.service, proxy_config.as_object_mut()) {
        proxy.insert("serviceCluster".to_owned(), service.as_str().into());
    }
    if let Some(proxy) = proxy_config.as_object_mut() {
        proxy.remove(PROBE);
    }
    Facts {
        ips: node.ips.clone(),
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

/// What the mesh wants and this agent does not do: a probe. istiod sends no traffic to a machine
/// that has one until its health is reported, so it is not told of it.
pub(crate) fn unheeded(config: &Config) -> Option<&'static str> {
    config.proxy.get(PROBE)?;
    Some("readinessProbe of mesh.yaml is not run: the mesh takes this machine for healthy")
}

fn ports(envoy: &Envoy) -> Ports {
    Ports { status: envoy.status_port, prometheus: envoy.prometheus_port }
}

/// Envoy's bootstrap; its status port leads to the agent's.
pub(crate) fn bootstrap(config: &Config, agent_port: u16) -> bootstrap::Options {
    let envoy = &config.envoy;
    bootstrap::Options {
        flavour: envoy.flavour,
        transport: if config.delta { Transport::Delta } else { Transport::StateOfTheWorld },
        dual_stack: envoy.dual_stack,
        xds_socket: config.paths.xds_socket(),
        sds_socket: config.paths.sds_socket(),
        admin_port: envoy.admin_port,
        agent_port,
        ports: ports(envoy),
        profile: config.paths.run().join("envoy.prof"),
        log_format: LogFormat::Text,
    }
}

/// Envoy's life, when the agent is to lead it.
pub(crate) fn supervise(
    config: &Config,
    admin: SocketAddr,
    state: watch::Sender<supervise::EnvoyState>,
) -> Option<supervise::Options> {
    let mut arguments = Arguments::new(config.paths.bootstrap(), &config.node.ips);
    arguments.concurrency = config.envoy.concurrency;
    arguments.log = config.envoy.log.clone();
    arguments.skip_deprecated_logs = config.variables.skip_deprecated_logs;
    if let Some(drain) = drain_duration(config) {
        arguments.drain = drain;
    }
    Some(supervise::Options {
        binary: config.envoy.binary.clone()?,
        arguments: arguments.list(),
        admin,
        drain: config.envoy.drain,
        patience: ENVOY_PATIENCE,
        backoff: Backoff::new(ENVOY_FIRST, ENVOY_LAST),
        state,
    })
}

/// How long Envoy takes to close what it drains, as the mesh wants it.
fn drain_duration(config: &Config) -> Option<Duration> {
    config.proxy.get("drainDuration")?.as_str().and_then(parse::some_time)
}

/// The DNS proxy.
pub(crate) fn dns(config: &Config, dns: &Dns) -> hawser_dns::Options {
    let upstreams = if dns.upstreams.is_empty() {
        Upstreams::ResolvConf(dns.resolv_conf.clone())
    } else {
        Upstreams::Fixed(dns.upstreams.clone())
    };
    hawser_dns::Options {
        scope: Scope {
            namespace: config.node.id.namespace().to_owned(),
            domain: config.node.domain.clone(),
            search: search(dns),
        },
        upstreams,
        timeout: dns.timeout,
    }
}

/// The domains that this machine's programs append to names.
fn search(dns: &Dns) -> Vec<String> {
    resolv::read(&dns.resolv_conf).map(|conf| conf.search).unwrap_or_else(|error| {
        warn!(error = %Chain(&error), "no search domains, only whole names are expanded");
        Vec::new()
    })
}

/// istiod decides by it what to send: the version of Istio whose agent this one stands in for.
const ISTIO_VERSION: &str = "1.32.0";
const PROBE: &str = "readinessProbe";
const ENVOY_PATIENCE: Duration = Duration::from_secs(5);
const ENVOY_FIRST: Duration = Duration::from_millis(500);
const ENVOY_LAST: Duration = Duration::from_secs(30);
