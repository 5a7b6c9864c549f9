//! The relay's counterpart at istiod: each stream is handed to the test, in raw messages.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Service, http},
    server::{Grpc, NamedService, StreamingService},
};

use hawser_wire::{Flavour, SERVICE};

/// A stream that was opened.
pub(crate) struct Accepted {
    pub(crate) flavour: Flavour,
    pub(crate) requests: Streaming<Bytes>,
    /// Closed without a status, the stream ends with OK.
    pub(crate) responses: mpsc::Sender<Result<Bytes, Status>>,
}

/// Neither encodes nor decodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.len());
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Hands each stream on to the test.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    accepted: mpsc::Sender<Accepted>,
}

impl Upstream {
    pub(crate) fn new(accepted: mpsc::Sender<Accepted>) -> Self {
        Self { accepted }
    }

    fn accept(
        &self,
        flavour: Flavour,
        requests: Request<Streaming<Bytes>>,
    ) -> Result<Response<ReceiverStream<Result<Bytes, Status>>>, Status> {
        let full = || Status::resource_exhausted("too many discovery streams");
        let (responses, outgoing) = mpsc::channel(1);
        let requests = requests.into_inner();
        let accepted = Accepted { flavour, requests, responses };
        self.accepted.try_send(accepted).ok().ok_or_else(full)?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

impl NamedService for Upstream {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Upstream {
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
        let method = Method { flavour, upstream: self.clone() };
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(LARGEST_REQUEST);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

struct Method {
    flavour: Flavour,
    upstream: Upstream,
}

impl StreamingService<Bytes> for Method {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, requests: Request<Streaming<Bytes>>) -> Self::Future {
        ready(self.upstream.accept(self.flavour, requests))
    }
}

/// A delta client that comes back tells all that it has.
const LARGEST_REQUEST: usize = 64 << 20;
