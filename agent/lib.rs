//! The agent as a library: what is built, in which order, and which channel joins whom.
//!
//! ```text
//!  token ──▶ identity ──▶ sds ───────────▶ Envoy
//!  istiod ─▶ xds ────────────────────────▶ Envoy
//!            └─ name table ─▶ dns ───────▶ programs
//! ```
//!
//! Identity, SDS, xDS and DNS never import each other; this is where they meet.

pub mod bundle;
pub mod check;
pub mod cli;
pub mod config;
pub mod install;
pub mod log;
mod options;
mod prepare;
pub mod status;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use hawser_istiod::Istiod;
use hawser_rt::{Gates, Notifier, Stopped, Tasks, signal::Signals};
use hawser_xds::Seen;
use tokio::sync::watch;
use tracing::info;

use crate::{
    config::Config,
    prepare::Prepared,
    status::{admin, health},
};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the agent until it is told to stop, or a part of it fails.
///
/// Everything that can be missing or taken is opened before anything runs: what fails, fails here.
pub async fn run(config: Config, notifier: Notifier) -> anyhow::Result<Stopped> {
    let mut signals = Signals::install().context("install signal handlers")?;
    let prepared = prepare::all(&config).await?;
    let Prepared { node, admin, store, sds, xds, dns, status, says, bound } = prepared;

    let (publish, identity) = watch::channel(None);
    let (progress, progressed) = watch::channel(hawser_identity::Progress::default());
    let (named, names) = watch::channel(None);
    let (envoy_state, envoy) = watch::channel(Default::default());
    let ca = Istiod::new(options::ca(&config), identity.clone())?;
    let istiod = Istiod::new(options::xds(&config), identity.clone())?;
    let supervised = options::supervise(&config, admin, envoy_state);
    let gates = Gates::default();
    let seen = Seen::default();
    let secrets = Arc::new(hawser_sds::Counts::default());
    let counts = Arc::new(hawser_dns::Counts::default());
    let facts = status::Facts {
        node: node.id.clone(),
        istiod: istiod.address(),
        gates: gates.clone(),
        identity: identity.clone(),
        progress: progressed,
        names: names.clone(),
        seen: seen.clone(),
        secrets: Arc::clone(&secrets),
        dns: dns.as_ref().map(|(sockets, _)| (sockets.local_addrs(), Arc::clone(&counts))),
        admin,
        envoy: supervised.as_ref().map(|_| envoy),
    };
    let peers = hawser_rt::uds::Peers::default;

    let mut tasks = Tasks::default();
    let wanted = options::identity(&config, Arc::new(store));
    let ready = gates.gate("identity");
    tasks
        .spawn("identity", |stop| hawser_identity::run(wanted, ca, publish, progress, ready, stop));
    let served = hawser_sds::Options { peers: peers(), counts: secrets };
    tasks.spawn("sds", |stop| hawser_sds::serve(sds, served, identity, stop));
    let relayed = hawser_xds::Options { peers: peers() };
    let (way, noted) = (istiod.clone(), seen.clone());
    tasks.spawn("xds", |stop| hawser_xds::serve(xds, relayed, way, noted, stop));
    tasks.spawn("names", |stop| hawser_xds::follow_names(node, istiod, named, seen, stop));
    if let Some((sockets, dns)) = dns {
        let ready = gates.gate("dns");
        tasks.spawn("dns", |stop| hawser_dns::serve(sockets, dns, names, ready, counts, stop));
    }
    let told = facts.clone();
    tasks.spawn("admin", |stop| admin::serve(says, peers(), told, stop));
    tasks.spawn("status", |stop| health::serve(status, facts, stop));
    if let Some(supervised) = supervised {
        tasks.spawn("envoy", |stop| hawser_envoy::supervise::run(supervised, stop));
    }

    let ending = async {
        tokio::select! {
            signal = signals.stop() => info!(signal, "stopping"),
            () = report(&notifier, &gates) => {}
        }
        notifier.stopping();
    };
    // Envoy drains and relayed names are waited for while the rest stops.
    let slowest = config.dns.as_ref().map_or(Duration::ZERO, |dns| dns.timeout);
    let stopped = tasks.run(ending, config.envoy.drain.max(slowest) + GRACE).await;
    drop(bound);
    Ok(stopped)
}

/// Tells systemd when everything is ready, then that it still is. Never ends.
async fn report(notifier: &Notifier, gates: &Gates) {
    let closed = gates.closed();
    if !closed.is_empty() {
        notifier.status(&format!("waits for {}", closed.join(", ")));
    }
    let feed = async {
        let Some(period) = notifier.watchdog() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(period).await;
            notifier.feed();
        }
    };
    let ready = async {
        gates.all_open().await;
        info!("ready");
        notifier.ready();
        notifier.status("ready");
        std::future::pending::<()>().await;
    };
    // Cancel safe: neither ever ends.
    tokio::select! { () = feed => {}, () = ready => {} }
}

/// How long the parts may take to end, Envoy's draining aside.
const GRACE: Duration = Duration::from_secs(10);
