//! Everything the agent opens before anything of it runs: directories, state, sockets, and Envoy's
//! bootstrap. What is missing, taken or forbidden is found here, with its name.

use std::{
    fs::{DirBuilder, File},
    io::{ErrorKind, Read as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use anyhow::Context as _;
use hawser_audit::STARTED;
use hawser_dns::Sockets;
use hawser_envoy::{bootstrap, grpc, launch::Launch};
use hawser_identity::SealKey;
use hawser_node::Node;
use hawser_rt::{
    Lock, Notifier,
    notify::Handed,
    uds::{self, Access, Claim, Door},
};
use hawser_state::{Store, write_file};
use nix::unistd::getegid;
use tokio::net::TcpListener;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::{
    addresses::Addresses,
    config::{Config, paths::Paths},
    options,
    services::{self, Begun, Wanted},
};

/// What was opened.
pub(crate) struct Prepared {
    pub(crate) node: Node,
    pub(crate) store: Store,
    pub(crate) seal: Option<SealKey>,
    pub(crate) sds: Door,
    pub(crate) status: TcpListener,
    pub(crate) says: Door,
    /// What a machine needs that does more than keep certificates.
    pub(crate) mesh: Option<Mesh>,
    /// The file of services, if there is one.
    pub(crate) services: Option<Begun>,
    pub(crate) bound: Bound,
    /// Given back when everything else is.
    pub(crate) lock: Lock,
}

/// What configuration, names and Envoy need.
pub(crate) struct Mesh {
    pub(crate) admin: SocketAddr,
    pub(crate) xds: Door,
    pub(crate) dns: Option<(Sockets, hawser_dns::Options)>,
}

/// The sockets that this process has bound. Taken away when dropped: whoever finds one expects an
/// agent behind it. One that another agent has bound in the meantime stays, and so do those that
/// systemd keeps for the next start: they go with the directory when systemd stops the service.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    own: Vec<Claim>,
    kept: Vec<Claim>,
}

impl Bound {
    fn bind(&mut self, path: &Path, access: Access) -> Result<Door, uds::Error> {
        let door = Door::open(path, access)?;
        self.own.extend(door.claim());
        Ok(door)
    }

    /// One behind which the next agent is waited for.
    fn bind_kept(
        &mut self,
        path: &Path,
        mode: u32,
        notifier: &mut Notifier,
    ) -> Result<Door, uds::Error> {
        let door = Door::open_kept(path, mode, notifier)?;
        if door.is_kept() { &mut self.kept } else { &mut self.own }.extend(door.claim());
        Ok(door)
    }

    /// What says how often each was bound again.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        self.own.iter().chain(&self.kept).cloned().collect()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        for claim in &self.own {
            if let Err(error) = claim.remove() {
                warn!(path = %claim.path().display(), %error, "socket left behind");
            }
        }
    }
}

pub(crate) async fn all(config: &Config, notifier: &mut Notifier) -> anyhow::Result<Prepared> {
    let addresses = Addresses::new(config);
    let node = node(config, addresses.now().await)?;
    let id = &config.node.id;
    let istiod = if config.is_alone() { "none".to_owned() } else { config.istiod.to_string() };
    info!(message_id = STARTED.id, node = node.id, %id, istiod, "hawser starts");
    directories(&config.paths)?;
    // Before anything is touched: two agents would take each other's place by turns.
    let lock = Lock::take(&config.paths.lock())?;
    // An agent that was told otherwise may have left it.
    if options::dns::asked(config).is_none() {
        hawser_resolved::withdraw(&config.paths.dns_domains());
    }
    let store = Store::open(&config.paths.state()).context("open the state directory")?;
    let paths = &config.paths;
    let services = Wanted::of(config).filter(|_| !config.identity.only);
    let services = services.map(|wanted| services::begin(wanted, &store)).transpose()?;
    let mut bound = Bound::default();
    let sds = bound.bind_kept(&paths.sds_socket(), ANYBODY, notifier);
    let sds = sds.context("serve certificates")?;
    // Not kept: whoever asks how an agent is that is not there is to learn just that.
    // The group says who may read there, whatever group the directory would give it.
    let ours = Access { mode: 0o660, group: Some(getegid().as_raw()) };
    let says = bound.bind(&paths.admin_socket(), ours).context("serve status")?;
    let status = TcpListener::bind(config.status).await;
    let status = status.with_context(|| {
        format!(
            "answer /healthz/ready on {}; if another program has it, set status.listen",
            config.status
        )
    })?;
    let seal = seal_key(config.identity.seal.as_deref());
    let mesh = match config.identity.only {
        true => None,
        false => {
            let xds = bound.bind_kept(&paths.xds_socket(), ANYBODY, notifier);
            let xds = xds.context("serve configuration")?;
            let dns = dns(config, services.as_ref(), notifier)?;
            Some(mesh(config, &node, status.local_addr()?, xds, dns)?)
        }
    };
    for Handed { name, .. } in notifier.handed() {
        warn!(name, "a socket that was handed over is of no use");
        notifier.remove(&name);
    }
    Ok(Prepared { node, store, seal, sds, status, says, mesh, services, bound, lock })
}

