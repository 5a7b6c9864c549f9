//! A far end that speaks HTTP/2 in plaintext and whose calls the test answers.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::StreamBody;
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{Connection, Credentials, Endpoint, Hosts, Istiod, Options, Roots};

type Body = StreamBody<ReceiverStream<io::Result<Frame<Bytes>>>>;

/// Gone, with all of its connections, when it is dropped.
pub(crate) struct Far {
    pub(crate) address: SocketAddr,
    calls: mpsc::Receiver<Call>,
    tasks: JoinSet<()>,
}

/// A call that waits for its answer.
pub(crate) struct Call {
    pub(crate) request: Request<Option<Incoming>>,
    answer: oneshot::Sender<Response<Body>>,
}

/// What is sent on an answer that has begun.
pub(crate) type Frames = mpsc::Sender<io::Result<Frame<Bytes>>>;

impl Far {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (called, calls) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let called = called.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let called = called.clone();
                    async move {
                        let (answer, answered) = oneshot::channel();
                        let request = request.map(Some);
                        called.send(Call { request, answer }).await.map_err(io::Error::other)?;
                        answered.await.map_err(io::Error::other)
                    }
                });
                let server = http2::Builder::new(TokioExecutor::new());
                let serving = server.serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(serving.await) });
            }
        });
        Self { address, calls, tasks }
    }

    pub(crate) async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    /// Breaks every connection without a word.
    pub(crate) async fn cut(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) async fn connection(&self) -> Connection {
        plain(self.address).connect().await.unwrap()
    }
}

/// A way to that address, without TLS and with nothing to show.
pub(crate) fn plain(address: SocketAddr) -> Istiod {
    let options = Options {
        endpoints: vec![Endpoint { tls: false, ..address.to_string().parse().unwrap() }],
        roots: Roots::System,
        learned: false,
        hosts: Hosts::default(),
        headers: vec![("ClusterID".to_owned(), "Kubernetes".to_owned())],
        connect_timeout: Duration::from_secs(5),
    };
    let none = watch::channel(None).1;
    Istiod::new(options, Credentials::none(), none, hawser_rt::Clock::default()).unwrap()
}

impl Call {
    /// Begins an answer with these headers; it ends when what is returned is dropped.
    pub(crate) fn answer(self, status: u16, headers: &[(&'static str, &'static str)]) -> Frames {
        let (frames, sent) = mpsc::channel(1);
        let mut response = Response::new(StreamBody::new(ReceiverStream::new(sent)));
        *response.status_mut() = status.try_into().unwrap();
        *response.headers_mut() = fields(headers);
        self.answer.send(response).unwrap();
        frames
    }

    /// Begins an answer as gRPC does.
    pub(crate) fn begin(self) -> Frames {
        self.answer(200, &[("content-type", "application/grpc+proto")])
    }
}

pub(crate) async fn data(frames: &Frames, bytes: &'static [u8]) {
    frames.send(Ok(Frame::data(Bytes::from_static(bytes)))).await.unwrap();
}

pub(crate) async fn trailers(frames: &Frames, trailers: &[(&'static str, &'static str)]) {
    frames.send(Ok(Frame::trailers(fields(trailers)))).await.unwrap();
}

fn fields(given: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (name.parse().unwrap(), HeaderValue::from_static(value))
    };
    given.iter().map(field).collect()
}
