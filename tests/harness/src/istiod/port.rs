//! One listening port: accepts, shakes hands and serves, or fails to in the way it is told.

use std::convert::Infallible;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::caller::{Client, ClientCertificate, Peer, client, server_tls};
use super::journal::{Connection, ConnectionState};
use super::wire::{Tap, Wire};
use super::{Shared, Wrong, discovery};
use crate::wait::wait_for;

const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// How long a client whose connection is cut may take to notice.
const FAREWELL: Duration = Duration::from_millis(200);

/// How istiod can be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// It serves.
    #[default]
    Up,
    /// It takes new connections and never says a word on them; old ones work.
    HalfOpen,
    /// As half open, and it neither reads nor writes the connections that it has.
    Frozen,
    /// Nothing comes back from it any more: connections are not accepted nor refused, and those
    /// that it has are as [frozen](Self::Frozen).
    Blackholed,
    /// Its ports are closed, and its connections were cut as those of a process that has ended:
    /// without GOAWAY and without trailers.
    Down,
}

/// What every connection is told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Orders {
    pub(super) reach: Reach,
    /// How many GOAWAYs have been ordered, and how long a connection may live on after one.
    pub(super) goaways: u64,
    pub(super) grace: Duration,
    /// How many resets have been ordered.
    pub(super) resets: u64,
    /// How many ends without a reset have been ordered.
    pub(super) cuts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tls,
    Plaintext,
}

/// A port that keeps its number while it is down.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) addr: SocketAddr,
    kind: Kind,
    accepting: Mutex<Option<JoinHandle<()>>>,
    /// How it can be reached by now.
    now: watch::Sender<Reach>,
}

impl Port {
    pub(super) async fn open(
        kind: Kind,
        addr: SocketAddr,
        shared: &Arc<Shared>,
        routes: Routes,
    ) -> Result<Self> {
        let listener = listen(addr).await?;
        let now = watch::Sender::default();
        let port = Self { addr, kind, accepting: Mutex::new(None), now };
        port.accept(listener, shared, routes);
        Ok(port)
    }

    /// Waits until it can be reached so.
    pub(super) async fn is(&self, reach: Reach) {
        // The sender is here.
        let mut now = self.now.subscribe();
        let _open = now.wait_for(|now| *now == reach).await;
    }

    /// Listens again on the same number. A process that is just being started by another test has
    /// a copy of the old listener, until it becomes another program.
    pub(super) async fn reopen(&self, shared: &Arc<Shared>, routes: Routes) -> Result<()> {
        if self.accepting.lock().is_none() {
            let listener = wait_for("its port", async || listen(self.addr).await).await?;
            self.accept(listener, shared, routes);
        }
        Ok(())
    }

    /// Waits until the listener and every connection are gone; the order must have been given.
    pub(super) async fn closed(&self) {
        let accepting = self.accepting.lock().take();
        if let Some(accepting) = accepting {
            // It fails only when the runtime goes down, and then the port is closed too.
            let _gone = accepting.await;
        }
    }

    fn accept(&self, listener: TcpListener, shared: &Arc<Shared>, routes: Routes) {
        let served = Served { shared: Arc::clone(shared), routes, kind: self.kind };
        let task = accept(listener, served, self.now.clone());
        *self.accepting.lock() = Some(shared.tasks.spawn(task));
    }
}

async fn listen(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("listen on {addr}"))
}

