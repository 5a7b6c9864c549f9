//! Names to programs: answers mesh names, relays all others.
//!
//! A query is answered from the table of names where the table knows the name, and relayed as it
//! is to the resolvers of the machine where it does not; without a table every query is relayed.
//! Nothing that istiod does or fails to do stops names outside the mesh from being resolved.
//!
//! `answer` decides, on values; `table` is what it decides from; `message` and `name` are how both
//! read what travels. `listen` and `forward` carry it out.

pub mod answer;
pub mod message;
pub mod name;
pub mod reply;
pub mod resolv;
pub mod table;

mod counts;
mod forward;
mod listen;

use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hawser_proto::istio::nds::NameTable;
use hawser_rt::{Gate, Throttle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use counts::{Counts, Totals};
pub use listen::Sockets;
pub use resolv::Upstreams;
pub use table::{Scope, Table};

use answer::{Action, Transport};
use forward::Relay;
use listen::{tcp, udp};
use resolv::Resolvers;

static BAD_NAMES: Throttle = Throttle::new(Duration::from_secs(600));

/// What the proxy is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who asks.
    pub scope: Scope,
    /// Whom to ask about names outside the mesh.
    pub upstreams: Upstreams,
    /// How long a client is made to wait for a relayed answer, all attempts together.
    pub timeout: Duration,
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
         any other port does not"
    )]
    AddressForbidden { address: SocketAddr },
    #[error("listen for DNS on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("serve DNS on {address}")]
    Serve { address: SocketAddr, source: io::Error },
    #[error("read resolvers from {}", path.display())]
    ReadResolvConf { path: PathBuf, source: io::Error },
}

/// Answers on `sockets` until `stop`, from the latest of `names`.
///
/// Opens `ready` once queries are answered; whether names of the mesh are known by then is not
/// asked, since those outside must not wait for them. At the end every query that has come in is
/// answered, which takes at most [`Options::timeout`] and the time of a slow client.
pub async fn serve(
    sockets: Sockets,
    options: Options,
    names: watch::Receiver<Option<Arc<NameTable>>>,
    ready: Gate,
    counts: Arc<Counts>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let resolvers = Resolvers::open(options.upstreams, sockets.local_addrs()).await;
    let proxy = Arc::new(Proxy {
        table: ArcSwapOption::empty(),
        relay: Arc::new(Relay::new(resolvers, options.timeout, Arc::clone(&counts))),
        counts,
    });
    let mut parts = JoinSet::new();
    for bound in sockets.bound {
        let address = bound.address;
        let fail = |source| Error::Serve { address, source };
        let port = Arc::new(udp::Port::new(bound.udp).map_err(fail)?);
        let listener = TcpListener::from_std(bound.tcp).map_err(fail)?;
        parts.spawn(udp::serve(port, Arc::clone(&proxy), stop.clone()));
        parts.spawn(tcp::serve(listener, Arc::clone(&proxy), stop.clone()));
        info!(peer = %address, "answering DNS");
    }
    parts.spawn(follow(names, options.scope, proxy, stop));
    ready.open();
    while let Some(ended) = parts.join_next().await {
        ended.unwrap_or_else(hand_on);
    }
    Ok(())
}

/// What all listeners share.
#[derive(Debug)]
struct Proxy {
    /// Written by [`follow`] alone.
    table: ArcSwapOption<Table>,
    relay: Arc<Relay>,
    counts: Arc<Counts>,
}

impl Proxy {
    fn answer(
        &self,
        packet: &[u8],
        transport: Transport,
        dice: &mut fastrand::Rng,
        out: &mut Vec<u8>,
    ) -> Action {
        let table = self.table.load();
        let action = answer::answer(packet, table.as_deref(), transport, dice, out);
        self.counts.queries.add();
        match action {
            Action::Answer => self.counts.answered.add(),
            Action::Refuse => self.counts.refused.add(),
            Action::Drop => self.counts.dropped.add(),
            // Counted where it is taken on or turned away.
            Action::Relay(_) => {}
        }
        action
    }

    /// Arranges the names and puts them to use.
    fn take(&self, names: &NameTable, scope: &Scope) {
        let started = Instant::now();
        let (table, skipped) = Table::build(names, scope);
        let took = started.elapsed();
        let names = table.names();
        let left_out = skipped.names + skipped.addresses;
        let first = self.table.swap(Some(Arc::new(table))).is_none();
        self.counts.tables.add();
        self.counts.names.set(names);
        self.counts.names_skipped.set(left_out);
        if first {
            info!(names, ?took, "names of the mesh are known");
        } else {
            debug!(names, ?took, "names of the mesh replaced");
        }
        if left_out > 0
            && let Some(suppressed) = BAD_NAMES.allow()
        {
            warn!(left_out, name = ?skipped.first, suppressed, "names from istiod are unusable");
        }
    }
}

/// Puts every table that comes to use.
///
/// Arranging a large one takes a while, and so does giving up the old one: both are done beside the
/// threads that answer.
async fn follow(
    mut names: watch::Receiver<Option<Arc<NameTable>>>,
    scope: Scope,
    proxy: Arc<Proxy>,
    stop: CancellationToken,
) {
    let scope = Arc::new(scope);
    loop {
        let latest = names.borrow_and_update().clone();
        if let Some(latest) = latest {
            let (proxy, scope) = (Arc::clone(&proxy), Arc::clone(&scope));
            spawn_blocking(move || proxy.take(&latest, &scope)).await.unwrap_or_else(hand_on);
        }
        // Whoever publishes the names may be gone: the last ones stay in use.
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = names.changed() => {}
        }
    }
}

/// A part ends when it is told to, or panics; that is not to go unnoticed.
fn hand_on(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        resume_unwind(panic);
    }
}
