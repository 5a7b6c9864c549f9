//! A double of Vault's HTTP interface, as far as a machine uses it to have a request signed; and
//! a real one ([`bao`]).
//!
//! The double speaks HTTP/1.1 over TLS on 127.0.0.1, notes every request, signs with a [`TestCa`],
//! and fails on demand: sealed, silent, a standby, forgetful. What it answers, and with which
//! status, was taken from a real one; a test of the agent runs against both.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::desk::{Desk, Question};
use crate::ca::TestCa;
use crate::free;
use crate::wait::until;

pub use self::desk::Rules;

pub mod bao;
mod desk;

/// The role id that logs in.
pub const ROLE_ID: &str = "machine-role-id";

/// The secret id that logs in with it.
pub const SECRET_ID: &str = "machine-secret-id";

/// The token that logs in at `auth/jwt` and `auth/kubernetes`.
pub const JWT: &str = "machine.jwt.signature";

/// The policy's and the engine's names.
pub const MOUNT: &str = "pki";

/// The role that signs, and the one that tokens log in to.
pub const ROLE: &str = "mesh";

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET` or `POST`.
    pub method: String,
    /// Below `/v1/`.
    pub place: String,
    /// The token that it showed.
    pub token: Option<String>,
    /// The namespace that it named.
    pub namespace: Option<String>,
    /// What it was answered with.
    pub status: u16,
}

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Everything is answered with what a sealed one says.
    pub sealed: bool,
    /// Nothing is answered, but who asks is not sent away either, while this holds.
    pub silent: bool,
    /// It is a standby, and sends to the active one there.
    pub standby_of: Option<String>,
    /// The next requests are answered with these.
    pub statuses: VecDeque<u16>,
    /// The next answers are these, with status 200.
    pub bodies: VecDeque<String>,
}

/// The double; it ends when it is dropped.
pub struct FakeVault {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tls: TlsAcceptor,
    accepting: JoinSet<()>,
}

struct Shared {
    desk: Mutex<Desk>,
    faults: watch::Sender<Faults>,
    asked: watch::Sender<Vec<Asked>>,
}

impl FakeVault {
    /// Signs with one authority, and shows a certificate of another.
    ///
    /// # Errors
    /// When no port can be opened or no certificate made.
    pub async fn start(signs: &TestCa, shows: &TestCa) -> Result<Self> {
        let own = shows.serving(&["localhost", "127.0.0.1"])?;
        let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().context("read own chain")?;
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).context("read own key")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_details(provider, Arc::new(shows.time().clone()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("use own certificate")?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free::port(Ipv4Addr::LOCALHOST.into())?));
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk::new(signs)),
            faults: watch::Sender::default(),
            asked: watch::Sender::default(),
        });
        let tls = TlsAcceptor::from(Arc::new(config));
        let mut vault = Self { addr, shared, tls, accepting: JoinSet::new() };
        vault.up().await?;
        Ok(vault)
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// Changes whom it takes, and what it gives.
    pub fn rules(&self, edit: impl FnOnce(&mut Rules)) {
        edit(&mut self.shared.desk.lock().rules);
    }

    /// Changes what goes wrong.
    pub fn faults(&self, edit: impl FnOnce(&mut Faults)) {
        self.shared.faults.send_modify(edit);
    }

    /// A token, by the rules that hold now.
    #[must_use]
    pub fn token(&self) -> String {
        self.shared.desk.lock().issue()
    }

    /// Takes no token any more that it has given so far.
    pub fn revoke(&self) {
        self.shared.desk.lock().revoke();
    }

    /// The requests that came so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.borrow().clone()
    }

    /// How many requests came for a place.
    #[must_use]
    pub fn count(&self, place: &str) -> usize {
        self.shared.asked.borrow().iter().filter(|asked| asked.place == place).count()
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
        let listener = TcpListener::bind(self.addr).await.context("listen as Vault")?;
        self.accepting.spawn(accept(listener, Arc::clone(&self.shared), self.tls.clone()));
        Ok(())
    }
}

impl fmt::Debug for FakeVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeVault").field("addr", &self.addr).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: TlsAcceptor) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                connections.spawn(async move {
                    // Who does not like the certificate hangs up.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(|request| {
                        let shared = Arc::clone(&shared);
                        async move { shared.answer(request).await }
                    });
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Shared {
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let shown = |name: &str| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        let place = head.uri.path().trim_start_matches("/v1/").to_owned();
        let (token, namespace) = (shown("x-vault-token"), shown("x-vault-namespace"));
        let question = Question {
            method: head.method.as_str(),
            place: &place,
            token: token.as_deref(),
            namespace: namespace.as_deref(),
            body: &body,
        };
        let answer = self.fault(&place).unwrap_or_else(|| self.desk.lock().answer(&question));
        let method = head.method.to_string();
        let status = answer.status().as_u16();
        self.asked.send_modify(|asked| {
            asked.push(Asked { method, place, token, namespace, status });
        });
        let mut faults = self.faults.subscribe();
        faults.wait_for(|faults| !faults.silent).await.ok();
        Ok(answer)
    }

    fn fault(&self, place: &str) -> Option<Response<Full<Bytes>>> {
        let (mut status, mut body) = (None, None);
        self.faults.send_if_modified(|faults| {
            status = faults.statuses.pop_front();
            body = if status.is_none() { faults.bodies.pop_front() } else { None };
            status.is_some() || body.is_some()
        });
        if let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) {
            return Some(desk::failed(status, "as told"));
        }
        if let Some(body) = body {
            return Some(Response::new(Full::new(body.into())));
        }
        let faults = self.faults.borrow();
        if faults.sealed {
            return Some(desk::failed(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed"));
        }
        let to = format!("{}/v1/{place}", faults.standby_of.as_ref()?);
        let mut away = desk::failed(StatusCode::TEMPORARY_REDIRECT, "");
        away.headers_mut().insert(header::LOCATION, to.try_into().ok()?);
        Some(away)
    }
}
