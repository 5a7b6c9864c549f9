//! HTTP as Vault speaks it: one request, one answer of a known size at most.
//!
//! Each has a connection of its own: they are hours apart. A standby sends to the active node; it
//! is followed there once, over TLS where it was begun so.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use hawser_rt::{Chain, Clock};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
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
use zeroize::Zeroizing;

use crate::{Address, Error, Options, secret::Secret, tls};

/// The way to Vault.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: Method,
    /// Below `/v1/`.
    pub(crate) place: &'a str,
    pub(crate) token: Option<&'a Secret>,
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
}

/// An answer, read to its end.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Web {
    /// Asks, within the time that there is.
    pub(crate) async fn ask(&self, asked: Asked<'_>) -> Result<Reply, Error> {
        let Options { address, patience, .. } = &self.options;
        let answered = timeout(*patience, self.exchange(asked)).await;
        answered.unwrap_or_else(|_| {
            Err(Error::Slow { vault: address.to_string(), seconds: patience.as_secs().max(1) })
        })
    }

    async fn exchange(&self, asked: Asked<'_>) -> Result<Reply, Error> {
        let Asked { method, place, token, body } = asked;
        // Kept where it is wiped, also by whoever sends it.
        let body = body.map_or_else(Bytes::new, Bytes::from_owner);
        let mut at = self.options.address.clone();
        let mut target = format!("/v1/{place}");
        for _ in 0..=MOST_REDIRECTS {
            let request = self.request(&at, (&method, &target), token, body.clone())?;
            let (answer, _moving) = self.send(&at, request).await?;
            if answer.status() != StatusCode::TEMPORARY_REDIRECT {
                return self.read(&at, answer).await;
            }
            let wrong = |problem| Error::Redirect { vault: at.to_string(), problem };
            let location = answer.headers().get(header::LOCATION);
            let location = location.and_then(|location| location.to_str().ok());
            let location = location.ok_or_else(|| wrong("nowhere"))?;
            let (next, below) = redirected(location).ok_or_else(|| wrong("no address"))?;
            if at.tls && !next.tls {
                return Err(wrong("in clear text"));
            }
            (at, target) = (next, below);
        }
        Err(Error::Redirect { vault: self.options.address.to_string(), problem: "again and again" })
    }

    fn request(
        &self,
        at: &Address,
        (method, target): (&Method, &str),
        token: Option<&Secret>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let unsaid = || Error::Redirect { vault: at.to_string(), problem: "no address" };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.parse().map_err(|_invalid| unsaid())?;
        let host = HeaderValue::try_from(at.authority()).map_err(|_invalid| unsaid())?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(OURSELVES));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // A proxy of Vault's may insist on it.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        let namespace = self.options.namespace.as_str();
        if !namespace.is_empty()
            && let Ok(namespace) = HeaderValue::try_from(namespace)
        {
            headers.insert("x-vault-namespace", namespace);
        }
        if let Some(token) = token
            && let Ok(mut token) = HeaderValue::try_from(token.expose())
        {
            token.set_sensitive(true);
            headers.insert("x-vault-token", token);
        }
        Ok(request)
    }

    async fn send(
        &self,
        at: &Address,
        request: Request<Full<Bytes>>,
    ) -> Result<(http::Response<Incoming>, JoinSet<()>), Error> {
        let broken = |source| Error::Broken { vault: at.to_string(), source };
        let stream = self.dial(at).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Moves the bytes; ends with the answer.
        let mut moving = JoinSet::new();
        moving.spawn(async move {
            if let Err(error) = connection.await {
                debug!(error = %Chain(&error), "connection to Vault ended");
            }
        });
        Ok((sender.send_request(request).await.map_err(broken)?, moving))
    }

    /// A connection to the first address that takes one.
    async fn dial(&self, at: &Address) -> Result<Box<dyn Stream>, Error> {
        let lost = |source| Error::Resolve { host: at.host.clone(), source };
        let found = lookup_host((at.host.as_str(), at.port)).await.map_err(lost)?;
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for address in found.take(MOST_ADDRESSES) {
            let connected = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) if at.tls => return self.encrypt(at, stream).await,
                Ok(stream) => return Ok(Box::new(stream)),
                Err(error) => failed = error,
            }
        }
        Err(Error::Connect { vault: at.to_string(), source: failed })
    }

    async fn encrypt(&self, at: &Address, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
        let config = Arc::new(tls::verifying(&self.options, &self.clock).await?);
        let name = match at.host.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(at.host.clone()).map_err(|source| Error::Resolve {
                host: at.host.clone(),
                source: io::Error::other(source),
            })?,
        };
        let encrypted = TlsConnector::from(config).connect(name, stream).await;
        let encrypted = encrypted.map_err(|source| Error::Tls { vault: at.to_string(), source })?;
        Ok(Box::new(encrypted))
    }

    async fn read(&self, at: &Address, answer: http::Response<Incoming>) -> Result<Reply, Error> {
        let (head, mut incoming) = answer.into_parts();
        // Room for all of it from the start: growing would leave copies that are never wiped.
        let mut body = Zeroizing::new(Vec::with_capacity(LIMIT));
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|source| Error::Broken { vault: at.to_string(), source })?;
            if let Some(data) = frame.data_ref() {
                if body.len() + data.len() > LIMIT {
                    return Err(Error::TooLarge { vault: at.to_string(), limit: LIMIT });
                }
                body.extend_from_slice(data);
            }
        }
        Ok(Reply { status: head.status, body })
    }
}

/// Where a standby sends: an address of Vault's, and what is below it.
fn redirected(location: &str) -> Option<(Address, String)> {
    let (scheme, rest) = location.split_once("://")?;
    let (authority, below) = rest.split_at_checked(rest.find('/')?)?;
    Some((format!("{scheme}://{authority}").parse().ok()?, below.to_owned()))
}

const OURSELVES: &str = concat!("hawser/", env!("CARGO_PKG_VERSION"));
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const MOST_ADDRESSES: usize = 8;
const MOST_REDIRECTS: usize = 2;
/// A chain of four large certificates has some ten kilobytes.
const LIMIT: usize = 256 * 1024;
