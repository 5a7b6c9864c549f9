//! What the istiods of one mesh have in common: the world, and the machines registered in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hawser_proto::envoy::envoy::config::core::v3::{
    Address, SocketAddress, address, socket_address,
};
use hawser_proto::envoy::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::journal::Seen;
use super::registry::Registry;
use super::world::World;

/// Shared by all istiods of a mesh, as the Kubernetes API is.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) world: World,
    registry: Mutex<Registry>,
    /// The journals that show the registry.
    shown: Mutex<Vec<watch::Sender<Seen>>>,
    /// Clusters whose endpoints are the machines of a group: group and port by cluster.
    served: Mutex<BTreeMap<String, (String, u16)>>,
    pub(super) grace: Mutex<Duration>,
    streams: AtomicU64,
}

impl Plane {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            world: World::default(),
            registry: Mutex::default(),
            shown: Mutex::default(),
            served: Mutex::default(),
            grace: Mutex::new(Duration::from_secs(10)),
            streams: AtomicU64::new(0),
        })
    }

    /// Numbers are given once in a mesh, so that an entry knows its streams at any istiod.
    pub(super) fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Shows the registry in one more journal.
    pub(super) fn show(&self, seen: &watch::Sender<Seen>) {
        let registry = self.registry.lock().clone();
        seen.send_modify(|seen| seen.registry = registry);
        self.shown.lock().push(seen.clone());
    }

    /// Changes the registry, and with it the endpoints of what its machines serve.
    pub(super) fn registry<T>(&self, edit: impl FnOnce(&mut Registry) -> T) -> T {
        // Held to the end, so that nobody is shown an older state after a newer one.
        let mut registry = self.registry.lock();
        let answer = edit(&mut registry);
        for seen in self.shown.lock().iter() {
            seen.send_modify(|seen| seen.registry = registry.clone());
        }
        self.publish(&registry);
        answer
    }

    pub(super) fn serve(&self, cluster: &str, group: &str, port: u16) {
        self.served.lock().insert(cluster.to_owned(), (group.to_owned(), port));
        self.registry(|_| ());
    }

    fn publish(&self, registry: &Registry) {
        let served = self.served.lock();
        let lists = served.iter().map(|(cluster, (group, port))| {
            let addresses = registry.serving(group);
            assignment(cluster, &addresses, *port)
        });
        self.world.change_endpoints(lists.collect());
    }

    pub(super) fn clean_up(&self, entry: &str, since: Instant) {
        self.registry(|registry| registry.clean_up(entry, since));
    }
}

fn assignment(cluster: &str, addresses: &[String], port: u16) -> ClusterLoadAssignment {
    let endpoint = |address: &String| LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
            address: Some(Address {
                address: Some(address::Address::SocketAddress(SocketAddress {
                    address: address.clone(),
                    port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
                    ..SocketAddress::default()
                })),
            }),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    let lb_endpoints: Vec<_> = addresses.iter().map(endpoint).collect();
    let localities = LocalityLbEndpoints { lb_endpoints, ..LocalityLbEndpoints::default() };
    let some = !addresses.is_empty();
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: some.then_some(localities).into_iter().collect(),
        ..ClusterLoadAssignment::default()
    }
}
