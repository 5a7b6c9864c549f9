//! The server on its Unix socket.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hawser_pki::{Bundle, Identity, KeyForm};
use hawser_proto::envoy::envoy::service::{
    discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse},
    secret::v3::secret_discovery_service_server::{
        SecretDiscoveryService, SecretDiscoveryServiceServer,
    },
};
use hawser_rt::uds;
use tokio::sync::{Semaphore, watch};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{
    Counts,
    delta::Delta,
    keeper::{Inlets, Keeper},
    secret::Secrets,
    sotw::Sotw,
    stream::{Flavour, Replies},
    wanted::Wanted,
};

/// Who may ask, what for, and where to count.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who may connect besides root and the agent's own user.
    pub peers: uds::Peers,
    /// Kept up to date while the server runs.
    pub counts: Arc<Counts>,
    /// How the workload's key is written.
    pub form: KeyForm,
    /// Revocation lists that are served with the roots whenever the file is there.
    pub crl: Option<PathBuf>,
}

/// The server has ended without being told to.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("serve secrets")]
    Serve { source: tonic::transport::Error },
}

/// Serves until `stop`: the identity and the trusted roots of the moment, and what files hold.
/// Roots may be there before an identity is.
pub async fn serve(
    door: impl Into<uds::Door>,
    options: Options,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    trusted: watch::Receiver<Option<Arc<Bundle>>>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let Options { peers, counts, form, crl } = options;
    let (publish, secrets) = watch::channel(Arc::default());
    let wanted = Wanted::default();
    let inlets = Inlets { identity, trusted, wanted: wanted.follow() };
    let keeper = Keeper::new(form, crl, counts.clone(), publish);
    let service = Service {
        secrets,
        wanted,
        stop: stop.clone(),
        counts,
        slots: Arc::new(Semaphore::new(MOST_STREAMS)),
        opened: AtomicU64::new(0),
    };
    let service =
        SecretDiscoveryServiceServer::new(service).max_decoding_message_size(LARGEST_REQUEST);
    let server = Server::builder()
        .max_concurrent_streams(MOST_STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(LARGEST_HEADERS)
        .add_service(service)
        .serve_with_incoming_shutdown(uds::Incoming::new(door, peers), stop.cancelled_owned());
    tokio::select! {
        ended = server => ended.map_err(|source| Error::Serve { source }),
        never = keeper.run(inlets) => match never {},
    }
}

struct Service {
    secrets: watch::Receiver<Arc<Secrets>>,
    wanted: Wanted,
    stop: CancellationToken,
    counts: Arc<Counts>,
    slots: Arc<Semaphore>,
    opened: AtomicU64,
}

impl Service {
    fn open<F: Flavour>(
        &self,
        requests: Request<Streaming<F::Request>>,
    ) -> Result<Response<Replies<F>>, Status> {
        let slot = self.slots.clone().try_acquire_owned().ok();
        let slot = slot.ok_or_else(|| Status::resource_exhausted("too many secret streams"))?;
        let stream = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Response::new(Replies::new(
            requests.into_inner(),
            WatchStream::new(self.secrets.clone()),
            self.wanted.wish(),
            self.stop.clone(),
            (stream, slot),
            self.counts.clone(),
        )))
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type StreamSecretsStream = Replies<Sotw>;
    type DeltaSecretsStream = Replies<Delta>;

    async fn stream_secrets(
        &self,
        requests: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Replies<Sotw>>, Status> {
        self.open(requests)
    }

    async fn delta_secrets(
        &self,
        requests: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Replies<Delta>>, Status> {
        self.open(requests)
    }

    async fn fetch_secrets(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        // A secret fetched once would never be renewed.
        Err(Status::unimplemented("use StreamSecrets or DeltaSecrets"))
    }
}

/// Envoy opens one stream per secret, shared by all that use it.
const MOST_STREAMS: usize = 256;
const MOST_STREAMS_PER_CONNECTION: u32 = 128;
const LARGEST_REQUEST: usize = 1 << 20;
const LARGEST_HEADERS: u32 = 16 << 10;
