//! Names to programs: answers mesh names, relays all others.
//!
//! A query is answered from the table of names where the table knows the name, and relayed as it
//! is to the resolvers of the machine where it does not; without a table every query is relayed.
//! Nothing that istiod does or fails to do stops names outside the mesh from being resolved.
//!
//! `answer` decides, on values; `table` is what it decides from; `message` and `name` are how both
//! read what travels. `listen` and `relay` carry it out, once per `worker`; `proxy` is what the
//! workers have in common.

pub mod answer;
pub mod explain;
pub mod kept;
pub mod listing;
pub mod loops;
pub mod message;
pub mod name;
pub mod neighbours;
pub mod reply;
pub mod resolv;
pub mod sign;
pub mod table;

mod cache;
mod counts;
mod listen;
mod proxy;
mod relay;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hawser_rt::Cidr;

pub use counts::{Answers, Code, Counts, Kind, Latency, Source, Totals};
pub use listen::Sockets;
pub use proxy::{Known, Proxy};
pub use relay::Forward;
pub use relay::resolvers::{ResolverStatus, Resolvers, Upstream};
pub use resolv::Upstreams;
pub use table::{Scope, Search, Style, Table};
pub use worker::Worker;

use loops::Loops;
use proxy::Shared;
use relay::Relay;
use resolv::keep::Keep;
use resolv::watch::Follower;
use worker::Place;

/// What the proxy is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who asks.
    pub scope: Scope,
    /// Domains that resolvers of this machine append to names, where no file tells.
    pub search: Vec<String>,
    /// Whom to ask about names outside the mesh.
    pub upstreams: Upstreams,
    /// How they are asked.
    pub forward: Forward,
    /// Who may ask on an address that is not loopback, besides this machine.
    pub allow: Vec<Cidr>,
    /// Where names are kept for a start without istiod, if they are.
    pub kept: Option<kept::Place>,
}

/// DNS cannot be served.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error(
        "listen for DNS on {address}: another program has the address; \
         stop it (`ss -lnp` names it) or choose another address"
    )]
    AddressTaken { address: SocketAddr },
    #[error(
        "listen for DNS on {address}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, \
         which the drop-in /usr/share/hawser/low-ports.conf gives hawser.service; any other port does not"
    )]
    AddressForbidden { address: SocketAddr },
    #[error("listen for DNS on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("serve DNS on {address}")]
    Serve { address: SocketAddr, source: io::Error },
}

/// The proxy on `sockets`: what it has in common, and the workers that serve it, each of which is
/// to be run on a thread of its own.
pub fn proxy(sockets: Sockets, options: Options) -> Result<(Proxy, Vec<Worker>), Error> {
    let own = sockets.local_addrs();
    let (fixed, followed) = options.upstreams.apart(&own);
    let follower = followed.map(Follower::open);
    let read = follower.as_ref().map(Follower::now);
    let servers = read.map(|read| read.servers.iter().copied().map(Upstream::from).collect());
    let listed = fixed.clone().or(servers).unwrap_or_default();
    let search = read.map_or(&options.search, |read| &read.search);
    let resolvers = Arc::new(Resolvers::new(listed));
    let loops = Arc::new(Loops::new());
    let shared = Arc::new(Shared::new(options.scope, Search::new(search)));
    let keeper = options.kept.map(|place| shared.begin(place));
    let workers: Vec<_> = sockets
        .dealt()
        .into_iter()
        .map(|(datagrams, streams)| {
            let counts = Arc::<Counts>::default();
            let (resolvers, told) = (Arc::clone(&resolvers), Arc::clone(&counts));
            let relay = Relay::new(resolvers, options.forward.clone(), told, Arc::clone(&loops));
            let place = Arc::new(Place {
                shared: Arc::clone(&shared),
                relay,
                counts,
                allow: options.allow.clone(),
            });
            Worker { place, datagrams, streams }
        })
        .collect();
    let plain = |list: Vec<Upstream>| {
        list.into_iter().filter(|one| one.tls.is_none()).map(|one| one.address).collect()
    };
    let lost = resolvers.lost();
    let keep = Keep { follower, own, fixed: fixed.map(plain), loops, lost };
    Ok((Proxy::new(shared, resolvers, &workers, (keep, keeper)), workers))
}
