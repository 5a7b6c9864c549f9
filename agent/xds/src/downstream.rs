//! The gRPC service that Envoy speaks to, in raw bytes.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::{Service, http},
    server::{Grpc, NamedService, StreamingService},
};

use hawser_wire::{Flavour, SERVICE};

use crate::{codec::Raw, relay::Accepted};

/// Hands each stream on to whoever joins it to istiod.
#[derive(Clone, Debug)]
pub(crate) struct Downstream {
    accepted: mpsc::Sender<Accepted>,
    slots: Arc<Semaphore>,
}

impl Downstream {
    pub(crate) fn new(accepted: mpsc::Sender<Accepted>) -> Self {
        Self { accepted, slots: Arc::new(Semaphore::new(MOST_STREAMS)) }
    }

    fn accept(
        &self,
        flavour: Flavour,
        requests: Request<Streaming<Bytes>>,
    ) -> Result<Response<ReceiverStream<Result<Bytes, Status>>>, Status> {
        let full = || Status::resource_exhausted("too many discovery streams");
        let slot = self.slots.clone().try_acquire_owned().ok().ok_or_else(full)?;
        // One response on its way: what Envoy does not take, istiod does not send.
        let (responses, outgoing) = mpsc::channel(1);
        let requests = requests.into_inner();
        let accepted = Accepted { flavour, requests, responses, slot };
        self.accepted.try_send(accepted).ok().ok_or_else(full)?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

impl NamedService for Downstream {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Downstream {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(flavour) = Flavour::of(request.uri().path()) else {
            let refusal = Status::unimplemented("no such discovery method").into_http();
            return Box::pin(ready(Ok(refusal)));
        };
        let method = Method { flavour, downstream: self.clone() };
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(LARGEST_REQUEST);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

struct Method {
    flavour: Flavour,
    downstream: Downstream,
}

impl StreamingService<Bytes> for Method {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, requests: Request<Streaming<Bytes>>) -> Self::Future {
        ready(self.downstream.accept(self.flavour, requests))
    }
}

/// One for Envoy, a few for proxyless gRPC programs.
pub(crate) const MOST_STREAMS: usize = 64;
/// A delta client that comes back tells all that it has.
const LARGEST_REQUEST: usize = 64 << 20;
