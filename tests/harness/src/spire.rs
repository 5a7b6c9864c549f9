//! FakeSpire: a SPIFFE provider's certificates at a Unix socket.
//!
//! Speaks as SPIRE's agent does. SDS: `StreamSecrets` alone, the names `default` and `ROOTCA`, PKCS#8
//! keys, no headers before the first message, a push for everything that changes. The Workload API:
//! `FetchX509SVID` for those who send its header, all identities in every message. On top it gives
//! half of a set, falls silent, dies and comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use hawser_proto::envoy::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use hawser_proto::spiffe::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use self::session::Secrets;
use self::workload::Identities;
use crate::ca::Certified;
use crate::wait::until;

pub use self::session::Asked;

mod session;
mod workload;

/// How it behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// It serves.
    #[default]
    Serves,
    /// It takes connections and says nothing, not on old ones either.
    Silent,
    /// It knows nobody: `PERMISSION_DENIED` to every new stream.
    Unregistered,
    /// It serves, and knows nothing of SDS.
    WithoutSds,
}

/// What it has seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Connections that it has taken.
    pub connections: usize,
    /// Connections that are open.
    pub open: usize,
    /// Streams of SDS that were opened.
    pub streams: u64,
    /// Streams of the Workload API that were opened.
    pub fetches: u64,
    /// Every request of every stream.
    pub asked: Vec<Asked>,
    /// The names in each response that it has sent.
    pub sent: Vec<Vec<String>>,
}

/// The provider; it ends when it is dropped, and its socket file stays.
#[derive(Debug)]
pub struct FakeSpire {
    socket: PathBuf,
    shared: Arc<Shared>,
    serving: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    given: watch::Sender<Given>,
    manner: watch::Sender<Manner>,
    seen: watch::Sender<Seen>,
    tasks: TaskTracker,
}

/// What there is to serve; each with the push that brought it.
#[derive(Debug, Clone, Default)]
struct Given {
    push: u64,
    pair: Option<(u64, Certified)>,
    roots: Option<(u64, String)>,
    /// Identities of the caller besides the first.
    others: Vec<Certified>,
    /// Roots of another trust domain, by its id.
    federated: Vec<(String, String)>,
}

impl FakeSpire {
    /// Starts at a path whose directory is made if it is not there; nothing is given yet.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn start(socket: &Path) -> Result<Self> {
        let shared = Arc::new(Shared {
            given: watch::Sender::default(),
            manner: watch::Sender::default(),
            seen: watch::Sender::default(),
            tasks: TaskTracker::new(),
        });
        let spire = Self { socket: socket.to_owned(), shared, serving: Mutex::new(JoinSet::new()) };
        spire.come_back()?;
        Ok(spire)
    }

    /// Where its socket is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Gives a pair and roots, in one push.
    pub fn give(&self, pair: &Certified, roots: &str) {
        self.push(|given, push| {
            given.pair = Some((push, pair.clone()));
            given.roots = Some((push, roots.to_owned()));
        });
    }

    /// Gives another identity besides, as an agent does for whom several entries fit.
    pub fn give_another(&self, pair: &Certified) {
        self.push(|given, _push| given.others.push(pair.clone()));
    }

    /// Gives the roots of another trust domain.
    pub fn federate(&self, trust_domain: &str, roots: &str) {
        let federated = (format!("spiffe://{trust_domain}"), roots.to_owned());
        self.push(|given, _push| given.federated.push(federated));
    }

    /// Gives a pair, in a push without roots.
    pub fn give_pair(&self, pair: &Certified) {
        self.push(|given, push| given.pair = Some((push, pair.clone())));
    }

    /// Gives roots, in a push without a pair.
    pub fn give_roots(&self, roots: &str) {
        self.push(|given, push| given.roots = Some((push, roots.to_owned())));
    }

    /// Forgets what it has given: whoever asks now has to wait.
    pub fn forget(&self) {
        self.push(|given, _push| (given.pair, given.roots) = (None, None));
    }

    /// Changes how it behaves.
    pub fn manner(&self, manner: Manner) {
        self.shared.manner.send_replace(manner);
    }

    /// Ends as if it was killed: connections break, nobody listens, the socket file stays.
    pub async fn die(&self) {
        let mut serving = std::mem::take(&mut *self.serving.lock());
        serving.shutdown().await;
        self.shared.seen.send_modify(|seen| seen.open = 0);
    }

    /// Ends and takes the socket file away.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn vanish(&self) -> Result<()> {
        self.die().await;
        self.unlink()
    }

    /// Listens again, at a new socket file of the same name. What it was given is still there.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn come_back(&self) -> Result<()> {
        self.unlink()?;
        let dir = self.socket.parent().context("a socket without a directory")?;
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let listener = UnixListener::bind(&self.socket)
            .with_context(|| format!("bind {}", self.socket.display()))?;
        // Whoever runs here may ask; SPIRE looks at the process, not at the mode.
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o777))
            .with_context(|| format!("open {} to everybody", self.socket.display()))?;
        self.serving.lock().spawn(accept(listener, Arc::clone(&self.shared)));
        Ok(())
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.shared.seen.borrow().clone()
    }

    /// Waits until it has seen something.
    ///
    /// # Errors
    /// After [`crate::wait::PATIENCE`].
    pub async fn until(&self, what: &str, done: impl FnMut(&Seen) -> bool) -> Result<Seen> {
        until(what, &mut self.shared.seen.subscribe(), done).await
    }

    fn push(&self, edit: impl FnOnce(&mut Given, u64)) {
        self.shared.given.send_modify(|given| {
            given.push += 1;
            let push = given.push;
            edit(given, push);
        });
    }

    fn unlink(&self) -> Result<()> {
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.socket.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Seen {
    /// How many requests were answers to a response: taken, or refused with a reason.
    #[must_use]
    pub fn acks(&self) -> usize {
        self.asked.iter().filter(|asked| !asked.nonce.is_empty() && asked.error.is_none()).count()
    }

    /// The reasons for which responses were refused.
    #[must_use]
    pub fn nacks(&self) -> Vec<String> {
        self.asked.iter().filter_map(|asked| asked.error.clone()).collect()
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        shared.seen.send_modify(|seen| {
            seen.connections += 1;
            seen.open += 1;
        });
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection; it is not even read while it is to be silent.
async fn serve(stream: UnixStream, shared: Arc<Shared>) {
    let routes = Routes::new(SecretDiscoveryServiceServer::new(Secrets(Arc::clone(&shared))))
        .add_service(SpiffeWorkloadApiServer::new(Identities(Arc::clone(&shared))));
    let connection = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let mut manner = shared.manner.subscribe();
    loop {
        let silent = *manner.borrow_and_update() == Manner::Silent;
        // Cancel safe: the connection is polled in place, the other only waits.
        tokio::select! {
            _end = connection.as_mut(), if !silent => break,
            changed = manner.changed() => {
                if changed.is_err() {
                    break;
                }
            }
        }
    }
    shared.seen.send_modify(|seen| seen.open = seen.open.saturating_sub(1));
}
