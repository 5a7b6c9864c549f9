//! One stream of secrets.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use hawser_proto::envoy::envoy::config::core::v3::{DataSource, data_source};
use hawser_proto::envoy::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use hawser_proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use hawser_proto::envoy::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryService;
use hawser_proto::envoy::google::protobuf::Any;
use hawser_proto::type_url;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream as Sequence, StreamExt as _, once};
use tonic::{Request, Response, Status, Streaming};

use super::{Given, Manner, Shared};

const DEFAULT: &str = "default";
const ROOTCA: &str = "ROOTCA";

type Responses<T> = Pin<Box<dyn Sequence<Item = Result<T, Status>> + Send>>;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The stream it came on, counted from 0.
    pub stream: u64,
    /// The type it is about.
    pub type_url: String,
    /// The names wanted.
    pub names: Vec<String>,
    /// The node's id, where a node came with it.
    pub node: Option<String>,
    /// The version that it has.
    pub version: String,
    /// The response that it answers.
    pub nonce: String,
    /// Why that was refused.
    pub error: Option<String>,
}

/// The service.
pub(super) struct Secrets(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl SecretDiscoveryService for Secrets {
    type StreamSecretsStream = Responses<DiscoveryResponse>;
    type DeltaSecretsStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        if *self.0.manner.borrow() == Manner::Unregistered {
            return Err(Status::permission_denied("no identity issued"));
        }
        if *self.0.manner.borrow() == Manner::WithoutSds {
            return Err(Status::unimplemented("unknown service"));
        }
        let mut id = 0;
        self.0.seen.send_modify(|seen| {
            id = seen.streams;
            seen.streams += 1;
        });
        let (out, mut pushes) = mpsc::channel(1);
        let session = Session { shared: Arc::clone(&self.0), id, wanted: None, sent: 0 };
        self.0.tasks.spawn(session.run(request.into_inner(), out));
        // As grpc-go: headers go with the first message.
        let Some(first) = pushes.recv().await.transpose()? else {
            return Ok(Response::new(Box::pin(tokio_stream::empty())));
        };
        Ok(Response::new(Box::pin(once(Ok(first)).chain(ReceiverStream::new(pushes)))))
    }

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("method is not implemented"))
    }

    async fn fetch_secrets(
        &self,
        _request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("method is not implemented"))
    }
}

/// What a response is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    All,
    /// What this push has brought: what was given apart is sent apart.
    Push(u64),
}

impl Given {
    /// Later pushes that have left something, in their order.
    fn since(&self, push: u64) -> Vec<News> {
        let (pair, roots) = (self.pair.as_ref(), self.roots.as_ref());
        let pushes = [pair.map(|(push, _)| *push), roots.map(|(push, _)| *push)];
        let pushes: BTreeSet<_> = pushes.into_iter().flatten().collect();
        pushes.into_iter().filter(|one| *one > push).map(News::Push).collect()
    }
}

struct Session {
    shared: Arc<Shared>,
    id: u64,
    wanted: Option<BTreeSet<String>>,
    /// The last push that this stream has seen.
    sent: u64,
}

impl Session {
    async fn run(
        mut self,
        mut asks: Streaming<DiscoveryRequest>,
        out: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    ) {
        let ended = tokio::select! {
            ended = self.converse(&mut asks, &out) => ended,
            () = out.closed() => Ok(()),
        };
        if let Err(status) = ended {
            // Nobody is left to hear it when this fails.
            let _unheard = out.send(Err(status)).await;
        }
    }

