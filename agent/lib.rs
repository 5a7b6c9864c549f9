//! The agent as a library: what is built, in which order, and which channel joins whom.
//!
//! ```text
//!  token ──▶ identity ──▶ sds ───────────▶ Envoy
//!  istiod ─▶ xds ────────────────────────▶ Envoy
//!            └─ name table ─▶ dns ───────▶ programs
//! ```
//!
//! Identity, SDS, xDS and DNS never import each other; this is where they meet.

mod addresses;
pub mod bundle;
pub mod check;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod drain;
pub mod explain;
pub mod install;
mod life;
pub mod log;
pub mod maintenance;
mod options;
mod prepare;
pub mod services;
pub mod status;
mod wellness;

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use hawser_audit::RENEWAL_ASKED;
use hawser_dns::neighbours::{self, Machine};
use hawser_envoy::{admin::Admin, readiness};
use hawser_health::Probe;
use hawser_identity::SealKey;
use hawser_istiod::{Credentials, Istiod};
use hawser_lastgood::Shelf;
use hawser_node::Node;
use hawser_pki::{Bundle, Identity};
use hawser_proto::Names;
use hawser_rt::{
    Chain, Clock, Gates, Notifier, Stopped, Tasks,
    metrics::Registry,
    signal::Signals,
    uds::{Door, Peers},
};
use hawser_state::Store;
use hawser_wasm::Modules;
use hawser_xds::Seen;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, watch},
};
use tracing::{info, warn};

use crate::{
    addresses::Addresses,
    config::{Config, dns::Mode, source::Sources},
    drain::Drain,
    life::{Life, reload::Reload},
    maintenance::Maintenance,
    prepare::{Mesh, Prepared},
    status::{admin, past::Past, port},
    wellness::Wellness,
};

pub use life::reload::{Reading, Reloads};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the agent until it is told to stop, or a part of it fails.
///
/// Everything that can be missing or taken is opened before anything runs: what fails, fails here.
/// `reload` is told by SIGHUP, if `notifier` leads to a service manager; a terminal means by it that
/// it is gone.
pub async fn run(
    config: Config,
    mut notifier: Notifier,
    (reading, sources, log): (Reading, Sources, log::Log),
) -> anyhow::Result<Stopped> {
    let mut signals = Signals::install().context("install signal handlers")?;
    let asked = signal(SignalKind::user_defined1()).context("install signal handlers")?;
    let hangup = notifier.is_heard().then(|| signal(SignalKind::hangup())).transpose();
    let hangup = hangup.context("install signal handlers")?;
    let reload = Reload::new((reading, sources, log.level.clone()), hangup);
    if let Err(error) = hawser_rt::harden::no_core_dumps() {
        warn!(%error, "a crash may leave a core with the key in it");
    }
    let prepared = prepare::all(&config, &mut notifier).await?;
    let Prepared { node, store, seal, sds, status, says, mesh, services, bound, lock } = prepared;
    let past = Arc::new(Past::begin(&config.paths, SystemTime::now()));
    let mut agent = Agent::new(&config);
    status::count_doors(&agent.metrics, bound.claims());
    agent.metrics.tell_of_process(OF_ISTIO);
    status::metrics::of_process(&agent.metrics, past.since, past.status().restarts);
    let (add_trust, mesh_trust) = watch::channel(None);

    let store = Arc::new(store);
    let services = services.map(|begun| (begun, Arc::clone(&store)));
    let flow = agent.identity(Arc::clone(&store), seal, mesh_trust, asked)?;
    let secrets = agent.secrets(sds, &flow);
    let exported = agent.export(&flow);
    let istiod = agent.way(options::xds(&config), &flow)?;
    let mut facts = status::Facts {
        paths: config.paths.clone(),
        redirects: status::lacks::redirects(&config.intercept),
        node: watch::channel(Arc::new(node.clone())).1,
        istiod: istiod.address(),
        gates: agent.gates.clone(),
        identity: status::identity::Facts {
            identity: flow.identity,
            trusted: flow.trusted,
            progress: flow.progress,
            credentials: flow.credentials,
            exported,
        },
        secrets,
        metrics: agent.metrics.clone(),
        log,
        found: status::metrics::Found::registered(&agent.metrics),
        past: Arc::clone(&past),
        settings: Arc::default(),
        mesh: None,
    };
    if let Some(mesh) = mesh {
        facts.node = agent.whereabouts(node);
        let kept = (Maintenance::kept(store, agent.clock.clone()), facts.identity.identity.clone());
        let sources = agent.sources(istiod, services);
        facts.mesh = Some(agent.mesh(mesh, facts.node.clone(), sources, add_trust, kept)?);
    }
    let Agent { mut tasks, clock, .. } = agent;
    let told = facts.clone();
    tasks.spawn("admin", |stop| admin::serve(says, told, stop));
    let (port, quit) = options::port(&config, facts.clone());
    tasks.spawn("status", |stop| port::serve(status, port, stop));

    let notifier = Arc::new(notifier);
    let life = Life::begin(Arc::clone(&notifier), (facts, clock), reload, &mut tasks)
        .context("start a thread for the watchdog")?;
    let ending = async {
        tokio::select! {
            signal = signals.stop() => info!(signal, "stopping"),
            () = quit.cancelled() => info!("stopping, as was asked for at the status port"),
            () = life.tell() => {}
        }
        notifier.stopping();
    };
    // Envoy drains and relayed names are waited for while the rest stops.
    let slowest = config.dns.as_ref().map_or(Duration::ZERO, |dns| dns.timeout);
    let stopped = tasks.run(ending, config.envoy.drain.max(slowest) + GRACE).await;
    past.end(&stopped.to_string(), matches!(stopped, Stopped::Clean), SystemTime::now());
    drop((bound, lock));
    Ok(stopped)
}

