//! One request to a port of this machine.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// What is asked, and where.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) host: String,
    pub(super) port: u16,
    /// With its `/`.
    pub(super) path: String,
    pub(super) body: String,
}

impl Call {
    /// Status and body, within a time.
    pub(super) async fn make(self, limit: Duration) -> anyhow::Result<(u16, Bytes)> {
        let place = format!("http://{}:{}{}", self.host, self.port, self.path);
        let made = timeout(limit, self.exchange()).await;
        made.unwrap_or_else(|_late| Err(anyhow::anyhow!("no answer within {limit:?}")))
            .with_context(|| place)
    }

    async fn exchange(self) -> anyhow::Result<(u16, Bytes)> {
        let address = (self.host.as_str(), self.port);
        let stream = TcpStream::connect(address).await.context("connect")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .body(Full::new(Bytes::from(self.body)))?;
        let answer = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            anyhow::Ok((status, body.map_err(anyhow::Error::from_boxed)?.to_bytes()))
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // An answer may be whole before its connection ends; if not, it knows by itself.
            _ = connection => answer.await,
        }
    }
}

/// A whole configuration of Envoy's is some tens of megabytes.
const LARGEST: usize = 256 << 20;
