//! A machine with a token beside a fake istiod, and a loop that turns.

use std::{
    cell::RefCell,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_harness::{
    ca::{Shape, TestCa},
    istiod::FakeIstiod,
    time::Time,
    token::{Claims, TokenSigner},
    wait::until,
};
use hawser_istiod::{
    Credentials, Hosts, Istiod, Options as Way, Roots,
    credential::{self, TokenSource},
};
use hawser_pki::{Bundle, Identity, KeyKind, SpiffeId};
use hawser_rt::{Clock, Gates, Hand, metrics::Registry};
use hawser_state::{Store, write_file};
use tempfile::TempDir;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{AtRest, Inlets, Options, Outlets, Progress, Renewal, SealKey, Source, run};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(super) const VM: &str = "spiffe://cluster.local/ns/ns/sa/vm";

/// The machine, its mesh, and the time that both have.
pub(super) struct Rig {
    pub(super) istiod: FakeIstiod,
    /// This machine's clock.
    pub(super) hand: Hand,
    /// Everybody else's.
    pub(super) time: Time,
    clock: Clock,
    dir: TempDir,
}

/// What a run is to be like.
pub(super) struct Plan {
    pub(super) id: &'static str,
    pub(super) source: Source,
    /// Whether there is an istiod that minds whom a pair names.
    pub(super) mesh: bool,
    pub(super) ttl: Duration,
    pub(super) key: KeyKind,
    pub(super) seal: Option<u8>,
}

/// A loop that is turning.
pub(super) struct Running {
    pub(super) identity: watch::Receiver<Option<Arc<Identity>>>,
    pub(super) learned: watch::Receiver<Option<Arc<Bundle>>>,
    pub(super) trusted: watch::Receiver<Option<Arc<Bundle>>>,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) mesh: watch::Sender<Option<Arc<Bundle>>>,
    pub(super) renew: Arc<Notify>,
    pub(super) gates: Gates,
    pub(super) metrics: Registry,
    _work: JoinSet<()>,
}

impl Default for Plan {
    fn default() -> Self {
        let key = KeyKind::EcdsaP256;
        Self { id: VM, source: Source::Authority, mesh: true, ttl: DAY, key, seal: None }
    }
}

impl Rig {
    /// With a token of an hour, and roots.
    pub(super) async fn new() -> Self {
        // Somewhere in the middle of a minute of another year.
        let start = SystemTime::UNIX_EPOCH + 20_000 * DAY + HOUR / 7;
        let (clock, hand) = Clock::manual(start);
        Self::at(Time::standing(start), clock, hand).await
    }

    /// In the system's time, that nobody moves.
    pub(super) async fn in_real_time() -> Self {
        let (_, hand) = Clock::manual(SystemTime::now());
        Self::at(Time::default(), Clock::default(), hand).await
    }