/// What the flows are started with.
struct Agent<'a> {
    config: &'a Config,
    tasks: Tasks,
    gates: Gates,
    clock: Clock,
    metrics: Registry,
    /// Envoy, and how many others have tried to be it.
    peers: Peers,
}

/// What the identity flow gives to the others.
struct Identified {
    identity: watch::Receiver<Option<Arc<Identity>>>,
    learned: watch::Receiver<Option<Arc<Bundle>>>,
    trusted: watch::Receiver<Option<Arc<Bundle>>>,
    progress: watch::Receiver<hawser_identity::Progress>,
    credentials: Credentials,
}

impl<'a> Agent<'a> {
    fn new(config: &'a Config) -> Self {
        Self {
            config,
            tasks: Tasks::default(),
            gates: Gates::default(),
            clock: Clock::default(),
            metrics: Registry::default(),
            peers: options::peers(config),
        }
    }

    /// Token to identity: the certificate, the roots, and what istiod is shown.
    fn identity(
        &mut self,
        store: Arc<Store>,
        seal: Option<SealKey>,
        mesh_trust: watch::Receiver<Option<Arc<Bundle>>>,
        mut asked: Signal,
    ) -> anyhow::Result<Identified> {
        let (publish, identity) = watch::channel(None);
        let (learn, learned) = watch::channel(None);
        let (trust, trusted) = watch::channel(None);
        let (tell, progress) = watch::channel(hawser_identity::Progress::default());
        let shown = options::credentials(self.config);
        let credentials = Credentials::new(shown, identity.clone(), self.clock.clone());
        let flow = Identified { identity, learned, trusted, progress, credentials };

        let renew = Arc::new(Notify::new());
        let ca = self.way(options::ca(self.config), &flow)?;
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        let wanted = options::identity(self.config, store, seal, clock, metrics);
        let outlets = hawser_identity::Outlets {
            identity: publish,
            learned: learn,
            trusted: trust,
            progress: tell,
        };
        let inlets = hawser_identity::Inlets { mesh_trust, renew: Arc::clone(&renew) };
        let (ready, shown) = (self.gates.gate("identity"), flow.credentials.clone());
        self.tasks.spawn("identity", |stop| {
            hawser_identity::run(wanted, ca, shown, outlets, inlets, ready, stop)
        });
        self.tasks.spawn("renewals", |stop| async move {
            let heed = async {
                while asked.recv().await.is_some() {
                    info!(message_id = RENEWAL_ASKED.id, "told to renew the certificate");
                    renew.notify_one();
                }
            };
            stop.run_until_cancelled(heed).await;
            Ok::<_, Infallible>(())
        });
        Ok(flow)
    }

    /// A way to istiod that shows what there is and believes what was learned.
    fn way(&self, to: hawser_istiod::Options, flow: &Identified) -> anyhow::Result<Istiod> {
        let (credentials, learned) = (flow.credentials.clone(), flow.learned.clone());
        Ok(Istiod::new(to, credentials, learned, self.clock.clone())?)
    }

    /// Identity to Envoy.
    fn secrets(&mut self, listener: Door, flow: &Identified) -> Arc<hawser_sds::Counts> {
        let counts = Arc::new(hawser_sds::Counts::registered(&self.metrics));
        let peers = self.peers.clone();
        let options = options::secrets(self.config, peers, Arc::clone(&counts));
        let (pair, roots) = (flow.identity.clone(), flow.trusted.clone());
        self.tasks.spawn("sds", |stop| hawser_sds::serve(listener, options, pair, roots, stop));
        counts
    }

