//! The relay's server on its Unix socket.

use std::sync::Arc;

use hawser_istiod::Istiod;
use hawser_rt::uds;
use tokio::{net::UnixListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::{
    Seen,
    downstream::{Downstream, MOST_STREAMS},
    outage::Outage,
    relay::{Shared, join},
};

/// Who may connect.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who may connect besides root and the agent's own user.
    pub peers: uds::Peers,
}

/// The server has ended without being told to.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("serve configuration")]
    Serve { source: tonic::transport::Error },
}

/// Relays aggregated discovery between the socket and istiod until `stop`.
///
/// The `:authority` of a client must be a host name: one that sends its socket's path there, as
/// gRPC's C core does, is refused by HTTP/2. Envoy sends the name of its cluster.
pub async fn serve(
    listener: UnixListener,
    options: Options,
    istiod: Istiod,
    seen: Seen,
    stop: CancellationToken,
) -> Result<(), Error> {
    let (accepted, mut streams) = mpsc::channel(MOST_STREAMS);
    let server = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(MOST_STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(LARGEST_HEADERS)
        .add_service(Downstream::new(accepted))
        .serve_with_incoming_shutdown(
            uds::Incoming::new(listener, options.peers),
            stop.clone().cancelled_owned(),
        );
    let mut server = std::pin::pin!(server);
    let outage = Arc::new(Outage::new("xds"));
    let shared = Shared { istiod, seen, outage, stop };
    let mut relays = JoinSet::new();
    loop {
        // Cancel-safe: a stream that was received is spawned in the same turn.
        tokio::select! {
            ended = &mut server => return ended.map_err(|source| Error::Serve { source }),
            Some(accepted) = streams.recv() => {
                relays.spawn(join(accepted, shared.clone()));
            }
            Some(_) = relays.join_next() => {}
        }
    }
}

const WINDOW: u32 = 1 << 20;
const MOST_STREAMS_PER_CONNECTION: u32 = 16;
const LARGEST_HEADERS: u32 = 16 << 10;
