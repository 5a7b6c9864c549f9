//! A server of Wasm modules: files by path, and images as a registry has them.
//!
//! It speaks HTTP/1.1 with or without TLS on 127.0.0.1, notes every request, and fails on demand:
//! not there, silent, slow, cut off, lying.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::registry::Registry;
use crate::ca::TestCa;
use crate::free;
use crate::wait::until;

pub use self::packing::{gzip, layer, tar};
pub use self::registry::Packing;
pub use self::wasm::{TINY, proxy};

mod packing;
mod registry;
mod wasm;

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What it showed.
    pub authorization: Option<String>,
    /// What it was answered with.
    pub status: u16,
    /// What it sent.
    pub body: String,
}

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The next requests are answered with these.
    pub statuses: VecDeque<u16>,
    /// Nothing is answered, but who asks is not sent away either, while this holds.
    pub silent: bool,
    /// Bodies end in the middle.
    pub cut: bool,
    /// Bodies of files and layers are not what they should be; their length is.
    pub lying: bool,
    /// Bodies of files and layers never end, and do not say how long they are.
    pub endless: bool,
    /// Where the registry sends for tokens, instead of to itself.
    pub realm: Option<String>,
    /// The registry wants the password itself, not a token.
    pub basic: bool,
}

/// The server; it ends when it is dropped.
pub struct FakeModules {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    accepting: JoinSet<()>,
}

struct Shared {
    /// Scheme, host and port.
    origin: String,
    files: Mutex<BTreeMap<String, Served>>,
    registry: Mutex<Registry>,
    faults: watch::Sender<Faults>,
    asked: watch::Sender<Vec<Asked>>,
}

#[derive(Debug, Clone)]
enum Served {
    File(Bytes),
    Redirect(String),
}

type Piece = Result<Frame<Bytes>, Infallible>;
type Pieces = tokio_stream::Iter<Box<dyn Iterator<Item = Piece> + Send>>;
type Body = Either<Full<Bytes>, StreamBody<Pieces>>;

impl FakeModules {
    /// Starts in clear text.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start() -> Result<Self> {
        Self::listening(None).await
    }

    /// Starts with TLS, with a certificate of the CA for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be opened or no certificate made.
    pub async fn with_tls(ca: &TestCa) -> Result<Self> {
        let own = ca.serving(&["localhost", "127.0.0.1"])?;
        let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().context("read own chain")?;
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).context("read own key")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_details(provider, Arc::new(ca.time().clone()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("use own certificate")?;
        Self::listening(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listening(tls: Option<TlsAcceptor>) -> Result<Self> {
        let port = free::port(Ipv4Addr::LOCALHOST.into())?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // A certificate is rather for a name.
        let origin = match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://{addr}"),
        };
        let shared = Arc::new(Shared {
            origin,
            files: Mutex::default(),
            registry: Mutex::default(),
            faults: watch::Sender::default(),
            asked: watch::Sender::default(),
        });
        let mut server = Self { addr, shared, tls, accepting: JoinSet::new() };
        server.up().await?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of a path that begins with a slash. With TLS the host is `localhost`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.shared.origin)
    }

    /// The address of an image: `oci://HOST/REPOSITORY:TAG` or `…@DIGEST`.
    #[must_use]
    pub fn image(&self, image: &str) -> String {
        format!("oci://{}/{image}", self.host())
    }

    /// Host and port as addresses name it.
    #[must_use]
    pub fn host(&self) -> &str {
        let origin = &self.shared.origin;
        origin.split_once("://").map_or(origin, |(_, host)| host)
    }

    /// Serves these bytes at a path.
    pub fn serve(&self, path: &str, bytes: impl Into<Bytes>) {
        self.shared.files.lock().insert(path.to_owned(), Served::File(bytes.into()));
    }

    /// Sends who asks for a path elsewhere.
    pub fn redirect(&self, path: &str, to: &str) {
        self.shared.files.lock().insert(path.to_owned(), Served::Redirect(to.to_owned()));
    }

    /// Puts an image with the module into the registry under that tag; answers `sha256:…`, the
    /// digest of its manifest.
    pub fn push(&self, repository: &str, tag: &str, packing: Packing, module: &[u8]) -> String {
        self.shared.registry.lock().push(repository, tag, packing, module)
    }

    /// Puts any manifest into the registry under that tag; answers its digest.
    pub fn push_manifest(&self, repository: &str, tag: &str, kind: &str, json: &str) -> String {
        self.shared.registry.lock().manifest(repository, tag, kind, json.as_bytes())
    }

    /// From now on the registry wants to know who is asking, and knows this user.
    pub fn demand(&self, user: &str, password: &str) {
        self.shared.registry.lock().demand(user, password);
    }

    /// Changes what goes wrong.
    pub fn faults(&self, edit: impl FnOnce(&mut Faults)) {
        self.shared.faults.send_modify(edit);
    }

    /// The requests that came so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.borrow().clone()
    }

    /// How many requests came for a path, whatever its query.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        let asked = self.shared.asked.borrow();
        asked.iter().filter(|asked| asked.target.split('?').next() == Some(path)).count()
    }

    /// Waits until requests have come as wanted. One that is kept in silence has come.
    ///
    /// # Errors
    /// After [`crate::wait::PATIENCE`]; the text says what was waited for.
    pub async fn until(
        &self,
        what: &str,
        done: impl FnMut(&Vec<Asked>) -> bool,
    ) -> Result<Vec<Asked>> {
        until(what, &mut self.shared.asked.subscribe(), done).await
    }

    /// Goes away with all its connections.
    pub async fn down(&mut self) {
        self.accepting.shutdown().await;
    }

    /// Comes back, on the same port.
    ///
    /// # Errors
    /// When somebody has taken the port.
    pub async fn up(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.addr).await.context("listen for modules")?;
        self.accepting.spawn(accept(listener, Arc::clone(&self.shared), self.tls.clone()));
        Ok(())
    }
}