async fn accept(listener: TcpListener, served: Served, now: watch::Sender<Reach>) {
    let mut orders = served.shared.orders.subscribe();
    let mut connections = JoinSet::new();
    let mut hole = None;
    loop {
        let reach = orders.borrow_and_update().reach;
        match reach {
            Reach::Down => break,
            Reach::Blackholed if hole.is_none() => hole = Some(Hole::dig(&listener).await),
            Reach::Blackholed => {}
            _ => hole = hole.take().and_then(|hole: Hole| hole.fill(&listener)),
        }
        now.send_replace(reach);
        // Cancel safe: accept and changed lose nothing when the other branch wins.
        let accepted = tokio::select! {
            accepted = listener.accept(), if hole.is_none() => accepted,
            told = orders.changed() => match told {
                Ok(()) => continue,
                Err(_gone) => break,
            },
            () = served.shared.stop.cancelled() => break,
        };
        if let Ok((stream, addr)) = accepted {
            connections.spawn(served.clone().run(stream, addr));
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if served.shared.stop.is_cancelled() {
        connections.abort_all();
    }
    while connections.join_next().await.is_some() {}
    now.send_replace(Reach::Down);
}

/// A listener whose queue is full: the kernel drops whatever would open one more connection.
struct Hole {
    _queued: Vec<TcpStream>,
}

impl Hole {
    async fn dig(listener: &TcpListener) -> Self {
        let mut queued = Vec::new();
        // The kernel takes a shorter queue at any time; a refusal shows in the test.
        let _shorter = SockRef::from(listener).listen(0);
        if let Ok(addr) = listener.local_addr() {
            // On this machine a connection is there when `connect` returns, or it never will be.
            let limit = Duration::from_millis(50);
            while let Ok(Ok(one)) = timeout(limit, TcpStream::connect(addr)).await {
                queued.push(one);
            }
        }
        Self { _queued: queued }
    }

    /// Takes connections again; those that wait come first.
    fn fill(self, listener: &TcpListener) -> Option<Self> {
        let _longer = SockRef::from(listener).listen(1024);
        None
    }
}

/// One connection.
#[derive(Clone)]
struct Served {
    shared: Arc<Shared>,
    routes: Routes,
    kind: Kind,
}

impl Served {
    async fn run(self, stream: TcpStream, addr: SocketAddr) {
        let id = self.shared.next_connection();
        let mut orders = self.shared.orders.subscribe();
        let told = *orders.borrow_and_update();
        let opened = Connection { id, peer: addr, state: ConnectionState::Accepted };
        self.shared.seen.send_modify(|seen| seen.connections.push(opened));
        let socket = SockRef::from(&stream).try_clone();
        let cut = CancellationToken::new();
        let over = async {
            let mut orders = orders.clone();
            let gone = |now: &Orders| {
                let cut = now.reach == Reach::Down || now.cuts > told.cuts;
                cut || now.resets > told.resets
            };
            // It fails only together with everything else here.
            let told = orders.wait_for(gone).await.map(|now| now.resets > told.resets);
            told.unwrap_or(false)
        };
        let end = tokio::select! {
            () = self.serve(stream, id, cut.clone()) => End::Own,
            reset = over => if reset { End::Reset } else { End::Cut },
            () = cut.cancelled() => End::Reset,
        };
        if let (End::Reset, Ok(socket)) = (end, &socket) {
            // Closing with this set sends RST. A socket that is gone already needs none.
            let _gone = socket.set_linger(Some(Duration::ZERO));
        }
        self.shared.seen.send_modify(|seen| {
            if !matches!(state_of(seen, id), Some(ConnectionState::Refused(_))) {
                seen.connection(id, ConnectionState::Closed);
            }
        });
        if let (End::Cut, Ok(socket)) = (end, socket) {
            // What fails is over already.
            let _gone = hear_out(socket).await;
        }
    }

    async fn serve(&self, stream: TcpStream, id: u64, cut: CancellationToken) {
        let reach = self.shared.orders.borrow().reach;
        if matches!(reach, Reach::HalfOpen | Reach::Frozen | Reach::Blackholed) {
            let _held = stream;
            return std::future::pending().await;
        }
        // Small frames and no Nagle, or every exchange waits for a delayed ACK.
        let _slower = stream.set_nodelay(true);
        let tls = self.kind == Kind::Tls;
        let wire = Arc::new(Wire::default());
        let peer = Peer { connection: id, tls, certificate: None, wire, cut };
        if !tls {
            return self.http2(stream, peer).await;
        }
        match self.handshake(stream).await {
            Ok((stream, certificate)) => self.http2(stream, Peer { certificate, ..peer }).await,
            Err(error) => {
                let refused = ConnectionState::Refused(format!("{error:#}"));
                self.shared.seen.send_modify(|seen| seen.connection(id, refused));
            }
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<(tokio_rustls::server::TlsStream<TcpStream>, Option<Client>)> {
        let own = self.shared.serving()?;
        let rejects = self.shared.faults().rejects_certificates;
        let demand =
            if rejects { ClientCertificate::Rejected } else { ClientCertificate::Optional };
        let config = server_tls(&self.shared.ca, &own, demand, &["h2"])?;
        let stream = TlsAcceptor::from(config).accept(stream).await.context("TLS handshake")?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.and_then(client);
        Ok((stream, certificate))
    }

    async fn http2<S>(&self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let identity = peer.certificate.as_ref().map(|client| client.identity.clone());
        let up = ConnectionState::Up(identity);
        self.shared.seen.send_modify(|seen| seen.connection(peer.connection, up));
        let peer = Arc::new(peer);
        let stream = Tap::new(stream, Arc::clone(&peer.wire));
        let (shared, routes) = (Arc::clone(&self.shared), self.routes.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (shared, peer) = (Arc::clone(&shared), Arc::clone(&peer));
            answer(shared, peer, routes.clone(), request)
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(100_000)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut orders = self.shared.orders.subscribe();
        let mut told = *orders.borrow_and_update();
        let age = self.shared.faults().max_age;
        let mut old = std::pin::pin!(rest(age.map(|age| age.age)));
        let mut ended = std::pin::pin!(rest(None));
        loop {
            let frozen = matches!(told.reach, Reach::Frozen | Reach::Blackholed);
            // Cancel safe: the connection is polled in place, the rest only waits.
            let grace = tokio::select! {
                _end = connection.as_mut(), if !frozen => return,
                () = ended.as_mut() => return,
                () = old.as_mut() => {
                    old.set(rest(None));
                    age.map(|age| age.grace)
                }
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = *orders.borrow_and_update();
                    let goaway = now.goaways > told.goaways;
                    told = now;
                    goaway.then_some(now.grace)
                }
            };
            if let Some(grace) = grace {
                connection.as_mut().graceful_shutdown();
                ended.set(rest(Some(grace)));
            }
        }
    }
}

/// Who has ended a connection, and how.
#[derive(Debug, Clone, Copy)]
enum End {
    Own,
    Reset,
    Cut,
}

/// Closes so that all that was written arrives: to close with something unread would be a reset,
/// and a client that meets one while it writes does not read the rest.
async fn hear_out(socket: Socket) -> std::io::Result<()> {
    socket.shutdown(Shutdown::Write)?;
    let mut socket = TcpStream::from_std(socket.into())?;
    let mut nowhere = tokio::io::sink();
    let unheard = tokio::io::copy(&mut socket, &mut nowhere);
    // It ends with the client; who does not look has had its time.
    let _ended = timeout(FAREWELL, unheard).await;
    Ok(())
}

async fn answer(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    mut routes: Routes,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let faults = shared.faults();
    if faults.garble {
        return Ok(message(32, 32));
    }
    if let Some(flavour) = discovery::flavour(request.uri().path()) {
        return Ok(discovery::serve(shared, peer, flavour, request).await);
    }
    let asked_to_sign = request.uri().path() == CREATE_CERTIFICATE;
    request.extensions_mut().insert(Arc::clone(&peer));
    let answer = routes.call(request).await?;
    // Who may not have a certificate is refused as ever.
    let granted = !answer.headers().contains_key("grpc-status");
    let answer = match faults.ca {
        Some(Wrong::Undecodable) if asked_to_sign && granted => message(32, 32),
        Some(Wrong::Truncated) if asked_to_sign && granted => message(1000, 32),
        _ => answer,
    };
    Ok(answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            peer.wire.hand(frame.data_ref().map_or(0, Bytes::len));
            frame
        }))
    }))
}

/// Waits for so long; for ever if there is nothing to wait for.
async fn rest(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn state_of(seen: &super::journal::Seen, id: u64) -> Option<&ConnectionState> {
    seen.connections.iter().find(|one| one.id == id).map(|one| &one.state)
}

/// A gRPC answer with a message of bytes that are no protobuf: how many it says, how many come.
fn message(said: u32, sent: usize) -> Response<Body> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(said);
    frame.put_bytes(0xff, sent);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(frame)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