    async fn converse(
        &mut self,
        asks: &mut Streaming<DiscoveryRequest>,
        out: &mpsc::Sender<Result<DiscoveryResponse, Status>>,
    ) -> Result<(), Status> {
        let mut given = self.shared.given.subscribe();
        let mut nonce = String::new();
        loop {
            // Cancel safe: a message is taken whole or not at all, the other only waits.
            let asked = tokio::select! {
                biased;
                ask = asks.message() => {
                    let Some(ask) = ask? else { return Ok(()) };
                    if !self.take(&ask, &nonce)? {
                        continue;
                    }
                    true
                }
                changed = given.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    false
                }
            };
            let now = given.borrow_and_update().clone();
            // What is newly wanted is sent whole.
            let news = if asked { vec![News::All] } else { now.since(self.sent) };
            self.sent = now.push;
            for one in news {
                let Some(response) = self.respond(&now, one) else { continue };
                nonce.clone_from(&response.nonce);
                let gone = out.send(Ok(response)).await;
                gone.map_err(|_closed| Status::cancelled("the client has left"))?;
            }
        }
    }

    /// Takes a request down; whether it is to be answered.
    fn take(&mut self, ask: &DiscoveryRequest, nonce: &str) -> Result<bool, Status> {
        let asked = Asked {
            stream: self.id,
            type_url: ask.type_url.clone(),
            names: ask.resource_names.clone(),
            node: ask.node.as_ref().map(|node| node.id.clone()),
            version: ask.version_info.clone(),
            nonce: ask.response_nonce.clone(),
            error: ask.error_detail.as_ref().map(|error| error.message.clone()),
        };
        self.shared.seen.send_modify(|seen| seen.asked.push(asked));
        let stale = !ask.response_nonce.is_empty() && ask.response_nonce != nonce;
        if stale || ask.error_detail.is_some() {
            return Ok(false);
        }
        let mut names: BTreeSet<String> = ask.resource_names.iter().cloned().collect();
        if names.is_empty() {
            names.extend([DEFAULT.to_owned(), ROOTCA.to_owned()]);
        }
        if let Some(name) = names.iter().find(|name| ![DEFAULT, ROOTCA].contains(&name.as_str())) {
            return Err(Status::invalid_argument(format!(
                "workload is not authorized for the requested identities [{name:?}]"
            )));
        }
        let known = self.wanted.as_ref() == Some(&names);
        self.wanted = Some(names);
        Ok(!known || ask.response_nonce.is_empty())
    }

    /// What is there of it and is wanted.
    fn respond(&self, given: &Given, news: News) -> Option<DiscoveryResponse> {
        let wanted = self.wanted.as_ref()?;
        let fresh = |name: &str, push: u64| {
            wanted.contains(name) && (news == News::All || news == News::Push(push))
        };
        let pair = given.pair.as_ref().filter(|(push, _)| fresh(DEFAULT, *push));
        let roots = given.roots.as_ref().filter(|(push, _)| fresh(ROOTCA, *push));
        let pair = pair.map(|(_, pair)| {
            let certificate = TlsCertificate {
                certificate_chain: Some(inline(&pair.chain)),
                private_key: Some(inline(&pair.key)),
                ..TlsCertificate::default()
            };
            (DEFAULT, secret::Type::TlsCertificate(certificate))
        });
        let roots = roots.map(|(_, roots)| {
            let context = CertificateValidationContext {
                trusted_ca: Some(inline(roots)),
                ..CertificateValidationContext::default()
            };
            (ROOTCA, secret::Type::ValidationContext(context))
        });
        let secrets: Vec<_> = pair.into_iter().chain(roots).collect();
        if secrets.is_empty() {
            return None;
        }
        let names = secrets.iter().map(|(name, _)| (*name).to_owned()).collect();
        self.shared.seen.send_modify(|seen| seen.sent.push(names));
        Some(DiscoveryResponse {
            version_info: given.push.to_string(),
            type_url: type_url::SECRET.to_owned(),
            nonce: format!("{:016x}", fastrand::u64(..)),
            resources: secrets.into_iter().map(|(name, secret)| packed(name, secret)).collect(),
            ..DiscoveryResponse::default()
        })
    }
}

fn packed(name: &str, secret: secret::Type) -> Any {
    let secret = Secret { name: name.to_owned(), r#type: Some(secret) };
    Any { type_url: type_url::SECRET.to_owned(), value: secret.encode_to_vec() }
}

fn inline(text: &str) -> DataSource {
    let bytes = text.as_bytes().to_vec();
    DataSource { specifier: Some(data_source::Specifier::InlineBytes(bytes)), ..Default::default() }
}
