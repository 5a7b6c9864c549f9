//! A small HTTP/1.1 client for admin interfaces and for requests through Envoy.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers with text in them.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let json = serde_json::from_str(&self.body);
        json.with_context(|| format!("no JSON in {} {:?}", self.status, self.body))
    }
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// When there is no answer within ten seconds.
pub async fn call(
    addr: SocketAddr,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Reply> {
    call_from(unspecified(addr), addr, method, path, headers).await
}

/// The same from one of the addresses of this machine.
///
/// # Errors
/// As above.
pub async fn call_from(
    own: IpAddr,
    addr: SocketAddr,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Reply> {
    let call = async {
        let stream = connect(own, addr).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", addr.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let headers = response.headers().iter().filter_map(|(name, value)| {
                Some((name.to_string(), value.to_str().ok()?.to_owned()))
            });
            let headers = headers.collect();
            let body = response.into_body().collect().await?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            anyhow::Ok(Reply { status, headers, body })
        };
        let mut exchange = std::pin::pin!(exchange);
        // The connection moves the bytes; when it ends first, the exchange knows why.
        tokio::select! {
            reply = exchange.as_mut() => reply,
            _end = connection => exchange.await,
        }
    };
    let reply = timeout(LIMIT, call).await.with_context(|| format!("{addr} is silent"))?;
    reply.with_context(|| format!("{method} http://{addr}{path}"))
}

/// Connected from this address.
pub(crate) async fn connect(own: IpAddr, addr: SocketAddr) -> Result<TcpStream> {
    let socket = if own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Whoever binds takes a port for all destinations at once, and there are not that many.
    if !own.is_unspecified() {
        socket.bind((own, 0).into()).with_context(|| format!("bind {own}"))?;
    }
    socket.connect(addr).await.with_context(|| format!("connect {addr}"))
}

pub(crate) fn unspecified(addr: SocketAddr) -> IpAddr {
    match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A connection that stays open from one request to the next.
#[derive(Debug)]
pub struct Open {
    addr: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
    _connection: JoinSet<()>,
}

impl Open {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn to(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.with_context(|| format!("connect {addr}"))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut moved = JoinSet::new();
        // How it ends, the next request knows.
        moved.spawn(async move { drop(connection.await) });
        Ok(Self { addr, sender, _connection: moved })
    }

    /// Sends a request on it; answers the status.
    ///
    /// # Errors
    /// When the connection is gone, or there is no answer within ten seconds.
    pub async fn status(&mut self, path: &str, host: &str) -> Result<u16> {
        let request = Request::builder().uri(path).header("host", host);
        let request = request.body(Empty::<Bytes>::new())?;
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status().as_u16();
            response.into_body().collect().await?;
            anyhow::Ok(status)
        };
        let status = timeout(LIMIT, exchange).await;
        let status = status.with_context(|| format!("{} is silent", self.addr))?;
        status.with_context(|| format!("on a connection to {}", self.addr))
    }
}
