//! The gRPC service that Envoy speaks to: whole requests in, bytes of responses out.
//!
//! A response is handed over some pieces at a time, and the next are taken only when Envoy has taken
//! those before, so no response is ever here as a whole. What gRPC adds to HTTP/2 is little, and
//! written here: content type, frames, and the status in the trailers.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{
    Status,
    body::Body,
    codegen::{
        Service,
        http::{self, HeaderMap, HeaderValue, header::CONTENT_TYPE},
    },
    server::NamedService,
    transport::server::UdsConnectInfo,
};

use hawser_wire::{Broken, Flavour, Frames, Part, SERVICE};

/// A stream that Envoy has opened.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) flavour: Flavour,
    pub(crate) requests: Requests,
    pub(crate) voice: Voice,
    pub(crate) slot: OwnedSemaphorePermit,
}

/// What Envoy asks.
#[derive(Debug)]
pub(crate) struct Requests {
    body: Body,
    frames: Frames,
    message: BytesMut,
}

/// Why there are no more requests.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unheard {
    /// It stops or restarts: its pipe breaks.
    #[error("the stream broke")]
    Gone { source: Status },
    #[error("not a stream of requests")]
    Foreign { source: Broken },
}

/// What is said to Envoy. Dropped, the stream ends as it should.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    said: mpsc::Sender<Said>,
    /// One speaks at a time, from the first to the last byte of a message.
    floor: Arc<Semaphore>,
}

/// Whoever has it speaks. Dropped, others may.
#[derive(Debug)]
pub(crate) struct Floor {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Envoy does not listen any more.
#[derive(Debug)]
pub(crate) struct Deaf;

#[derive(Debug)]
enum Said {
    Pieces(VecDeque<Bytes>),
    End(Status),
}

impl Requests {
    fn new(body: Body) -> Self {
        Self { body, frames: Frames::new(LARGEST_REQUEST), message: BytesMut::new() }
    }

    /// The next request; none when Envoy asks no more. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Unheard> {
        loop {
            let part = self.frames.next().map_err(|source| Unheard::Foreign { source })?;
            match part {
                Some(Part::Begin { .. }) => self.message.clear(),
                Some(Part::Data(data)) => self.message.extend_from_slice(&data),
                Some(Part::End) => return Ok(Some(self.message.split().freeze())),
                None => match self.body.frame().await {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            self.frames.push(data);
                        }
                    }
                    Some(Err(source)) => return Err(Unheard::Gone { source }),
                    None => return Ok(None),
                },
            }
        }
    }
}

impl Voice {
    /// The floor, once nobody else has it: for whoever has more to say than one word. Cancel-safe.
    pub(crate) async fn floor(&self) -> Floor {
        // It is never closed.
        Floor { _permit: Arc::clone(&self.floor).acquire_owned().await.ok() }
    }

    /// The next bytes; done when there is room for them. Cancelled, nothing was said.
    pub(crate) async fn say(&self, pieces: VecDeque<Bytes>) -> Result<(), Deaf> {
        self.said.send(Said::Pieces(pieces)).await.ok().ok_or(Deaf)
    }

    /// Ends the stream with a status.
    pub(crate) async fn end(self, status: Status) {
        // Envoy may be gone; then nobody needs to be told.
        self.said.send(Said::End(status)).await.ok();
    }

    /// Done when Envoy does not listen any more.
    pub(crate) async fn closed(&self) {
        self.said.closed().await;
    }
}

/// Hands each stream on to whoever serves it.
#[derive(Clone, Debug)]
pub(crate) struct Downstream {
    accepted: mpsc::Sender<Accepted>,
    slots: Arc<Semaphore>,
    /// Whom nobody else keeps out.
    envoy: Arc<[u32]>,
}

impl Downstream {
    pub(crate) fn new(accepted: mpsc::Sender<Accepted>, envoy: &[u32]) -> Self {
        Self { accepted, slots: Arc::new(Semaphore::new(MOST_STREAMS)), envoy: envoy.into() }
    }

    /// Whether there is a slot for whoever asks: the last ones are Envoy's.
    fn has_room(&self, request: &http::Request<Body>) -> bool {
        let peer = || request.extensions().get::<UdsConnectInfo>()?.peer_cred;
        self.slots.available_permits() > KEPT_FOR_ENVOY
            || peer().is_some_and(|peer| self.envoy.contains(&peer.uid()))
    }

    fn accept(&self, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let flavour = Flavour::of(request.uri().path())
            .ok_or_else(|| Status::unimplemented("no such discovery method"))?;
        let full = || Status::resource_exhausted("too many discovery streams");
        if !self.has_room(&request) {
            return Err(full());
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok().ok_or_else(full)?;
        // One word on its way: what Envoy does not take, nobody sends.
        let (voice, said) = mpsc::channel(1);
        let requests = Requests::new(request.into_body());
        let voice = Voice { said: voice, floor: Arc::new(Semaphore::new(1)) };
        let accepted = Accepted { flavour, requests, voice, slot };
        self.accepted.try_send(accepted).ok().ok_or_else(full)?;
        let mut response =
            http::Response::new(Body::new(Speech { said, pieces: VecDeque::new(), ended: false }));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok(response)
    }
}

impl NamedService for Downstream {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Downstream {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        ready(Ok(self.accept(request).unwrap_or_else(Status::into_http)))
    }
}

/// The body of a response: what is said, and then the status.
#[derive(Debug)]
struct Speech {
    said: mpsc::Receiver<Said>,
    /// What was said and not taken yet.
    pieces: VecDeque<Bytes>,
    ended: bool,
}

impl hyper::body::Body for Speech {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let status = loop {
            if let Some(data) = self.pieces.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            match ready!(self.said.poll_recv(cx)) {
                Some(Said::Pieces(pieces)) => self.pieces = pieces,
                Some(Said::End(status)) => break status,
                None => break Status::ok(""),
            }
        };
        self.ended = true;
        let mut trailers = HeaderMap::new();
        let written = status.add_header(&mut trailers);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }
}

/// One for Envoy, a few for proxyless gRPC programs.
pub(crate) const MOST_STREAMS: usize = 64;
/// More than one, because it may be restarting.
pub(crate) const KEPT_FOR_ENVOY: usize = 8;
/// A delta client that comes back tells all that it has.
const LARGEST_REQUEST: usize = 64 << 20;
