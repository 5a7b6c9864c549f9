//! A workload in the mesh: HTTPS that demands a mesh certificate and says whose it saw.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::ca::{TestCa, spiffe_id};
use crate::istiod::caller::{ClientCertificate, client, server_tls};
use crate::wait::until;

const TTL: Duration = Duration::from_secs(24 * 3600);

/// What the workload answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The SPIFFE id of the caller's certificate.
    pub caller: String,
    /// The serial number of the caller's certificate, in hexadecimal.
    pub serial: String,
    /// The SPIFFE id of the workload.
    pub workload: String,
    /// The path that was asked for.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
}

/// What the workload has seen.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// Every request with its answer.
    pub requests: Vec<Answer>,
    /// Why handshakes failed.
    pub refused: Vec<String>,
}

/// The server; it ends when it is dropped.
pub struct Workload {
    addr: SocketAddr,
    identity: String,
    served: watch::Sender<Served>,
    brief: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Workload {
    /// Starts on a free port of 127.0.0.1 with a certificate of this service account; both
    /// certificate and roots are the CA's of the moment, for each connection.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub async fn start(ca: &TestCa, namespace: &str, service_account: &str) -> Result<Self> {
        Self::start_on(ca, namespace, service_account, Ipv4Addr::LOCALHOST).await
    }

    /// The same on a free port of another address.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub async fn start_on(
        ca: &TestCa,
        namespace: &str,
        service_account: &str,
        ip: Ipv4Addr,
    ) -> Result<Self> {
        let listener = TcpListener::bind((ip, 0)).await.context("listen")?;
        let addr = listener.local_addr().context("ask for the port")?;
        let identity = spiffe_id(namespace, service_account);
        let served = watch::Sender::<Served>::default();
        let mut tasks = JoinSet::new();
        let brief = Arc::new(AtomicBool::new(false));
        let server = Server {
            ca: ca.clone(),
            identity: identity.clone(),
            served: served.clone(),
            brief: Arc::clone(&brief),
        };
        tasks.spawn(accept(listener, Arc::new(server)));
        Ok(Self { addr, identity, served, brief, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its SPIFFE id.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether it ends an HTTP/1 connection after each answer, so that the next request needs
    /// another handshake, with the certificates of that moment.
    pub fn brief(&self, brief: bool) {
        self.brief.store(brief, Ordering::Relaxed);
    }

    /// What it has seen so far.
    #[must_use]
    pub fn served(&self) -> Served {
        self.served.borrow().clone()
    }

    /// Waits until it has seen something.
    ///
    /// # Errors
    /// After [`crate::wait::PATIENCE`].
    pub async fn until(&self, what: &str, done: impl FnMut(&Served) -> bool) -> Result<Served> {
        until(what, &mut self.served.subscribe(), done).await
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload").field("addr", &self.addr).finish_non_exhaustive()
    }
}

struct Server {
    ca: TestCa,
    identity: String,
    served: watch::Sender<Served>,
    brief: Arc<AtomicBool>,
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let server = Arc::clone(&server);
        connections.spawn(async move {
            if let Err(error) = server.serve(stream).await {
                let why = format!("{error:#}");
                server.served.send_modify(|served| served.refused.push(why));
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Server {
    async fn serve(&self, stream: TcpStream) -> Result<()> {
        let own = self.ca.workload(&self.identity, TTL)?;
        let demand = ClientCertificate::Required;
        let config = server_tls(&self.ca, &own, demand, &["h2", "http/1.1"])?;
        let stream = TlsAcceptor::from(config).accept(stream).await.context("TLS handshake")?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let caller = shown.and_then(client);
        let service = service_fn(|request: Request<Incoming>| {
            let answer = Answer {
                caller: caller.as_ref().map(|one| one.identity.clone()).unwrap_or_default(),
                serial: caller.as_ref().map(|one| one.serial.clone()).unwrap_or_default(),
                workload: self.identity.clone(),
                path: request.uri().path().to_owned(),
                protocol: format!("{:?}", request.version()),
            };
            self.served.send_modify(|served| served.requests.push(answer.clone()));
            let last = self.brief.load(Ordering::Relaxed) && request.version() == Version::HTTP_11;
            async move { body(&answer, last) }
        });
        // How a connection ends is the client's business.
        let _end = auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
        Ok(())
    }
}

fn body(answer: &Answer, last: bool) -> Result<Response<Full<Bytes>>, serde_json::Error> {
    let mut text = serde_json::to_vec_pretty(answer)?;
    text.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    if last {
        response.headers_mut().insert("connection", HeaderValue::from_static("close"));
    }
    Ok(response)
}
