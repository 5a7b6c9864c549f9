//! The addresses that this machine has in the mesh: at the start, and whenever they change.
//!
//! The first of them is the one under which the mesh reaches the machine. Where nobody has set it,
//! it is the one from which the machine speaks to istiod.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hawser_istiod::Endpoint;
use hawser_node::{Node, addresses};
use hawser_rt::{Chain, addresses::Changes};
use tokio::{net::lookup_host, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::{Config, source};

/// What decides which addresses there are, and which is the first.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    set: Option<IpAddr>,
    istiod: Option<Endpoint>,
    /// What the bundle says of it.
    known: Vec<IpAddr>,
}

impl Addresses {
    pub(crate) fn new(config: &Config) -> Self {
        let istiod = config.istiod.endpoints.first().cloned();
        let known = istiod.as_ref().map(|istiod| config.hosts.addresses(&istiod.host).to_vec());
        Self { set: config.node.ip, istiod, known: known.unwrap_or_default() }
    }

    /// Those of this moment; loopback on a machine that has none.
    pub(crate) async fn now(&self) -> Vec<IpAddr> {
        self.ordered(&source::addresses()).await
    }

    async fn ordered(&self, others: &[IpAddr]) -> Vec<IpAddr> {
        let source = match (self.set, self.peer().await) {
            (None, Some(peer)) => hawser_rt::addresses::towards(peer).ok(),
            _ => None,
        };
        addresses::order(self.set, source, others)
    }

    /// Publishes the node anew whenever its addresses have changed.
    pub(crate) async fn follow(
        self,
        node: watch::Sender<Arc<Node>>,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut changes = Changes::watch();
        // What is dropped half-way is a look that nobody waits for.
        let follow = async {
            loop {
                changes.next().await;
                let others = source::addresses();
                if others.is_empty() && self.set.is_none() {
                    debug!("no address at the moment, the last one is kept");
                    continue;
                }
                let ips = self.ordered(&others).await;
                node.send_if_modified(|node| moved(node, &ips));
            }
        };
        stop.run_until_cancelled(follow).await;
        Ok(())
    }

    /// Where istiod is, if that can be told soon.
    async fn peer(&self) -> Option<SocketAddr> {
        let Endpoint { host, port, .. } = self.istiod.as_ref()?;
        let known = host.parse().ok().or_else(|| self.known.first().copied());
        if let Some(ip) = known {
            return Some(SocketAddr::new(ip, *port));
        }
        match timeout(PATIENCE, lookup_host((host.as_str(), *port))).await {
            Ok(Ok(mut found)) => found.next(),
            Ok(Err(error)) => {
                debug!(host, %error, "no route to istiod is known by its name");
                None
            }
            Err(_) => None,
        }
    }
}

/// Moves the node to these addresses; false if it is there already.
fn moved(node: &mut Arc<Node>, ips: &[IpAddr]) -> bool {
    let new = match node.with_ips(ips) {
        Ok(new) => new,
        Err(error) => {
            warn!(error = %Chain(&error), "addresses cannot be taken over");
            return false;
        }
    };
    if new == **node {
        return false;
    }
    info!(before = ?node.ips, now = ?new.ips, id = new.id, "addresses of this machine changed");
    *node = Arc::new(new);
    true
}

/// Names are not waited for at the start.
const PATIENCE: Duration = Duration::from_secs(1);