impl fmt::Debug for FakeModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeModules").field("addr", &self.addr).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                connections.spawn(async move {
                    match tls {
                        // Who does not like the certificate hangs up.
                        Some(tls) => if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, shared).await;
                        },
                        None => serve(stream, shared).await,
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { shared.answer(request).await }
    });
    // An answer that is cut off ends its connection; so does a client that has heard enough.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let body =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let target = head.uri.to_string();
        let shown = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let answer = self.found(&head.method, &target, shown, &body);
        self.asked.send_modify(|asked| {
            asked.push(Asked {
                method: head.method.to_string(),
                target: target.clone(),
                authorization: shown.map(str::to_owned),
                status: answer.status().as_u16(),
                body: String::from_utf8_lossy(&body).into_owned(),
            });
        });
        let mut faults = self.faults.subscribe();
        let faults = faults.wait_for(|faults| !faults.silent).await?.clone();
        Ok(spoiled(answer, &faults))
    }

    fn found(
        &self,
        method: &Method,
        target: &str,
        shown: Option<&str>,
        body: &[u8],
    ) -> Response<Bytes> {
        let mut fault = None;
        self.faults.send_if_modified(|faults| {
            fault = faults.statuses.pop_front();
            fault.is_some()
        });
        if let Some(status) = fault {
            return plain(StatusCode::from_u16(status).unwrap_or_default(), "as told");
        }
        let path = target.split('?').next().unwrap_or_default();
        if path == registry::TOKEN || path.starts_with("/v2/") {
            let faults = self.faults.borrow().clone();
            let own = format!("{}{}", self.origin, registry::TOKEN);
            let realm = faults.realm.clone().unwrap_or(own);
            let challenge = if faults.basic { None } else { Some(realm) };
            let registry = self.registry.lock();
            return registry.answer(method, target, shown, body, challenge.as_deref());
        }
        match self.files.lock().get(path) {
            Some(Served::File(bytes)) => Response::new(bytes.clone()),
            Some(Served::Redirect(to)) => {
                let mut answer = plain(StatusCode::FOUND, "elsewhere");
                if let Ok(to) = to.parse() {
                    answer.headers_mut().insert(header::LOCATION, to);
                }
                answer
            }
            None => plain(StatusCode::NOT_FOUND, "no such module"),
        }
    }
}

/// An answer of a few words.
fn plain(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(text.as_bytes()));
    *answer.status_mut() = status;
    answer
}

/// The answer as the faults have it.
fn spoiled(answer: Response<Bytes>, faults: &Faults) -> Response<Body> {
    let (mut head, bytes) = answer.into_parts();
    let is_content =
        head.status == StatusCode::OK && !head.headers.contains_key(header::CONTENT_TYPE);
    if !is_content {
        return Response::from_parts(head, Either::Left(Full::new(bytes)));
    }
    if faults.endless {
        let whole = if bytes.is_empty() { Bytes::from_static(b"more") } else { bytes };
        let pieces = std::iter::repeat_with(move || Ok(Frame::data(whole.clone())));
        return Response::from_parts(head, streamed(pieces));
    }
    if faults.cut {
        head.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        let half = bytes.slice(..bytes.len() / 2);
        return Response::from_parts(head, streamed(std::iter::once(Ok(Frame::data(half)))));
    }
    let bytes = match faults.lying {
        true => bytes.iter().map(|byte| byte ^ 1).collect(),
        false => bytes,
    };
    Response::from_parts(head, Either::Left(Full::new(bytes)))
}

fn streamed(pieces: impl Iterator<Item = Piece> + Send + 'static) -> Body {
    let pieces: Box<dyn Iterator<Item = Piece> + Send> = Box::new(pieces);
    Either::Right(StreamBody::new(tokio_stream::iter(pieces)))
}

#[cfg(test)]
mod tests;
