//! FakeIstiod: a control plane that behaves as the real one does where a client can tell.
//!
//! What it answers (codes, texts, nonces, order, chains) follows a real istiod 1.32 on the wire.
//! It has what a test wants on top: everything that was seen can be looked at and waited for, and
//! it fails on demand.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use hawser_proto::istio::ca::istio_certificate_service_server::IstioCertificateServiceServer;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use self::plane::Plane;
use self::port::{Kind, Orders, Port};
use self::sign::Signer;
use crate::ca::{Certified, DEFAULT_TTL, TestCa, Window};
use crate::free;
use crate::token::TokenSigner;
use crate::wait::until;

pub use self::caller::{Caller, Client, Shown};
pub use self::faults::{Age, Cut, Drip, Faults, Garbage, Refuse, Serving, Silence, Wrong};
pub use self::journal::{
    Answered, Asked, Connection, ConnectionState, Csr, Flavour, Health, NAMED, Seen, Stream,
    Verdict,
};
pub use self::port::Reach;
pub use self::registry::{Registry, WorkloadEntry};
pub use self::request::{Key, Request};
pub use self::world::{Ballast, Resource, State, World};

pub(crate) mod caller;
mod discovery;
mod faults;
mod journal;
mod message;
mod node;
mod plane;
mod port;
mod registry;
mod request;
mod session;
mod sign;
mod subscription;
mod wire;
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
    plane: Arc<Plane>,
    seen: watch::Sender<Seen>,
    orders: watch::Sender<Orders>,
    faults: Mutex<Faults>,
    honours_versions: AtomicBool,
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
        Self::open(ca, tokens, Plane::new(), free_ports()?).await
    }

    /// The same on the ports that istiod really has, 15012 and 15010, of an address of its own in
    /// 127.0.0.0/8.
    ///
    /// # Errors
    /// When a port cannot be opened.
    pub async fn start_on(ca: &TestCa, tokens: &TokenSigner, ip: Ipv4Addr) -> Result<Self> {
        Self::open(ca, tokens, Plane::new(), real_ports(ip)).await
    }

    /// Starts one more istiod of the same mesh: CA, world, groups and registered machines are the
    /// same, and what either of them changes the other one pushes. Ports, faults and all that is
    /// seen, but for the registry, are its own.
    ///
    /// # Errors
    /// When a port cannot be opened.
    pub async fn start_beside(&self) -> Result<Self> {
        let shared = &self.shared;
        Self::open(&shared.ca, &shared.tokens, Arc::clone(&shared.plane), free_ports()?).await
    }

    /// The same on the ports that istiod really has, as [`Self::start_on`].
    ///
    /// # Errors
    /// When a port cannot be opened.
    pub async fn start_beside_on(&self, ip: Ipv4Addr) -> Result<Self> {
        let shared = &self.shared;
        let ports = real_ports(ip);
        Self::open(&shared.ca, &shared.tokens, Arc::clone(&shared.plane), ports).await
    }

    async fn open(
        ca: &TestCa,
        tokens: &TokenSigner,
        plane: Arc<Plane>,
        [secure, plaintext]: [SocketAddr; 2],
    ) -> Result<Self> {
        let seen = watch::Sender::default();
        plane.show(&seen);
        let shared = Arc::new(Shared {
            ca: ca.clone(),
            tokens: tokens.clone(),
            plane,
            seen,
            orders: watch::Sender::default(),
            faults: Mutex::default(),
            honours_versions: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        let routes = shared.routes(Kind::Tls);
        let secure = Port::open(Kind::Tls, secure, &shared, routes).await?;
        let routes = shared.routes(Kind::Plaintext);
        let plaintext = Port::open(Kind::Plaintext, plaintext, &shared, routes).await?;
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
        &self.shared.plane.world
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
        self.shared.plane.registry(|registry| registry.groups.insert(key, account.to_owned()));
    }

    /// Makes a group's machines the endpoints of a cluster: each as long as it is registered, and,
    /// if its health is asked for, only while it says that it is well.
    pub fn serve_group(&self, namespace: &str, name: &str, cluster: &str, port: u16) {
        self.shared.plane.serve(cluster, &format!("{namespace}/{name}"), port);
    }

    /// Whether it gives resources versions, and sends a client that reconnects in delta only what
    /// differs from what it has. The real one does neither, and neither does this one at first.
    pub fn honours_versions(&self, honours: bool) {
        self.shared.honours_versions.store(honours, Ordering::Relaxed);
    }

    /// How long an entry outlives its machine's last stream; 10 s if nothing is said.
    pub fn grace(&self, grace: Duration) {
        *self.shared.plane.grace.lock() = grace;
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
        self.plaintext.reopen(shared, shared.routes(Kind::Plaintext)).await?;
        self.secure.is(reach).await;
        self.plaintext.is(reach).await;
        Ok(())
    }

    /// Stops and starts it: its connections are cut without GOAWAY, trailers or reset, as those of
    /// a process that has ended, and its ports are the same afterwards.
    ///
    /// # Errors
    /// When somebody has taken its port in between.
    pub async fn restart(&self) -> Result<()> {
        self.reach(Reach::Down).await?;
        self.reach(Reach::Up).await
    }

    /// Cuts every connection as [`Self::restart`] does; its ports are never closed.
    pub fn crash(&self) {
        self.shared.cut();
    }

    /// Resets every connection; new ones are welcome.
    pub fn reset(&self) {
        self.shared.orders.send_modify(|orders| orders.resets += 1);
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
    /// What is served beside discovery; the CA is not served in plaintext.
    fn routes(self: &Arc<Self>, kind: Kind) -> Routes {
        match kind {
            Kind::Plaintext => Routes::default(),
            Kind::Tls => Routes::new(IstioCertificateServiceServer::new(Signer(Arc::clone(self)))),
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

    fn honours_versions(&self) -> bool {
        self.honours_versions.load(Ordering::Relaxed)
    }

    /// The cut that is to be made in a response of this type; it is made once.
    fn take_cut(&self, type_url: &str) -> Option<Cut> {
        let about = |cut: &mut Cut| cut.type_url.is_empty() || cut.type_url == type_url;
        self.faults.lock().cut.take_if(about)
    }

    fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Takes the entry away if its machine is still away when the grace is over.
    fn clean_up(self: &Arc<Self>, entry: String, since: Instant) {
        let (shared, grace) = (Arc::clone(self), *self.plane.grace.lock());
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(grace) => {
                    shared.plane.clean_up(&entry, since);
                }
                () = shared.stop.cancelled() => {}
            }
        });
    }
}

fn free_ports() -> Result<[SocketAddr; 2]> {
    let localhost = Ipv4Addr::LOCALHOST.into();
    let port = || Ok::<_, anyhow::Error>(SocketAddr::new(localhost, free::port(localhost)?));
    Ok([port()?, port()?])
}

fn real_ports(ip: Ipv4Addr) -> [SocketAddr; 2] {
    [15012, 15010].map(|port| SocketAddr::from((ip, port)))
}