    /// Identity to other programs, if any want it.
    fn export(&mut self, flow: &Identified) -> Option<watch::Receiver<hawser_export::Exported>> {
        let wanted = options::export(self.config)?;
        let (tell, exported) = watch::channel(hawser_export::Exported::default());
        let (pair, roots) = (flow.identity.clone(), flow.trusted.clone());
        self.tasks.spawn("export", |stop| hawser_export::run(wanted, pair, roots, tell, stop));
        Some(exported)
    }

    /// Where configuration comes from: istiod, the file of services, or both.
    fn sources(
        &mut self,
        istiod: Istiod,
        services: Option<(services::Begun, Arc<Store>)>,
    ) -> services::Sources {
        let begun = services.as_ref().map(|(begun, _)| begun);
        let (sources, outlets) = services::Sources::new(istiod, begun);
        if let Some(((begun, store), outlets)) = services.zip(outlets) {
            self.tasks.spawn("services", |stop| services::follow(begun, store, outlets, stop));
        }
        sources
    }

    /// Configuration, names, and Envoy: what a machine does besides keeping its certificate.
    fn mesh(
        &mut self,
        mesh: Mesh,
        node: watch::Receiver<Arc<Node>>,
        sources: services::Sources,
        add_trust: watch::Sender<Option<Arc<Bundle>>>,
        (maintenance, identity): (Maintenance, watch::Receiver<Option<Arc<Identity>>>),
    ) -> anyhow::Result<status::Mesh> {
        let Mesh { admin, xds, dns } = mesh;
        let config = self.config;
        status::units::envoy::register(&config.paths, &self.metrics);
        status::units::intercept::register(&config.paths, &self.metrics);
        let (named, names) = watch::channel(None);
        let (envoy_state, envoy) = watch::channel(Default::default());
        let supervised = options::supervise(config, &node.borrow(), admin, envoy_state)?;
        let seen = Seen::default();
        status::metrics::of_istiod(&self.metrics, &seen);
        let probes = options::probes(config);
        let services = sources.file.as_ref().map(services::Followed::standing);
        let drain = Drain::new(!probes.is_empty(), Some(seen.clone()), options::inbound(config));
        let drain = drain.with(services.clone());
        let clock = self.clock.clone();
        let wellness =
            Wellness { drain: drain.clone(), maintenance: maintenance.clone(), identity, clock };
        let health = self.health(admin, node.clone(), probes, wellness);
        let (shelf, modules) = (self.shelf(), self.modules());
        let peers = self.peers.clone();
        let dns = dns.map(|dns| self.resolver(dns, names.clone())).transpose()?;
        // Names of the last run outlive an empty table as those do that istiod has sent. Whoever
        // waits for news does not hear of them.
        let kept = dns.as_ref().and_then(|dns| dns.proxy.names()).map(|known| known.names);
        let (kept, named) = match sources.file.clone().filter(|_| !sources.is_alone()) {
            None => (kept, named),
            Some(file) => {
                let kept = kept.map(|kept| file.of_mesh(&kept));
                let (mesh_named, mesh) = watch::channel(kept.clone());
                self.tasks.spawn("joined names", |stop| file.join(mesh, named, stop));
                (kept, mesh_named)
            }
        };
        named.send_if_modified(|names| {
            *names = kept;
            false
        });
        let facts = status::Mesh {
            names,
            seen: seen.clone(),
            kept: shelf.standing(),
            replaced: modules.as_ref().map(Modules::replaced),
            refused: Arc::clone(&peers.refused),
            health: health.clone(),
            drain,
            maintenance,
            dns,
            admin,
            envoy: supervised.as_ref().map(|_| envoy),
            services,
        };
        if let Some(services) = &facts.services {
            status::services::register(&self.metrics, services);
        }
        let alone = sources.is_alone();
        let parts = hawser_xds::Parts {
            source: sources.configuration,
            shelf,
            modules,
            health,
            node: node.clone(),
            metrics: self.metrics.clone(),
        };
        let (relayed, noted) = (options::relay(config, peers), seen.clone());
        let relay = move |stop| hawser_xds::serve(xds, relayed, parts, noted, stop);
        self.tasks.spawn_apart("xds", relay).context("start a thread for configuration")?;
        let trust = (config.relay.trust_bundle && !alone).then_some(add_trust);
        let own = hawser_xds::Own { names: named, trust };
        self.tasks.spawn("own", |stop| hawser_xds::follow(node, sources.own, own, seen, stop));
        if let Some(supervised) = supervised {
            self.tasks.spawn("envoy", |stop| hawser_envoy::supervise::run(supervised, stop));
        }
        Ok(facts)
    }

