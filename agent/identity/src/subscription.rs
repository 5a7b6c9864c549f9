//! A subscription to another program's secrets, over its Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hawser_pki::Identity;
use hawser_proto::{
    envoy::{
        envoy::{
            config::core::v3::Node,
            service::{
                discovery::v3::{DiscoveryRequest, DiscoveryResponse},
                secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient,
            },
        },
        google::rpc::Status as Refused,
    },
    type_url,
};
use hawser_rt::Chain;
use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint, Uri},
};

use crate::{
    Error,
    secrets::{DEFAULT, ROOTCA, Set},
};

/// A stream on which secrets come, and what has come on it.
#[derive(Debug)]
pub(crate) struct Subscription {
    socket: PathBuf,
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    set: Set,
    /// What has come last does not fit; the other half may be on its way.
    unfit: Option<Error>,
    /// Until when all of it is to be there, and to fit.
    deadline: Instant,
}

/// Asks once for what is served at a socket of this machine, and does not stay.
pub async fn fetch(socket: &Path) -> Result<Identity, Error> {
    let mut subscription = Subscription::open(socket).await?;
    loop {
        if let Some(identity) = subscription.next().await? {
            return Ok(identity);
        }
    }
}

impl Subscription {
    /// Connects and asks for the pair and the roots.
    pub(crate) async fn open(socket: &Path) -> Result<Self, Error> {
        let absent = |source| Error::NoProvider { socket: socket.to_owned(), source };
        let deadline = Instant::now() + PATIENCE;
        let stream = timeout_at(deadline, UnixStream::connect(socket)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let opened = async {
            let channel = http2(stream.map_err(absent)?).await;
            let channel = channel.map_err(|error| absent(io::Error::other(error)))?;
            let (requests, queued) = mpsc::channel(QUEUE);
            // The first fits: the queue is empty.
            requests.try_send(first()).ok();
            let mut client = SecretDiscoveryServiceClient::new(channel)
                .max_decoding_message_size(LARGEST_RESPONSE);
            let responses = client.stream_secrets(ReceiverStream::new(queued)).await;
            let responses = responses.map_err(|status| broken_off(socket, status))?.into_inner();
            let (socket, set) = (socket.to_owned(), Set::default());
            Ok(Self { socket, requests, responses, set, unfit: None, deadline })
        };
        let silent = |_| silent(socket, Set::default().wanted());
        timeout_at(deadline, opened).await.map_err(silent)?
    }

    /// The next set that fits. None after something that makes no set yet. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Identity>, Error> {
        let wanted = self.set.wanted();
        let response = if wanted.is_none() && self.unfit.is_none() {
            // Once all is there, no news is good news.
            self.responses.message().await
        } else {
            match timeout_at(self.deadline, self.responses.message()).await {
                Ok(response) => response,
                Err(_) => {
                    return Err(self.unfit.take().unwrap_or_else(|| silent(&self.socket, wanted)));
                }
            }
        };
        match response {
            Ok(Some(response)) => self.take(response),
            Ok(None) => Err(Error::Ended { socket: self.socket.clone() }),
            Err(status) => Err(broken_off(&self.socket, status)),
        }
    }

    fn take(&mut self, response: DiscoveryResponse) -> Result<Option<Identity>, Error> {
        let DiscoveryResponse { version_info, nonce, resources, .. } = response;
        let mut wrong = None;
        for resource in resources.into_iter().take(MOST_RESOURCES) {
            if let Err(unusable) = self.set.take(&resource.type_url, resource.value) {
                wrong = wrong.or(Some(unusable));
            }
        }
        let wrong = wrong.map(|unusable| Error::UnusableSecret {
            socket: self.socket.clone(),
            name: unusable.name,
            source: unusable.source,
        });
        self.answer(version_info, nonce, wrong.as_ref());
        match (wrong, self.set.identity()) {
            (Some(error), _) => Err(error),
            (None, Some(Ok(identity))) => {
                self.unfit = None;
                Ok(Some(identity))
            }
            (None, Some(Err(source))) => {
                if self.unfit.is_none() {
                    self.deadline = Instant::now() + PATIENCE;
                }
                let (socket, source) = (self.socket.clone(), Box::new(source));
                self.unfit = Some(Error::UnfitSecrets { socket, source });
                Ok(None)
            }
            (None, None) => Ok(None),
        }
    }

    /// Taken, or why not. Lost if the other side does not read: it then knows no better anyway.
    fn answer(&self, version_info: String, response_nonce: String, wrong: Option<&Error>) {
        let error_detail = wrong.map(|error| Refused {
            code: Code::InvalidArgument.into(),
            message: Chain(error).to_string(),
            ..Refused::default()
        });
        let request = DiscoveryRequest {
            version_info,
            response_nonce,
            error_detail,
            ..DiscoveryRequest::default()
        };
        self.requests.try_send(asking(request)).ok();
    }
}

fn first() -> DiscoveryRequest {
    let node = Node { id: "hawser".to_owned(), ..Node::default() };
    asking(DiscoveryRequest { node: Some(node), ..DiscoveryRequest::default() })
}

fn asking(request: DiscoveryRequest) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url::SECRET.to_owned(),
        resource_names: [DEFAULT, ROOTCA].map(str::to_owned).to_vec(),
        ..request
    }
}

/// HTTP/2 on the stream, for as long as that lives.
async fn http2(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let once = tower::service_fn(move |_: Uri| {
        let lost = || io::Error::new(io::ErrorKind::NotConnected, "connection lost");
        std::future::ready(stream.take().ok_or_else(lost))
    });
    Endpoint::from_static("http://localhost")
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWERED_WITHIN)
        .connect_with_connector(once)
        .await
}

fn silent(socket: &Path, wanted: Option<&'static str>) -> Error {
    let wanted = wanted.unwrap_or("anything");
    Error::Silent { socket: socket.to_owned(), wanted, seconds: PATIENCE.as_secs() }
}

fn broken_off(socket: &Path, status: Status) -> Error {
    Error::BrokenOff { socket: socket.to_owned(), source: Box::new(status) }
}

/// A provider answers from memory; one that has just started may have to ask first.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const LARGEST_RESPONSE: usize = 4 << 20;
const MOST_RESOURCES: usize = 16;
const QUEUE: usize = 8;
