//! FakeMetadata: the metadata server of a Google machine, as far as it gives identity tokens.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::token::{Claims, TokenSigner};
use crate::wait::until;

/// The path at which it gives tokens.
pub const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/identity";

/// The header that a request must have and an answer has.
pub const FLAVOUR: (&str, &str) = ("metadata-flavor", "Google");

/// How it behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Manner {
    /// It gives tokens.
    #[default]
    Serves,
    /// The machine has no service account: 404.
    NotFound,
    /// It answers after so long.
    Slow(Duration),
    /// It takes the request and never answers.
    Silent,
    /// Its answer has so many bytes, and is no token.
    Huge(usize),
    /// It answers without the header that says who it is: some other server does so.
    NoHeader,
    /// It answers with this instead of a token.
    Says(String),
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its path.
    pub path: String,
    /// For whom the token is to be.
    pub audience: Option<String>,
    /// How much is to stand in it.
    pub format: Option<String>,
    /// Whether it had the header.
    pub flavour: bool,
    /// The status of the answer; 0 if there is none.
    pub status: u16,
}

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub struct FakeMetadata {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    tokens: TokenSigner,
    claims: Mutex<Lifetime>,
    manner: Mutex<Manner>,
    asked: watch::Sender<Vec<Asked>>,
}

/// Whose tokens it gives, and for how long.
#[derive(Debug, Clone)]
struct Lifetime {
    namespace: String,
    service_account: String,
    lifetime: Duration,
}

impl FakeMetadata {
    /// Starts on a free port of 127.0.0.1. Its tokens are good for an hour, and they are an
    /// istiod's own where that believes this signer: a real one would be made to believe Google.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub async fn start(tokens: &TokenSigner, namespace: &str, account: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen")?;
        let addr = listener.local_addr().context("ask for the port")?;
        let shared = Arc::new(Shared {
            tokens: tokens.clone(),
            claims: Mutex::new(Lifetime {
                namespace: namespace.to_owned(),
                service_account: account.to_owned(),
                lifetime: crate::token::LIFETIME,
            }),
            manner: Mutex::default(),
            asked: watch::Sender::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, _tasks: tasks })
    }

    /// Where it listens: `host:port` of the setting.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes how it behaves.
    pub fn manner(&self, manner: Manner) {
        *self.shared.manner.lock() = manner;
    }

    /// How long its tokens are good from now on.
    pub fn lifetime(&self, lifetime: Duration) {
        self.shared.claims.lock().lifetime = lifetime;
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.borrow().clone()
    }

    /// Waits until it was asked something.
    ///
    /// # Errors
    /// After [`crate::wait::PATIENCE`].
    pub async fn until(
        &self,
        what: &str,
        done: impl FnMut(&Vec<Asked>) -> bool,
    ) -> Result<Vec<Asked>> {
        until(what, &mut self.shared.asked.subscribe(), done).await
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(shared.answer(&request).await) }
            });
            // How a connection ends is the client's business.
            let _end = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Shared {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let manner = self.manner.lock().clone();
        let query = request.uri().query().unwrap_or_default();
        let flavour = request.headers().get(FLAVOUR.0);
        let mut asked = Asked {
            path: request.uri().path().to_owned(),
            audience: parameter(query, "audience"),
            format: parameter(query, "format"),
            flavour: flavour.is_some_and(|value| value == FLAVOUR.1),
            status: 0,
        };
        let (status, body) = self.weigh(&asked, &manner, request);
        if manner != Manner::Silent {
            asked.status = status.as_u16();
        }
        self.asked.send_modify(|all| all.push(asked));
        match manner {
            Manner::Slow(delay) => tokio::time::sleep(delay).await,
            Manner::Silent => std::future::pending().await,
            _ => {}
        }
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("text/html"));
        if manner != Manner::NoHeader {
            headers.insert(FLAVOUR.0, HeaderValue::from_static(FLAVOUR.1));
            headers.insert("server", HeaderValue::from_static("Metadata Server for VM"));
        }
        response
    }

    fn weigh(
        &self,
        asked: &Asked,
        manner: &Manner,
        request: &Request<Incoming>,
    ) -> (StatusCode, String) {
        // A request that was forwarded may come from anywhere.
        if !asked.flavour || request.headers().contains_key("x-forwarded-for") {
            return (StatusCode::FORBIDDEN, "Missing Metadata-Flavor:Google header.\n".to_owned());
        }
        if asked.path != PATH || *manner == Manner::NotFound {
            return (StatusCode::NOT_FOUND, "The requested URL was not found.\n".to_owned());
        }
        let Some(audience) = asked.audience.clone().filter(|audience| !audience.is_empty()) else {
            let text = "non-empty audience parameter required\n".to_owned();
            return (StatusCode::BAD_REQUEST, text);
        };
        match manner {
            Manner::Huge(bytes) => (StatusCode::OK, "x".repeat(*bytes)),
            Manner::Says(text) => (StatusCode::OK, text.clone()),
            _ => match self.mint(audience) {
                Ok(token) => (StatusCode::OK, token),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
            },
        }
    }

    fn mint(&self, audience: String) -> Result<String> {
        let own = self.claims.lock().clone();
        let claims = self.tokens.claims(&own.namespace, &own.service_account);
        let expires = claims.expires - crate::token::LIFETIME + own.lifetime;
        self.tokens.mint(&Claims { audience, expires, ..claims })
    }
}

/// A parameter of a query, with its escapes undone.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let mut parts = value.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_read_with_its_escapes() {
        let query = "audience=https%3A%2F%2Fca.example%2F&format=full&empty=";
        assert_eq!(parameter(query, "audience").unwrap(), "https://ca.example/");
        assert_eq!(parameter(query, "format").unwrap(), "full");
        assert_eq!(parameter(query, "empty").unwrap(), "");
        assert_eq!(parameter(query, "else"), None);
    }
}