    /// Names to programs: where it listens, and what answers there.
    fn resolver(
        &mut self,
        (sockets, options): (hawser_dns::Sockets, hawser_dns::Options),
        names: watch::Receiver<Option<Names>>,
    ) -> anyhow::Result<status::dns::Dns> {
        let listen = sockets.local_addrs();
        let (proxy, workers) = hawser_dns::proxy(sockets, options)?;
        for worker in workers {
            let serve = |stop| worker.serve(stop);
            // Programs go on asking while Envoy drains.
            self.tasks.spawn_lasting("dns", serve).context("start a thread for DNS")?;
        }
        let kept = proxy.names().map(|known| known.names).unwrap_or_default();
        self.announce(&listen, kept, names.clone());
        let (ready, followed) = (self.gates.gate("dns"), proxy.clone());
        self.tasks.spawn("names", |stop| async move {
            followed.follow(names, ready, stop).await;
            Ok::<_, Infallible>(())
        });
        let split = self.config.dns.as_ref().is_some_and(|dns| dns.mode == Mode::Resolved);
        neighbours::tell(&neighbours::look(&Machine { root: Path::new("/"), split }));
        let dns = status::dns::Dns { listen, proxy, split };
        dns.register(&self.metrics);
        Ok(dns)
    }

    /// What systemd-resolved is to ask for, if it is to ask.
    fn announce(
        &mut self,
        listen: &[SocketAddr],
        kept: Names,
        names: watch::Receiver<Option<Names>>,
    ) {
        let asked = options::dns::asked(self.config);
        let (Some(asked), Some(listen)) = (asked, listen.first().copied()) else { return };
        let path = self.config.paths.dns_domains();
        let announced = hawser_resolved::Announced { path, listen, asked, kept };
        let ready = self.gates.gate("domains");
        let announce = |stop| hawser_resolved::announce(announced, names, ready, stop);
        self.tasks.spawn("domains", announce);
    }

    /// What Envoy took last; all of it is on disk when the agent ends.
    fn shelf(&mut self) -> Shelf {
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        let shelf = Shelf::open(options::shelf(self.config, clock, metrics));
        let kept = shelf.clone();
        self.tasks.spawn("shelf", |stop| async move {
            stop.cancelled().await;
            kept.closed().await;
            Ok::<_, Infallible>(())
        });
        shelf
    }

    /// Wasm modules, if the agent is to fetch them.
    fn modules(&mut self) -> Option<Modules> {
        let wanted = options::modules(self.config, self.clock.clone(), self.metrics.clone())?;
        let modules = Modules::new(wanted);
        let kept = modules.clone();
        self.tasks.spawn("modules", |stop| async move {
            kept.purge(stop).await;
            Ok::<_, Infallible>(())
        });
        Some(modules)
    }

    /// The node, which moves when its addresses change.
    fn whereabouts(&mut self, node: Node) -> watch::Receiver<Arc<Node>> {
        let (publish, node) = watch::channel(Arc::new(node));
        let addresses = Addresses::new(self.config);
        self.tasks.spawn("addresses", |stop| addresses.follow(publish, stop));
        node
    }

    /// Whether the machine is well, if somebody wants to know.
    fn health(
        &mut self,
        admin: SocketAddr,
        node: watch::Receiver<Arc<Node>>,
        probes: Vec<Probe>,
        wellness: Wellness,
    ) -> watch::Receiver<hawser_health::Verdict> {
        let (tell, found) = watch::channel(None);
        if !probes.is_empty() {
            let wanted = hawser_health::Options { probes, node };
            let envoy = move || envoy_readiness(admin);
            self.tasks.spawn("health", |stop| hawser_health::run(wanted, envoy, tell, stop));
        }
        let (tell, health) = watch::channel(None);
        wellness.register(&self.metrics, health.clone());
        self.tasks.spawn("wellness", |stop| async move {
            wellness.follow(found, tell, stop).await;
            Ok::<_, Infallible>(())
        });
        health
    }
}

/// Whether Envoy is ready, or why not.
async fn envoy_readiness(admin: SocketAddr) -> Result<(), String> {
    match Admin::new(admin).with_limit(ENVOY_PATIENCE).readiness().await {
        Ok(readiness::Verdict::Ready) => Ok(()),
        Ok(readiness::Verdict::NotReady(reason)) => Err(reason.to_string()),
        Err(error) => Err(Chain(&error).to_string()),
    }
}

/// What the names begin with that dashboards of Istio's agent know.
const OF_ISTIO: &str = "istio_agent_";
const ENVOY_PATIENCE: Duration = Duration::from_secs(3);
/// How long the parts may take to end, Envoy's draining aside.
const GRACE: Duration = Duration::from_secs(10);