fn mesh(
    config: &Config,
    node: &Node,
    agent: SocketAddr,
    xds: Door,
    dns: Option<(Sockets, hawser_dns::Options)>,
) -> anyhow::Result<Mesh> {
    let paths = &config.paths;
    let bootstrap = options::bootstrap(config, agent);
    let document = serde_json::to_vec_pretty(&bootstrap::render(&bootstrap, node))?;
    write_file(&paths.bootstrap(), 0o640, &document).context("write Envoy's bootstrap")?;
    let document = serde_json::to_vec_pretty(&grpc::bootstrap(&options::grpc(config), node))?;
    write_file(&paths.grpc_bootstrap(), 0o644, &document).context("write gRPC's bootstrap")?;
    let admin = bootstrap::admin_address(&bootstrap, node);
    // With the bootstrap, all that Envoy's unit has to know.
    let document = serde_json::to_vec_pretty(&options::launch(config, node, admin))?;
    let path = Launch::path(&paths.run());
    write_file(&path, 0o640, &document).context("write how Envoy is started")?;
    Ok(Mesh { admin, xds, dns })
}

/// The sockets for DNS: those of an earlier life where they were kept, so that what has come in since
/// is answered, and new ones for the rest, which are kept from now on.
fn dns(
    config: &Config,
    services: Option<&Begun>,
    notifier: &mut Notifier,
) -> anyhow::Result<Option<(Sockets, hawser_dns::Options)>> {
    let Some(dns) = &config.dns else { return Ok(None) };
    let forwarder = services.and_then(|begun| begun.standing.services.forwarder.as_ref());
    let dns = &options::dns::with(dns, forwarder);
    let options = options::dns(config, dns)?;
    let handed = notifier.handed();
    let names: Vec<_> = handed.iter().map(|handed| handed.name.clone()).collect();
    let bound = Sockets::inherit(&dns.listen, options::dns::workers(dns), handed);
    if bound.is_err() {
        // What was kept may itself be in the way, of a wildcard say: the next start is without.
        names.iter().for_each(|name| notifier.remove(name));
    }
    let (sockets, unfit) = bound?;
    for Handed { name, fd } in unfit {
        warn!(name, listen = ?dns.listen, "a socket that was handed over fits no address of dns.listen");
        drop(fd);
        notifier.remove(&name);
    }
    sockets.fresh(|name, fd| notifier.store(name, fd));
    Ok(Some((sockets, options)))
}

/// The key that systemd hands over, where `hawser identity seal` has made one. One that cannot be
/// used is no reason not to start.
fn seal_key(path: Option<&Path>) -> Option<SealKey> {
    let path = path?;
    // One byte more than a key has, to tell one that is too long.
    let mut read = Zeroizing::new(Vec::with_capacity(SealKey::LENGTH + 1));
    let limit = SealKey::LENGTH as u64 + 1;
    let file = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut read));
    match file {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(path = %path.display(), %error, "seal cannot be read, state is kept plain");
            return None;
        }
    }
    match SealKey::from_bytes(&read) {
        Ok(key) => Some(key),
        Err(error) => {
            warn!(path = %path.display(), %error, "seal cannot be used, state is kept plain");
            None
        }
    }
}

fn node(config: &Config, ips: Vec<IpAddr>) -> anyhow::Result<Node> {
    let (node, warnings) = Node::new(&options::facts(config, ips))?;
    for warning in warnings {
        warn!(%warning, "left out of what istiod is told");
    }
    for setting in options::unheeded(config) {
        warn!(setting, "not heeded");
    }
    Ok(node)
}

/// systemd makes them for the service; elsewhere nobody else does.
fn directories(paths: &Paths) -> anyhow::Result<()> {
    for (dir, mode) in [(paths.run(), 0o755), (paths.state(), 0o700), (paths.cache(), 0o755)] {
        if !dir.exists() {
            let make = DirBuilder::new().recursive(true).mode(mode).create(&dir);
            make.with_context(|| format!("make {}", dir.display()))?;
        }
    }
    Ok(())
}

/// Whoever may not speak there is told apart by the agent, so that it can say so.
const ANYBODY: u32 = 0o666;