    async fn at(time: Time, clock: Clock, hand: Hand) -> Self {
        let ca = TestCa::at(Shape::SelfSigned, &time).unwrap();
        let istiod = FakeIstiod::start(&ca, &TokenSigner::at(&time).unwrap()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let rig = Self { istiod, hand, time, clock, dir };
        rig.write_roots();
        rig.good_token();
        rig
    }

    /// An authority besides istiod's, in the same time.
    pub(super) fn other_ca(&self, shape: Shape) -> TestCa {
        TestCa::at(shape, &self.time).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The roots of this moment, as an operator would copy them.
    pub(super) fn write_roots(&self) {
        self.write("root-cert.pem", &self.istiod.ca().root_pem());
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        write_file(&self.path(name), 0o600, text.as_bytes()).unwrap();
    }

    pub(super) fn claims(&self) -> Claims {
        self.istiod.tokens().claims("ns", "vm")
    }

    pub(super) fn good_token(&self) {
        self.good_for(HOUR);
    }

    /// Another token, that expires after so long.
    pub(super) fn good_for(&self, lifetime: Duration) {
        let claims = Claims { expires: self.time.now() + lifetime, ..self.claims() };
        self.token(&self.istiod.tokens().mint(&claims).unwrap());
    }

    pub(super) fn token(&self, text: &str) {
        self.write("token", text);
    }

    pub(super) fn no_token(&self) {
        std::fs::remove_file(self.path("token")).unwrap();
    }

    /// Time passes, here and everywhere.
    pub(super) fn pass(&self, by: Duration) {
        self.time.advance(by);
        self.hand.advance(by);
    }

    /// Returns when everybody waits for time to pass: only then a paused timer is let go.
    pub(super) async fn settled(&self) {
        tokio::time::pause();
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::time::resume();
    }

    /// From one event to the next, until `to`.
    pub(super) async fn live_until(&self, to: SystemTime, mut each: impl FnMut()) {
        loop {
            self.settled().await;
            let next = self.hand.awaited().await;
            if to <= next {
                self.pass(to.duration_since(self.hand.now()).unwrap_or_default());
                return self.settled().await;
            }
            self.pass(next.duration_since(self.hand.now()).unwrap_or_default());
            each();
        }
    }

    pub(super) fn start(&self) -> Running {
        self.start_as(Plan::default())
    }

    pub(super) fn start_as(&self, plan: Plan) -> Running {
        let (publish, identity) = watch::channel(None);
        let (learn, learned) = watch::channel(None);
        let (trust, trusted) = watch::channel(None);
        let (tell, progress) = watch::channel(Progress::default());
        let (mesh, mesh_trust) = watch::channel(None);
        let renew = Arc::new(Notify::new());
        let shown = credential::Options {
            tokens: ["token", "spare"].map(|name| TokenSource::File(self.path(name))).to_vec(),
            ..credential::Options::default()
        };
        let credentials = Credentials::new(shown, identity.clone(), self.clock.clone());
        let host = ("istiod.istio-system.svc".to_owned(), self.istiod.addr().ip());
        let way = Way {
            endpoints: vec![self.istiod.discovery_address().parse().unwrap()],
            roots: Roots::File(self.path("root-cert.pem")),
            learned: true,
            hosts: [host].into_iter().collect::<Hosts>(),
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(5),
        };
        let ca =
            Istiod::new(way, credentials.clone(), learned.clone(), self.clock.clone()).unwrap();
        let metrics = Registry::default();
        let options = Options {
            id: SpiffeId::parse(plan.id).unwrap(),
            expected: plan.mesh.then(|| SpiffeId::parse(plan.id).unwrap()),
            source: plan.source,
            key: plan.key,
            ttl: plan.ttl,
            renewal: Renewal { ratio: 0.5, jitter: 0.0 },
            signer: String::new(),
            store: Arc::new(Store::open(&self.state()).unwrap()),
            seal: plan.seal.map(|byte| SealKey::from_bytes(&[byte; 32]).unwrap()),
            clock: self.clock.clone(),
            metrics: metrics.clone(),
        };
        let outlets = Outlets { identity: publish, learned: learn, trusted: trust, progress: tell };
        let inlets = Inlets { mesh_trust, renew: Arc::clone(&renew) };
        let gates = Gates::default();
        let ready = gates.gate("identity");
        let turning =
            run(options, ca, credentials, outlets, inlets, ready, CancellationToken::new());
        let mut work = JoinSet::new();
        work.spawn(async move { turning.await.unwrap() });
        Running { identity, learned, trusted, progress, mesh, renew, gates, metrics, _work: work }
    }
}

impl Running {
    pub(super) async fn identity(&mut self) -> Arc<Identity> {
        let some = until("an identity", &mut self.identity, Option::is_some).await;
        some.unwrap().unwrap()
    }

    /// Another one than `old`.
    pub(super) async fn renewed(&mut self, old: &Identity) -> Arc<Identity> {
        let new = |identity: &Option<Arc<Identity>>| {
            identity.as_ref().is_some_and(|now| now.chain.pem() != old.chain.pem())
        };
        until("a renewal", &mut self.identity, new).await.unwrap().unwrap()
    }

    pub(super) fn served(&self) -> Arc<Identity> {
        self.identity.borrow().clone().unwrap()
    }

    pub(super) async fn trouble(&mut self) -> String {
        self.told(|progress| progress.wrong.is_some()).await.trouble().unwrap()
    }

    pub(super) async fn well(&mut self) {
        self.told(|progress| progress.wrong.is_none()).await;
    }

    pub(super) async fn failures(&mut self, count: u64) -> Progress {
        self.told(|progress| progress.failed >= count && progress.wrong.is_some()).await
    }

    pub(super) async fn at_rest(&mut self, wanted: impl Fn(&AtRest) -> bool) -> AtRest {
        self.told(|progress| wanted(&progress.at_rest)).await.at_rest
    }

    pub(super) async fn told(&mut self, what: impl Fn(&Progress) -> bool) -> Progress {
        until("progress", &mut self.progress, what).await.unwrap()
    }
}

/// How many files of the state were set aside.
pub(super) fn aside(state: &Path) -> usize {
    let names = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains("damaged")).count()
}

/// What is logged on this thread, at info and above.
pub(super) struct Log;

impl Log {
    /// One subscriber for all tests of the process: with one each, what a test does on its thread
    /// would decide what another one's hears.
    pub(super) fn start() -> Self {
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Page);
        let filter = tracing_subscriber::filter::LevelFilter::INFO;
        let heard = tracing_subscriber::registry().with(filter).with(layer);
        tracing::subscriber::set_global_default(heard).ok();
        PAGE.take();
        Self
    }

    /// How many lines have this in them.
    #[expect(clippy::unused_self, reason = "it has to be started")]
    pub(super) fn lines(&self, what: &str) -> usize {
        PAGE.with_borrow(|page| {
            let text = std::str::from_utf8(page).unwrap();
            text.lines().filter(|line| line.contains(what)).count()
        })
    }
}

thread_local! {
    static PAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where this thread's log is written.
struct Page;

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        PAGE.with_borrow_mut(|page| page.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
