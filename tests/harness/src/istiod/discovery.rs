//! The discovery service: both forms of the protocol over one session.
//!
//! A response stream is handed out with its first message and not before, as grpc-go does it: a
//! client that waits for headers before it asks waits for ever, here as there.

use std::collections::BTreeMap;
use std::sync::Arc;

use hawser_proto::envoy::envoy::config::core::v3::Node;
use hawser_proto::envoy::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use hawser_proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use hawser_proto::type_url;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream as Sequence, StreamExt, once};
use tonic::{Code, Request, Response, Status, Streaming};

use super::Shared;
use super::caller::{Caller, Judge, Peer, Shown, headers};
use super::journal::{Answered, Asked, Flavour, Health, Stream, Verdict};
use super::node::NodeFacts;
use super::subscription::{Ask, Push, Subscriptions};
use super::world::State;

type Responses<T> = std::pin::Pin<Box<dyn Sequence<Item = Result<T, Status>> + Send>>;

/// ADS.
pub(super) struct Discovery(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (session, requests) = self.open(request, Flavour::SotW)?;
        let asks = requests.map(|one| one.map(from_sotw).map_err(in_words_of_go));
        self.answer(session, asks, to_sotw).await
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (session, requests) = self.open(request, Flavour::Delta)?;
        let asks = requests.map(|one| one.map(from_delta).map_err(in_words_of_go));
        self.answer(session, asks, to_delta).await
    }
}

impl Discovery {
    fn open<T>(
        &self,
        request: Request<Streaming<T>>,
        flavour: Flavour,
    ) -> Result<(Session, Streaming<T>), Status> {
        if let Some(refusal) = self.0.faults().refuse_ads {
            return Err(refusal.status());
        }
        let Some(peer) = request.extensions().get::<Arc<Peer>>().cloned() else {
            return Err(Status::internal("a stream without a connection"));
        };
        let (tokens, now) = (&self.0.tokens, self.0.ca.time().now());
        let judge = Judge { tokens, now, heeds_certificates: true };
        let (shown, caller) = judge.authenticate(&peer, request.metadata());
        let caller = caller.ok_or_else(|| Status::unauthenticated("authentication failure"))?;
        let shared = Arc::clone(&self.0);
        let id = shared.next_stream();
        let headers = headers(request.metadata()).into_iter().collect();
        let session = Session { shared, id, peer, flavour, shown, caller, headers, entry: None };
        Ok((session, request.into_inner()))
    }

    async fn answer<T: Send + 'static>(
        &self,
        session: Session,
        asks: impl Sequence<Item = Result<(Option<Node>, Ask), Status>> + Send + Unpin + 'static,
        wire: fn(Push) -> T,
    ) -> Result<Response<Responses<T>>, Status> {
        // One in flight: the rest waits in the session, where a test can see it.
        let (out, mut pushes) = mpsc::channel(1);
        self.0.tasks.spawn(session.run(asks, out));
        let Some(first) = pushes.recv().await.transpose()? else {
            return Ok(Response::new(Box::pin(tokio_stream::empty())));
        };
        let all = once(Ok(first)).chain(ReceiverStream::new(pushes));
        Ok(Response::new(Box::pin(all.map(move |push| push.map(wire)))))
    }
}

struct Session {
    shared: Arc<Shared>,
    id: u64,
    peer: Arc<Peer>,
    flavour: Flavour,
    shown: Shown,
    caller: Caller,
    headers: BTreeMap<String, String>,
    /// The workload entry that this stream keeps alive.
    entry: Option<String>,
}

type Out = mpsc::Sender<Result<Push, Status>>;

impl Session {
    async fn run(
        mut self,
        mut asks: impl Sequence<Item = Result<(Option<Node>, Ask), Status>> + Unpin,
        out: Out,
    ) {
        let stop = self.shared.stop.clone();
        let ended = tokio::select! {
            ended = self.converse(&mut asks, &out) => ended,
            () = out.closed() => Ok(()),
            () = stop.cancelled() => Err(Status::unavailable("istiod stops")),
        };
        let code = ended.as_ref().err().map_or(Code::Ok, Status::code);
        self.leave(code);
        if let Err(status) = ended {
            // Nobody is left to hear it when this fails.
            let _unheard = out.send(Err(status)).await;
        }
    }

