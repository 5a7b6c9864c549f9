//! What DNS is told.

use std::{net::SocketAddr, sync::Arc, thread::available_parallelism};

use anyhow::Context as _;
use hawser_dns::{Forward, Options, Scope, Upstreams, kept::Place, resolv::watch::Sources};
use hawser_resolved::Asked;
use hawser_rt::Chain;
use hawser_services::model::Forwarder;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tracing::warn;

use crate::config::{
    Config,
    dns::{Dns, Mode},
};

/// The DNS proxy.
pub(crate) fn dns(config: &Config, dns: &Dns) -> anyhow::Result<Options> {
    let sources = Sources {
        split: dns.mode == Mode::Resolved,
        ..Sources::new(dns.resolv_conf.clone(), Vec::new())
    };
    let upstreams = if dns.upstreams.is_empty() {
        Upstreams::ResolvConf(sources)
    } else {
        Upstreams::Beside(dns.upstreams.clone(), sources)
    };
    let workers = workers(dns);
    Ok(Options {
        scope: scope(config, dns),
        search: Vec::new(),
        allow: dns.allow.clone(),
        kept: Some(Place { directory: config.paths.names(), owner: config.node.id.to_string() }),
        upstreams,
        forward: Forward {
            timeout: dns.timeout,
            parallel: dns.parallel,
            cache: dns.cache / workers,
            stale: dns.stale,
            style: dns.style,
            in_flight: Forward::room(workers),
            tls: tls(dns)?,
        },
    })
}

/// The same on a machine that calls for others: as far as nobody has said it, they ask at the address
/// that they call, and nobody else may.
pub(crate) fn with(dns: &Dns, forwarder: Option<&Forwarder>) -> Dns {
    let mut dns = dns.clone();
    let Some(forwarder) = forwarder else { return dns };
    if dns.open.listen {
        dns.listen.push(SocketAddr::new(forwarder.address, PORT));
    }
    if dns.open.allow {
        dns.allow.clone_from(&forwarder.allow);
    }
    dns
}

/// Who asks.
pub(crate) fn scope(config: &Config, dns: &Dns) -> Scope {
    Scope {
        namespace: config.node.id.namespace().to_owned(),
        domain: config.node.domain.clone(),
        exclude: dns.exclude.clone(),
        style: dns.style,
    }
}

/// What systemd-resolved is to ask for, if it is to ask.
pub(crate) fn asked(config: &Config) -> Option<Asked> {
    let dns = config.dns.as_ref().filter(|dns| dns.mode == Mode::Resolved)?;
    Some(Asked {
        namespace: config.node.id.namespace().to_owned(),
        domain: config.node.domain.clone(),
        domains: dns.domains.clone(),
        exclude: dns.exclude.clone(),
    })
}

/// Threads that answer.
pub(crate) fn workers(dns: &Dns) -> usize {
    let cores = available_parallelism().map_or(1, usize::from);
    if dns.workers == 0 { cores.min(ENOUGH) } else { dns.workers }
}

/// How resolvers are verified that are asked over TLS, if there are any: by the machine's roots.
fn tls(dns: &Dns) -> anyhow::Result<Option<Arc<ClientConfig>>> {
    if dns.upstreams.iter().all(|upstream| upstream.tls.is_none()) {
        return Ok(None);
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(error = %Chain(error), "some of this machine's roots are not readable");
    }
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        warn!(
            "this machine has no roots: no resolver is believed over TLS; install ca-certificates"
        );
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("ask resolvers over TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// Where machines ask that are told of a resolver by its address alone.
const PORT: u16 = 53;
/// Threads beyond which there is nothing left for others.
const ENOUGH: usize = 4;
