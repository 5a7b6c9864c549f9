//! The discovery service: both forms of the protocol over one session.
//!
//! Requests are read by tonic; responses are written here, in pieces, so that a large one is never
//! in memory as a whole and a bad one can be made. A response stream is handed out with its first
//! message and not before, as grpc-go does it: a client that waits for headers before it asks
//! waits for ever, here as there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hawser_proto::envoy::envoy::config::core::v3::Node;
use hawser_proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use prost::Message as Wired;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream as Sequence, StreamExt};
use tonic::body::Body;
use tonic::codec::{Codec, Streaming};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::Shared;
use super::caller::{Judge, Peer, headers};
use super::journal::Flavour;
use super::session::Session;
use super::subscription::Ask;

const SOTW: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// grpc-go's limit for what a client sends.
const LARGEST: usize = 4 << 20;

/// What a client asks, with its node where it sends one.
pub(super) type Asks = Pin<Box<dyn Sequence<Item = Result<(Option<Node>, Ask), Status>> + Send>>;

/// What a session has to say.
#[derive(Debug)]
pub(super) enum Said {
    /// Its headers, and nothing more for now.
    Headers,
    /// Bytes of a message.
    Data(Bytes),
    /// It is over.
    End(Status),
}

/// The form of the protocol that a path stands for; `None` if it is none of discovery.
pub(super) fn flavour(path: &str) -> Option<Flavour> {
    match path {
        SOTW => Some(Flavour::SotW),
        DELTA => Some(Flavour::Delta),
        _ => None,
    }
}

/// Serves a discovery stream; the answer comes with its first message, or with a refusal.
pub(super) async fn serve(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    flavour: Flavour,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let session = match open(shared, peer, flavour, parts.headers) {
        Ok(session) => session,
        Err(status) => return status.into_http(),
    };
    let asks: Asks = match flavour {
        Flavour::SotW => Box::pin(decoded(body).map(|one| one.map(from_sotw))),
        Flavour::Delta => Box::pin(decoded(body).map(|one| one.map(from_delta))),
    };
    // One in flight: the rest waits in the session, where a test can see it.
    let (out, mut said) = mpsc::channel(1);
    session.shared.clone().tasks.spawn(session.run(asks, out));
    let first = match said.recv().await {
        // The session has gone without a word: so has istiod.
        None => std::future::pending().await,
        Some(Said::End(status)) => return status.into_http(),
        Some(Said::Headers) => None,
        Some(Said::Data(bytes)) => Some(Said::Data(bytes)),
    };
    let rest = tokio_stream::iter(first).chain(ReceiverStream::new(said));
    let mut response = Response::new(Body::new(StreamBody::new(rest.filter_map(frame))));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn open(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    flavour: Flavour,
    request: HeaderMap,
) -> Result<Session, Status> {
    if let Some(refusal) = shared.faults().refuse_ads {
        return Err(refusal.status());
    }
    let metadata = MetadataMap::from_headers(request);
    let (tokens, now) = (&shared.tokens, shared.ca.time().now());
    let judge = Judge { tokens, now, heeds_certificates: true };
    let (shown, caller) = judge.authenticate(&peer, &metadata);
    let caller = caller.ok_or_else(|| Status::unauthenticated("authentication failure"))?;
    let id = shared.plane.next_stream();
    let headers: BTreeMap<_, _> = headers(&metadata).into_iter().collect();
    Ok(Session { shared, id, peer, flavour, shown, caller, headers, entry: None })
}

fn frame(said: Said) -> Option<Result<Frame<Bytes>, Infallible>> {
    match said {
        Said::Headers => None,
        Said::Data(bytes) => Some(Ok(Frame::data(bytes))),
        Said::End(status) => {
            let mut trailers = HeaderMap::new();
            // It fails for a text that no header can carry; then the code has to do.
            if status.add_header(&mut trailers).is_err() {
                trailers.insert("grpc-status", HeaderValue::from(i32::from(status.code())));
            }
            Some(Ok(Frame::trailers(trailers)))
        }
    }
}

fn decoded<T: Wired + Default + 'static>(
    body: Incoming,
) -> impl Sequence<Item = Result<T, Status>> + Send {
    let decoder = ProstCodec::<T, T>::default().decoder();
    let requests = Streaming::new_request(decoder, body, None, Some(LARGEST));
    requests.map(|one| one.map_err(in_words_of_go))
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