    async fn converse(
        &mut self,
        asks: &mut (impl Sequence<Item = Result<(Option<Node>, Ask), Status>> + Unpin),
        out: &Out,
    ) -> Result<(), Status> {
        let mut world = self.shared.world.subscribe();
        let mut subscriptions = loop {
            let Some((node, ask)) = asks.try_next().await? else { return Ok(()) };
            // istiod passes over a health report that comes before anything else.
            if ask.type_url == type_url::HEALTH {
                continue;
            }
            let state = Arc::clone(&world.borrow_and_update());
            let mut subscriptions = Subscriptions::new(self.flavour, state.push());
            let greeted = self.greet(node.as_ref());
            let pushes = match greeted {
                Ok(()) => self.weigh(&mut subscriptions, node.is_some(), &ask, &state)?,
                Err(refusal) => {
                    self.note(&ask, node.is_some(), Verdict::Refused);
                    return Err(refusal);
                }
            };
            self.send(pushes, out).await?;
            break subscriptions;
        };
        loop {
            // Requests first, as in istiod. Both branches only wait: nothing is lost when the
            // other one wins.
            let pushes = tokio::select! {
                biased;
                ask = asks.try_next() => {
                    let Some((node, ask)) = ask? else { return Ok(()) };
                    let state = Arc::clone(&world.borrow());
                    self.weigh(&mut subscriptions, node.is_some(), &ask, &state)?
                }
                changed = world.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let state = Arc::clone(&world.borrow_and_update());
                    subscriptions.push(&state)?
                }
            };
            self.send(pushes, out).await?;
        }
    }

    /// Judges the first request: node, identity, registration.
    fn greet(&mut self, node: Option<&Node>) -> Result<(), Status> {
        let facts = NodeFacts::read(node)?;
        facts.authorize(&self.caller)?;
        let mut entry = Ok(None);
        self.shared.seen.send_modify(|seen| {
            entry = seen.registry.connect(self.id, &facts, self.caller.identities());
            seen.streams.push(Stream {
                id: self.id,
                connection: self.peer.connection,
                flavour: self.flavour,
                shown: self.shown,
                identities: self.caller.identities().to_vec(),
                headers: std::mem::take(&mut self.headers),
                node_id: node.map(|node| node.id.clone()).unwrap_or_default(),
                metadata: facts.metadata.clone(),
                ended: entry.as_ref().err().map(Status::code),
            });
        });
        self.entry = entry?;
        Ok(())
    }

    /// Takes a request down, with what is made of it; answers what it brings.
    fn weigh(
        &self,
        subscriptions: &mut Subscriptions,
        with_node: bool,
        ask: &Ask,
        world: &State,
    ) -> Result<Vec<Push>, Status> {
        let weighed = if ask.type_url == type_url::HEALTH {
            self.health(ask);
            Ok((Verdict::Health, Vec::new()))
        } else if ask.error.is_some() && !subscriptions.knows(&ask.type_url) {
            // The real one dereferences nothing here, and is gone with all its connections.
            self.shared.crash();
            Err(Status::unavailable("error reading from server: EOF"))
        } else {
            subscriptions.take(ask, world)
        };
        let verdict = weighed.as_ref().map_or(Verdict::Refused, |(verdict, _)| *verdict);
        self.note(ask, with_node, verdict);
        Ok(weighed?.1)
    }

    fn health(&self, ask: &Ask) {
        let problem = ask.error.as_ref().map(|(_, text)| text.clone());
        self.shared.seen.send_modify(|seen| {
            if let Some(entry) = &self.entry {
                seen.registry.report(entry, problem.as_deref());
            }
            seen.health.push(Health { stream: self.id, problem });
        });
    }

    async fn send(&self, pushes: Vec<Push>, out: &Out) -> Result<(), Status> {
        for push in pushes {
            self.shared.pause().await;
            let answered = Answered {
                stream: self.id,
                type_url: push.type_url.clone(),
                version: push.version.clone(),
                nonce: push.nonce.clone(),
                resources: push.resources.len(),
                removed: push.removed.clone(),
            };
            self.shared.seen.send_modify(|seen| seen.answered.push(answered));
            let gone = out.send(Ok(push)).await;
            gone.map_err(|_closed| Status::cancelled("the client has left"))?;
        }
        Ok(())
    }

    fn note(&self, ask: &Ask, with_node: bool, verdict: Verdict) {
        let asked = Asked {
            stream: self.id,
            type_url: ask.type_url.clone(),
            names: ask.names.clone(),
            unsubscribed: ask.unsubscribed.clone(),
            initial: ask.initial.clone(),
            version: ask.version.clone(),
            nonce: ask.nonce.clone(),
            error: ask.error.clone(),
            with_node,
            verdict,
        };
        self.shared.seen.send_modify(|seen| seen.asked.push(asked));
    }

    fn leave(&self, code: Code) {
        let mut since = None;
        self.shared.seen.send_modify(|seen| {
            seen.ended(self.id, code);
            let entry = self.entry.as_deref();
            since = entry.and_then(|entry| seen.registry.disconnect(entry, self.id));
        });
        if let (Some(since), Some(entry)) = (since, self.entry.clone()) {
            self.shared.clean_up(entry, since);
        }
    }
}

/// grpc-go has another code for a request of more than 4 MiB.
fn in_words_of_go(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted("grpc: received message larger than max"),
        _ => status,
    }
}

fn from_sotw(request: DiscoveryRequest) -> (Option<Node>, Ask) {
    let ask = Ask {
        type_url: request.type_url,
        names: request.resource_names,
        version: request.version_info,
        nonce: request.response_nonce,
        error: request.error_detail.map(|error| (error.code, error.message)),
        ..Ask::default()
    };
    (request.node, ask)
}

fn from_delta(request: DeltaDiscoveryRequest) -> (Option<Node>, Ask) {
    let ask = Ask {
        type_url: request.type_url,
        names: request.resource_names_subscribe,
        unsubscribed: request.resource_names_unsubscribe,
        initial: request.initial_resource_versions.into_iter().collect(),
        version: String::new(),
        nonce: request.response_nonce,
        error: request.error_detail.map(|error| (error.code, error.message)),
    };
    (request.node, ask)
}

fn to_sotw(push: Push) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: push.version,
        resources: push.resources.into_iter().map(|(_, any)| any).collect(),
        type_url: push.type_url,
        nonce: push.nonce,
        ..DiscoveryResponse::default()
    }
}

fn to_delta(push: Push) -> DeltaDiscoveryResponse {
    let resource = |(name, any)| Resource { name, resource: Some(any), ..Resource::default() };
    DeltaDiscoveryResponse {
        system_version_info: push.version,
        resources: push.resources.into_iter().map(resource).collect(),
        type_url: push.type_url,
        nonce: push.nonce,
        removed_resources: push.removed,
        ..DeltaDiscoveryResponse::default()
    }
}
