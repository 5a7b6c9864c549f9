//! A small HTTP/1.1 client for admin interfaces and for requests through Envoy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
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
    let call = async {
        let stream = TcpStream::connect(addr).await.with_context(|| format!("connect {addr}"))?;
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
