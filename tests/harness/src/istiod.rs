//! FakeIstiod: a control plane that behaves as the real one does where a client can tell.
//!
//! What it answers (codes, texts, nonces, order, chains) follows a real istiod 1.32 on the wire.
//! It has what a test wants on top: everything that was seen can be looked at and waited for, and
//! it fails on demand.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use hawser_proto::envoy::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use hawser_proto::istio::ca::istio_certificate_service_server::IstioCertificateServiceServer;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use self::discovery::Discovery;
use self::port::{Kind, Orders, Port};
use self::sign::Signer;
use crate::ca::{Certified, DEFAULT_TTL, TestCa, Window};
use crate::token::TokenSigner;
use crate::wait::until;

pub use self::caller::{Caller, Client, Shown};
pub use self::faults::{Age, Faults, Refuse, Serving, Wrong};
pub use self::journal::{
    Answered, Asked, Connection, ConnectionState, Csr, Flavour, Health, Seen, Stream, Verdict,
};
pub use self::port::Reach;
pub use self::registry::{Registry, WorkloadEntry};
pub use self::request::{Key, Request};
pub use self::world::{Resource, State, World};

pub(crate) mod caller;
mod discovery;
mod faults;
mod journal;
mod node;
mod port;
mod registry;
mod request;
mod sign;
mod subscription;
mod world;

/// The name by which istiod is dialled and verified.
pub const SERVER_NAME: &str = "istiod.istio-system.svc";

/// All names in its certificate: no address, no `localhost`.
const SERVER_NAMES: &[&str] =
    &["istio-pilot.istio-system.svc", "istiod-remote.istio-system.svc", SERVER_NAME];

/// The fake control plane; it ends when it is dropped.
pub struct FakeIstiod {
    shared: Arc<Shared>,
    secure: Port,
    plaintext: Port,
}

struct Shared {
    ca: TestCa,
    tokens: TokenSigner,
    world: World,
    seen: watch::Sender<Seen>,
    orders: watch::Sender<Orders>,
    faults: Mutex<Faults>,
    grace: Mutex<Duration>,
    ids: AtomicU64,
    connections: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl FakeIstiod {
    /// Starts on two free ports of 127.0.0.1, with an empty world, in the time of the CA.
    ///
    /// # Errors
    /// When a port cannot be opened.
    pub async fn start(ca: &TestCa, tokens: &TokenSigner) -> Result<Self> {
        let shared = Arc::new(Shared {
            ca: ca.clone(),
            tokens: tokens.clone(),
            world: World::default(),
            seen: watch::Sender::default(),
            orders: watch::Sender::default(),
            faults: Mutex::default(),
            grace: Mutex::new(Duration::from_secs(10)),
            ids: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        let secure = Port::open(Kind::Tls, &shared, shared.routes(Kind::Tls)).await?;
        let routes = shared.routes(Kind::Plaintext);
        let plaintext = Port::open(Kind::Plaintext, &shared, routes).await?;
        Ok(Self { shared, secure, plaintext })
    }

    /// Where CA and discovery are served with TLS: istiod's 15012.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.secure.addr
    }

    /// Where discovery is served in plaintext: istiod's 15010.
    #[must_use]
    pub fn plaintext_addr(&self) -> SocketAddr {
        self.plaintext.addr
    }

    /// The name and port that a bundle gives to an agent.
    #[must_use]
    pub fn discovery_address(&self) -> String {
        format!("{SERVER_NAME}:{}", self.secure.addr.port())
    }

    /// The CA it signs with.
    #[must_use]
    pub fn ca(&self) -> &TestCa {
        &self.shared.ca
    }

    /// The signer whose tokens it believes.
    #[must_use]
    pub fn tokens(&self) -> &TokenSigner {
        &self.shared.tokens
    }

    /// What it pushes.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.shared.world
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.shared.seen.borrow().clone()
    }

    /// Waits until it has seen something.
    ///
    /// # Errors
    /// After [`crate::wait::PATIENCE`]; the text says what was waited for.
    pub async fn until(&self, what: &str, done: impl FnMut(&Seen) -> bool) -> Result<Seen> {
        until(what, &mut self.shared.seen.subscribe(), done).await
    }

    /// Lets machines of a namespace register with a group; `account` "" lets any account.
    pub fn workload_group(&self, namespace: &str, name: &str, account: &str) {
        let key = format!("{namespace}/{name}");
        self.shared.seen.send_modify(|seen| {
            seen.registry.groups.insert(key, account.to_owned());
        });
    }

    /// How long an entry outlives its machine's last stream; 10 s if nothing is said.
    pub fn grace(&self, grace: Duration) {
        *self.shared.grace.lock() = grace;
    }

    /// Changes what goes wrong.
    pub fn faults(&self, edit: impl FnOnce(&mut Faults)) {
        edit(&mut self.shared.faults.lock());
    }

    /// Changes how it can be reached; returns when that is so.
    ///
    /// # Errors
    /// When somebody has taken its port while it was down.
    pub async fn reach(&self, reach: Reach) -> Result<()> {
        self.shared.orders.send_modify(|orders| orders.reach = reach);
        if reach == Reach::Down {
            self.secure.closed().await;
            self.plaintext.closed().await;
            return Ok(());
        }
        let shared = &self.shared;
        self.secure.reopen(shared, shared.routes(Kind::Tls)).await?;
        self.plaintext.reopen(shared, shared.routes(Kind::Plaintext)).await
    }

    /// Resets every connection; new ones are welcome.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Sends GOAWAY on every connection and ends those that are still there after `grace`.
    pub fn goaway(&self, grace: Duration) {
        self.shared.orders.send_modify(|orders| {
            orders.goaways += 1;
            orders.grace = grace;
        });
    }
}

impl Drop for FakeIstiod {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl fmt::Debug for FakeIstiod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeIstiod").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

impl Shared {
    /// The CA is not served in plaintext.
    fn routes(self: &Arc<Self>, kind: Kind) -> Routes {
        let discovery = AggregatedDiscoveryServiceServer::new(Discovery(Arc::clone(self)));
        let routes = Routes::new(discovery);
        match kind {
            Kind::Plaintext => routes,
            Kind::Tls => {
                routes.add_service(IstioCertificateServiceServer::new(Signer(Arc::clone(self))))
            }
        }
    }

    fn faults(&self) -> Faults {
        self.faults.lock().clone()
    }

    /// What it shows of itself at this moment.
    fn serving(&self) -> Result<Certified> {
        let now = self.ca.time().now();
        match self.faults().serving {
            Serving::Good => self.ca.serving(SERVER_NAMES),
            Serving::Expired(ago) => {
                let window = Window { from: now - ago - DEFAULT_TTL, until: now - ago };
                self.ca.serving_for(SERVER_NAMES, window)
            }
            Serving::Names(names) => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                self.ca.serving(&names)
            }
        }
    }

    async fn pause(&self) {
        let delay = self.faults.lock().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    fn next_stream(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    fn reset(&self) {
        self.orders.send_modify(|orders| orders.resets += 1);
    }

    fn crash(&self) {
        self.seen.send_modify(|seen| seen.crashes += 1);
        self.reset();
    }

    /// Takes the entry away if its machine is still away when the grace is over.
    fn clean_up(self: &Arc<Self>, entry: String, since: Instant) {
        let (shared, grace) = (Arc::clone(self), *self.grace.lock());
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(grace) => {
                    shared.seen.send_modify(|seen| seen.registry.clean_up(&entry, since));
                }
                () = shared.stop.cancelled() => {}
            }
        });
    }
}
