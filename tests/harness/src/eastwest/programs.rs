//! The programs behind the sidecars: they know nothing of TLS, and say what they were told.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{cart, sidecars};
use crate::workload::Answer;

/// The header by which a sidecar tells the serial number of the caller's certificate.
pub(super) const SERIAL: &str = "x-caller-serial";
/// The header by which it tells its own SPIFFE id.
pub(super) const WORKLOAD: &str = "x-workload";

/// Where they listen; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Programs {
    addresses: BTreeMap<&'static str, SocketAddr>,
    _tasks: JoinSet<()>,
}

impl Programs {
    pub(super) async fn start() -> Result<Self> {
        let mut tasks = JoinSet::new();
        let mut addresses = BTreeMap::new();
        for name in [sidecars::HTTP, sidecars::GRPC, sidecars::TCP, sidecars::METADATA] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen")?;
            addresses.insert(name, listener.local_addr().context("ask for the port")?);
            match name {
                sidecars::HTTP => tasks.spawn(accept(listener, answers)),
                sidecars::GRPC => tasks.spawn(cart::serve(listener)),
                sidecars::TCP => tasks.spawn(accept(listener, echoes)),
                _ => tasks.spawn(accept(listener, exchanges)),
            };
        }
        Ok(Self { addresses, _tasks: tasks })
    }

    pub(super) fn addresses(&self) -> BTreeMap<&'static str, SocketAddr> {
        self.addresses.clone()
    }
}

/// Who called, as a sidecar tells it: the last element is its own.
pub(super) fn caller(headers: &HeaderMap) -> String {
    let certificates = text(headers, "x-forwarded-client-cert");
    let last = certificates.rsplit(',').next().unwrap_or_default();
    let mut parts = last.split(';');
    let uri = parts.find_map(|part| part.strip_prefix("URI="));
    uri.unwrap_or_default().trim_matches('"').to_owned()
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(serve(stream));
        while connections.try_join_next().is_some() {}
    }
}

/// Every request is answered with what is known of it.
async fn answers(stream: TcpStream) {
    let service = service_fn(async |request: Request<Incoming>| {
        let headers = request.headers();
        let answer = Answer {
            caller: caller(headers),
            serial: text(headers, SERIAL),
            workload: text(headers, WORKLOAD),
            path: request.uri().path().to_owned(),
            protocol: format!("{:?}", request.version()),
        };
        let mut text = serde_json::to_vec_pretty(&answer)?;
        text.push(b'\n');
        let answer = Response::builder().header("content-type", "application/json");
        let answer = answer.body(Full::new(Bytes::from(text))).map_err(serde::ser::Error::custom);
        answer.map_err(|error: serde_json::Error| error)
    });
    // How a connection ends is the client's business.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

/// What comes goes back.
async fn echoes(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    drop(tokio::io::copy(&mut from, &mut to).await);
}

/// What a sidecar of Istio's sends who has agreed to exchange metadata: a header that whoever
/// cannot take it out again finds before the first answer.
async fn exchanges(mut stream: TcpStream) {
    let mut first = [0; 8];
    if stream.read_exact(&mut first).await.is_err() {
        return;
    }
    let metadata = b"metadata";
    let length = u32::try_from(metadata.len()).unwrap_or_default().to_be_bytes();
    let header = [&MAGIC.to_be_bytes()[..], &length, metadata, &first].concat();
    if stream.write_all(&header).await.is_ok() {
        echoes(stream).await;
    }
}

/// How Istio begins an exchange of metadata.
const MAGIC: u32 = 0x3D23_0467;
