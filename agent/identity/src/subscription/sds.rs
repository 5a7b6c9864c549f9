//! Secrets of Envoy's kind: the pair and the roots, in pieces that each can be refused.

use std::path::{Path, PathBuf};

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
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

use super::{LARGEST_RESPONSE, PATIENCE, broken_off, silent};
use crate::{
    Error,
    secrets::{DEFAULT, ROOTCA, Set},
};

/// A stream on which secrets come, and what has come on it.
#[derive(Debug)]
pub(crate) struct Secrets {
    socket: PathBuf,
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    set: Set,
    /// What has come last does not fit; the other half may be on its way.
    unfit: Option<Error>,
    /// Until when all of it is to be there, and to fit.
    deadline: Instant,
}

impl Secrets {
    /// Asks for the pair and the roots.
    pub(super) async fn open(socket: &Path, channel: Channel) -> Result<Self, Error> {
        let deadline = Instant::now() + PATIENCE;
        let (requests, queued) = mpsc::channel(QUEUE);
        // The first fits: the queue is empty.
        requests.try_send(first()).ok();
        let mut client =
            SecretDiscoveryServiceClient::new(channel).max_decoding_message_size(LARGEST_RESPONSE);
        let responses = client.stream_secrets(ReceiverStream::new(queued)).await;
        let responses = responses.map_err(|status| broken_off(socket, status))?.into_inner();
        let (socket, set) = (socket.to_owned(), Set::default());
        Ok(Self { socket, requests, responses, set, unfit: None, deadline })
    }

    /// What has come, if all of it is there: whether it leads to its roots is not asked.
    pub(super) fn whole(&self) -> Option<Identity> {
        self.set.identity()?.ok()
    }

    /// The next set that fits. None after something that makes no set yet. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Identity>, Error> {
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
        let identity = self.set.identity().map(|identity| {
            let identity = identity?;
            identity.rooted().map(|()| identity)
        });
        match (wrong, identity) {
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

const MOST_RESOURCES: usize = 16;
const QUEUE: usize = 8;
