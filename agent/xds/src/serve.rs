//! The relay's server on its Unix socket.

use std::{sync::Arc, time::Duration};

use hawser_lastgood::Shelf;
use hawser_node::Node;
use hawser_rt::{metrics::Registry, uds};
use hawser_wasm::Modules;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::{
    Seen,
    downstream::{Downstream, MOST_STREAMS},
    gathered::Gathered,
    metrics::Metrics,
    outage::Outage,
    relay::{Shared, relay},
    source::Source,
};

/// How configuration is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who may connect besides root and the agent's own user.
    pub peers: uds::Peers,
    /// Envoy's users: whom the programs of others never keep out.
    pub envoy: Vec<u32>,
    /// How long Envoy waits for an answer before it is given what it took last.
    pub stale_after: Duration,
    /// For which Envoy it has to fit.
    pub fit: Fit,
    /// Who the workload is: what was kept for another is not given to this one.
    pub spiffe: String,
}

/// For which Envoy configuration has to fit. What an Envoy can load it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// What it cannot load is left out, unless it is Istio's build.
    #[default]
    Auto,
    /// What it cannot load is left out.
    Stock,
    /// Everything passes as it comes.
    Istio,
}

/// What the relay is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where configuration comes from.
    pub source: Arc<dyn Source>,
    /// Where what Envoy took is kept.
    pub shelf: Shelf,
    /// What makes remote modules local; without, filters pass as they come.
    pub modules: Option<Modules>,
    /// How the workload is; none while nobody looks.
    pub health: watch::Receiver<Option<Result<(), String>>>,
    /// Who this machine is at present: its address may change.
    pub node: watch::Receiver<Arc<Node>>,
    /// Where it is counted.
    pub metrics: Registry,
}

/// The server has ended without being told to.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("serve configuration")]
    Serve { source: tonic::transport::Error },
}

/// Serves aggregated discovery on the socket until `stop`.
///
/// The `:authority` of a client must be a host name: one that sends its socket's path there is
/// refused by HTTP/2. Envoy sends the name of its cluster, gRPC libraries `localhost`.
pub async fn serve(
    door: impl Into<uds::Door>,
    options: Options,
    parts: Parts,
    seen: Seen,
    stop: CancellationToken,
) -> Result<(), Error> {
    let (accepted, mut streams) = mpsc::channel(MOST_STREAMS);
    let server = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(MOST_STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(LARGEST_HEADERS)
        .add_service(Downstream::new(accepted, &options.envoy))
        .serve_with_incoming_shutdown(
            uds::Incoming::new(door, options.peers.clone()).map(|it| it.map(Gathered::new)),
            stop.clone().cancelled_owned(),
        );
    let mut server = std::pin::pin!(server);
    let metrics = Metrics::new(&parts.metrics, &options.peers, &seen);
    let outage = Arc::new(Outage::new("xds"));
    let (options, ages) = (Arc::new(options), Arc::default());
    let shared = Shared { options, parts, seen, outage, ages, metrics, stop };
    let mut relays = JoinSet::new();
    loop {
        // Cancel-safe: a stream that was received is spawned in the same turn.
        tokio::select! {
            ended = &mut server => return ended.map_err(|source| Error::Serve { source }),
            Some(accepted) = streams.recv() => {
                relays.spawn(relay(accepted, shared.clone()));
            }
            Some(_) = relays.join_next() => {}
        }
    }
}

const WINDOW: u32 = 1 << 20;
const MOST_STREAMS_PER_CONNECTION: u32 = 16;
const LARGEST_HEADERS: u32 = 16 << 10;
