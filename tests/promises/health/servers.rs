//! Workloads that can be told to fail.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::JoinSet};

/// A server that says whether it serves, as `grpc.health.v1.Health`.
pub(super) struct Grpc {
    pub(super) port: u16,
    serves: Arc<AtomicBool>,
    _accepting: JoinSet<()>,
}

impl Grpc {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let serves = Arc::new(AtomicBool::new(true));
        let (said, mut accepting) = (Arc::clone(&serves), JoinSet::new());
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let said = Arc::clone(&said);
                let service = service_fn(move |_request| {
                    let status = if said.load(Ordering::Relaxed) { SERVING } else { NOT_SERVING };
                    async move { Ok::<_, Infallible>(answer(status)) }
                });
                let server = http2::Builder::new(TokioExecutor::new());
                let conversation = server.serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(conversation.await) });
            }
        });
        Ok(Self { port, serves, _accepting: accepting })
    }

    pub(super) fn serves(&self, serves: bool) {
        self.serves.store(serves, Ordering::Relaxed);
    }
}

fn answer(status: u8) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>> {
    // A frame of two bytes: field 1 is the status.
    let frame = Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    let body = Full::new(frame).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body);
    let kind = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// A port that takes connections, or does not.
pub(super) struct Port {
    pub(super) address: SocketAddr,
    listener: Option<TcpListener>,
}

impl Port {
    pub(super) async fn open() -> Result<Self> {
        // An address that nobody else here listens at, so that it can be had again.
        let listener = TcpListener::bind("127.0.0.77:0").await?;
        Ok(Self { address: listener.local_addr()?, listener: Some(listener) })
    }

    pub(super) async fn takes(&mut self, takes: bool) -> Result<()> {
        self.listener = None;
        if takes {
            self.listener = Some(TcpListener::bind(self.address).await?);
        }
        Ok(())
    }
}

const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;
