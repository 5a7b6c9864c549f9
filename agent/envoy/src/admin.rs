//! Envoy's admin interface, asked one question at a time.
//!
//! Each question is a connection of its own to a literal address, with a limit to its time and
//! to the size of its answer: an Envoy that hangs must not take the agent along.

mod stream;

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    Error,
    readiness::{self, Verdict},
};

/// The admin interface of one Envoy.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    address: SocketAddr,
    limit: Duration,
}

/// What Envoy's server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// Serving.
    Live,
    /// Closing what it serves.
    Draining,
    /// Waiting for its first clusters.
    PreInitializing,
    /// Waiting for its first listeners.
    Initializing,
}

/// What Envoy says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Commit, version and kind of build.
    pub version: String,
    /// What the server is doing.
    pub state: ServerState,
}

impl Admin {
    /// Envoy's admin interface at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, limit: LIMIT }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same with another limit to the time of an answer.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// What the server is doing, by `/ready`.
    pub async fn ready(&self) -> Result<ServerState, Error> {
        let path = "/ready";
        // 503 is an answer here: not live yet.
        let (_, body) = self.ask(Method::GET, path).await?;
        let text = String::from_utf8_lossy(&body);
        ServerState::from_name(text.trim()).ok_or_else(|| self.unreadable(path, "a server state"))
    }

    /// Version and state, by `/server_info`.
    pub async fn server_info(&self) -> Result<ServerInfo, Error> {
        let path = "/server_info";
        let value = self.json(path).await?;
        let text = |key| value.get(key).and_then(Value::as_str);
        let info = text("version").zip(text("state").and_then(ServerState::from_name));
        let (version, state) = info.ok_or_else(|| self.unreadable(path, "version and state"))?;
        Ok(ServerInfo { version: version.to_owned(), state })
    }

    /// The statistics in use whose names match the regular expression `filter`.
    pub async fn stats(&self, filter: &str) -> Result<String, Error> {
        self.get(&format!("/stats?usedonly&filter={}", escaped(filter))).await
    }

    /// Whether Envoy is ready, and if not why.
    pub async fn readiness(&self) -> Result<Verdict, Error> {
        Ok(readiness::judge(&self.stats(readiness::FILTER).await?))
    }

    /// Starts to close what Envoy serves, and lets clients know.
    pub async fn drain(&self) -> Result<(), Error> {
        self.post("/drain_listeners?graceful").await.map(drop)
    }

    /// The certificates Envoy holds, as `/certs` shows them (without private keys).
    pub async fn certs(&self) -> Result<Value, Error> {
        self.json("/certs").await
    }

    /// The body of the answer to GET.
    pub async fn get(&self, path: &str) -> Result<String, Error> {
        self.succeed(Method::GET, path).await
    }

    /// The body of the answer to POST.
    pub async fn post(&self, path: &str) -> Result<String, Error> {
        self.succeed(Method::POST, path).await
    }

    async fn json(&self, path: &str) -> Result<Value, Error> {
        let body = self.get(path).await?;
        serde_json::from_str(&body).map_err(|_not_json| self.unreadable(path, "JSON"))
    }

    async fn succeed(&self, method: Method, path: &str) -> Result<String, Error> {
        let (status, body) = self.ask(method, path).await?;
        if !status.is_success() {
            let (path, status) = (path.to_owned(), status.as_u16());
            return Err(Error::Status { address: self.address, path, status });
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), Error> {
        let failed = |source| Error::Ask { address: self.address, path: path.to_owned(), source };
        let whole = |answer: Response<Incoming>| async move {
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(failed)?.to_bytes()))
        };
        let answer = timeout(self.limit, self.exchange(method, path, whole)).await;
        answer.unwrap_or_else(|_elapsed| {
            let (path, limit) = (path.to_owned(), self.limit);
            Err(Error::Timeout { address: self.address, path, limit })
        })
    }

    /// Asks on a connection of its own, which lasts until the answer is made something of.
    async fn exchange<T, F>(
        &self,
        method: Method,
        path: &str,
        then: impl FnOnce(Response<Incoming>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let address = self.address;
        let failed = |source| Error::Ask { address, path: path.to_owned(), source };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .body(Empty::<Bytes>::new())
            .map_err(|source| failed(source.into()))?;
        let connected = TcpStream::connect(address).await;
        let stream = connected.map_err(|source| Error::Connect { address, source })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|source| failed(source.into()))?;
        let answer = async {
            let answer = sender.send_request(request).await;
            then(answer.map_err(|source| failed(source.into()))?).await
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // An answer may be whole before its connection ends; if not, it knows by itself.
            _ = connection => answer.await,
        }
    }

    fn unreadable(&self, path: &str, expected: &'static str) -> Error {
        Error::Answer { address: self.address, path: path.to_owned(), expected }
    }
}

impl ServerState {
    /// By the number in the statistic `server.state`.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        let index = usize::try_from(number).ok()?;
        STATES.get(index).map(|(state, _)| *state)
    }

    fn from_name(name: &str) -> Option<Self> {
        STATES.iter().find(|(_, state)| *state == name).map(|(state, _)| *state)
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = STATES.iter().find(|(state, _)| state == self).map_or("", |(_, name)| *name);
        f.write_str(name)
    }
}

/// What a query must not hold as it is.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

/// In the order of Envoy's own numbers for them.
const STATES: [(ServerState, &str); 4] = [
    (ServerState::Live, "LIVE"),
    (ServerState::Draining, "DRAINING"),
    (ServerState::PreInitializing, "PRE_INITIALIZING"),
    (ServerState::Initializing, "INITIALIZING"),
];

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(3);
/// How large an answer may be; `/certs` of a gateway with a thousand certificates is smaller.
const MAX_ANSWER: usize = 8 << 20;

#[cfg(test)]
mod tests;
