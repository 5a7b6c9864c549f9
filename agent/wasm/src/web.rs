//! HTTP, as far as modules need it: a request, a few redirects, an answer of a known size at most.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use hawser_rt::Chain;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::{Error, base64, guard::Guard, trust::Trust, url::Url};

/// The way to servers.
#[derive(Debug)]
pub(crate) struct Web {
    guard: Guard,
    trust: Trust,
    insecure: Vec<String>,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Who answered, after redirects.
    pub(crate) url: Url,
    body: Incoming,
    /// Moves the bytes; ends with the reply.
    _connection: JoinSet<()>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Web {
    pub(crate) fn new(guard: Guard, trust: Trust, insecure: Vec<String>) -> Self {
        let insecure = insecure.into_iter().map(|host| host.trim().to_ascii_lowercase()).collect();
        Self { guard, trust, insecure }
    }

    /// Whether the operator has given the server up to whoever is on the way.
    pub(crate) fn is_insecure(&self, url: &Url) -> bool {
        let (short, long) = (url.authority(), format!("{}:{}", url.host, url.port));
        self.insecure.iter().any(|host| host == "*" || *host == short || *host == long)
    }

    /// Asks, and goes where redirects lead. What is said in `Authorization` stays with the server
    /// it was meant for.
    pub(crate) async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Reply, Error> {
        let (mut at, mut headers) = (url.clone(), headers.clone());
        for _ in 0..MOST_REDIRECTS {
            let reply = self.exchange(Method::GET, &at, headers.clone(), Bytes::new()).await?;
            if !is_redirect(reply.status) {
                return Ok(reply);
            }
            let refused = |problem| Error::Redirect { url: at.to_string(), problem };
            let location = reply.headers.get(header::LOCATION);
            let location = location.ok_or_else(|| refused("nowhere"))?;
            let location = location.to_str().ok().ok_or_else(|| refused("to no address"))?;
            let next = at.join(location)?;
            if at.tls && !next.tls && !self.is_insecure(&next) {
                return Err(refused("from TLS to clear text"));
            }
            if !next.is_beside(&at) || next.tls != at.tls {
                headers.remove(header::AUTHORIZATION);
            }
            at = next;
        }
        Err(Error::Redirect { url: url.to_string(), problem: "too often" })
    }

    /// Sends a form. Redirects are not followed: it holds a password.
    pub(crate) async fn post(&self, url: &Url, form: String) -> Result<Reply, Error> {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        self.exchange(Method::POST, url, headers, form.into()).await
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Reply, Error> {
        let wrong = |problem| Error::Address { url: url.to_string(), problem };
        let host = HeaderValue::try_from(url.authority());
        headers.insert(header::HOST, host.ok().ok_or_else(|| wrong("its host is none"))?);
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(OURSELVES));
        if let Some(login) = &url.login
            && !headers.contains_key(header::AUTHORIZATION)
        {
            headers.insert(header::AUTHORIZATION, basic(login)?);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.target.parse().ok().ok_or_else(|| wrong("its path is none"))?;
        *request.headers_mut() = headers;

        let broken = |source| Error::Http { url: url.to_string(), source };
        let stream = self.dial(url).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut moving = JoinSet::new();
        moving.spawn(async move {
            if let Err(error) = connection.await {
                debug!(error = %Chain(&error), "connection to a module server ended");
            }
        });
        let answered = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = answered.into_parts();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            url: url.clone(),
            body,
            _connection: moving,
        })
    }

    /// A connection to the first address of the host that takes one and may be dialled.
    async fn dial(&self, url: &Url) -> Result<Box<dyn Stream>, Error> {
        let host = &url.host;
        let mut failed = None;
        for address in addresses(url).await? {
            if let Some(what) = self.guard.objection(address.ip()) {
                let guarded = Error::Guarded { host: host.clone(), address: address.ip(), what };
                failed = failed.or(Some(guarded));
                continue;
            }
            let connected = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
            let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            match connected {
                Ok(stream) if url.tls => return self.encrypt(url, stream).await,
                Ok(stream) => return Ok(Box::new(stream)),
                Err(source) => {
                    let address = address.ip();
                    failed = Some(Error::Connect { host: host.clone(), address, source });
                }
            }
        }
        Err(failed.unwrap_or_else(|| {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            Error::Resolve { host: host.clone(), source }
        }))
    }

    async fn encrypt(&self, url: &Url, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
        let blind = self.is_insecure(url);
        let config = if blind { self.trust.blind()? } else { self.trust.verifying().await? };
        let host = url.host.clone();
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(host.clone()).ok().ok_or_else(|| Error::Address {
                url: url.to_string(),
                problem: "its host is none",
            })?,
        };
        let encrypted = timeout(CONNECT_WITHIN, TlsConnector::from(config).connect(name, stream));
        match encrypted.await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(source)) if is_clear_text(&source) => Err(Error::NotTls { host }),
            Ok(Err(source)) => Err(Error::Tls { host, source }),
            Err(_) => Err(Error::Tls { host, source: std::io::ErrorKind::TimedOut.into() }),
        }
    }
}

impl Reply {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            match frame {
                // Trailers are of no interest.
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Err(error) if error.is_incomplete_message() => {
                    return Err(Error::Cut { url: self.url.to_string() });
                }
                Err(source) => return Err(Error::Http { url: self.url.to_string(), source }),
            }
        }
        Ok(None)
    }

    /// How long the body is said to be.
    pub(crate) fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(crate) async fn bytes(mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                let limit = u64::try_from(limit).unwrap_or(u64::MAX);
                return Err(Error::TooLarge { url: self.url.to_string(), limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The reply if all went well, else its status as an error.
    pub(crate) fn good(self) -> Result<Self, Error> {
        if self.status == StatusCode::OK {
            return Ok(self);
        }
        Err(Error::Status { url: self.url.to_string(), status: self.status.as_u16() })
    }
}

/// `Authorization: Basic` for `user:password`.
pub(crate) fn basic(login: &str) -> Result<HeaderValue, Error> {
    let value = HeaderValue::try_from(format!("Basic {}", base64::encode(login.as_bytes())));
    let mut value = value.ok().ok_or(Error::Secret { problem: "it is no text" })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn addresses(url: &Url) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(address) = url.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, url.port)]);
    }
    let found = timeout(CONNECT_WITHIN, lookup_host((url.host.as_str(), url.port))).await;
    match found.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(found) => Ok(found.take(MOST_ADDRESSES).collect()),
        Err(source) => Err(Error::Resolve { host: url.host.clone(), source }),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether what was taken for TLS began with something that no TLS begins with.
fn is_clear_text(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)))
}

const OURSELVES: &str = concat!("hawser/", env!("CARGO_PKG_VERSION"));
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const MOST_ADDRESSES: usize = 8;
const MOST_REDIRECTS: usize = 6;
