//! The loop against an istiod that signs as the real one does.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hawser_harness::{
    ca::{Shape, TestCa},
    istiod::{FakeIstiod, Reach, Refuse},
    token::{Claims, TokenSigner},
    wait::until,
};
use hawser_istiod::{Hosts, Istiod, Options as Way, Roots};
use hawser_pki::{Identity, KeyKind, SpiffeId};
use hawser_rt::Gates;
use hawser_state::{Store, write_file};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A machine with a token, beside an istiod that knows who signed it.
struct Rig {
    istiod: FakeIstiod,
    dir: tempfile::TempDir,
}

/// A loop that is turning.
struct Running {
    identity: watch::Receiver<Option<Arc<Identity>>>,
    progress: watch::Receiver<Progress>,
    gates: Gates,
    _work: JoinSet<()>,
}

impl Rig {
    async fn new() -> Self {
        let ca = TestCa::new(Shape::SelfSigned).unwrap();
        let istiod = FakeIstiod::start(&ca, &TokenSigner::new().unwrap()).await.unwrap();
        let rig = Self { istiod, dir: tempfile::tempdir().unwrap() };
        write_file(&rig.roots(), 0o600, rig.istiod.ca().root_pem().as_bytes()).unwrap();
        rig.token(&rig.istiod.tokens().mint(&Claims::new("ns", "vm")).unwrap());
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn roots(&self) -> PathBuf {
        self.path("root-cert.pem")
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    fn token(&self, text: &str) {
        write_file(&self.path("token"), 0o600, text.as_bytes()).unwrap();
    }

    fn start(&self, id: &str, ttl: Duration) -> Running {
        let (publish, identity) = watch::channel(None);
        let (tell, progress) = watch::channel(Progress::default());
        let endpoint = self.istiod.discovery_address();
        let host = ("istiod.istio-system.svc".to_owned(), self.istiod.addr().ip());
        let way = Way {
            endpoint: endpoint.parse().unwrap(),
            roots: Roots::File(self.roots()),
            hosts: [host].into_iter().collect::<Hosts>(),
            token: Some(self.path("token")),
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(5),
        };
        let ca = Istiod::new(way, identity.clone()).unwrap();
        let options = Options {
            id: SpiffeId::parse(id).unwrap(),
            key: KeyKind::EcdsaP256,
            ttl,
            signer: String::new(),
            token: self.path("token"),
            store: Arc::new(Store::open(&self.state()).unwrap()),
        };
        let gates = Gates::default();
        let turning =
            run(options, ca, publish, tell, gates.gate("identity"), CancellationToken::new());
        let mut work = JoinSet::new();
        work.spawn(async move { turning.await.unwrap() });
        Running { identity, progress, gates, _work: work }
    }
}

impl Running {
    async fn identity(&mut self) -> Arc<Identity> {
        let some = until("an identity", &mut self.identity, Option::is_some).await;
        some.unwrap().unwrap()
    }

    async fn trouble(&mut self) -> String {
        let some = until("trouble", &mut self.progress, |progress| progress.wrong.is_some()).await;
        some.unwrap().trouble().unwrap()
    }
}

const VM: &str = "spiffe://cluster.local/ns/ns/sa/vm";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_becomes_an_identity_that_is_kept() {
    let rig = Rig::new().await;

    let mut running = rig.start(VM, DAY);

    let identity = running.identity().await;
    assert_eq!(identity.spiffe_id().to_string(), VM);
    running.gates.all_open().await;
    assert_eq!(running.progress.borrow().trouble(), None);
    let store = Store::open(&rig.state()).unwrap();
    let kept = keep::kept(&store, &SpiffeId::parse(VM).unwrap()).unwrap();
    assert_eq!(kept.chain.pem(), identity.chain.pem());
    let seen = rig.istiod.seen();
    assert_eq!((seen.csrs.len(), seen.csrs[0].code), (1, Code::Ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_is_served_without_anybody_being_asked() {
    let rig = Rig::new().await;
    let first = rig.start(VM, DAY).identity().await;
    rig.istiod.reach(Reach::Down).await.unwrap();
    std::fs::remove_file(rig.path("token")).unwrap();

    let second = rig.start(VM, DAY).identity().await;

    assert_eq!(second.chain.pem(), first.chain.pem());
    assert_eq!(rig.istiod.seen().csrs.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_waits_for_another_which_is_used_at_once() {
    let rig = Rig::new().await;
    let stranger = TokenSigner::new().unwrap();
    rig.token(&stranger.mint(&Claims::new("ns", "vm")).unwrap());
    let mut running = rig.start(VM, DAY);
    let trouble = running.trouble().await;
    assert!(trouble.contains("request authenticate failure"), "{trouble}");
    assert!(trouble.contains("`hawser join`"), "{trouble}");
    assert_eq!(running.gates.closed(), ["identity"]);

    rig.token(&rig.istiod.tokens().mint(&Claims::new("ns", "vm")).unwrap());

    running.identity().await;
    until("no trouble", &mut running.progress, |p| p.wrong.is_none()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_remedy_is_named() {
    let rig = Rig::new().await;
    std::fs::remove_file(rig.path("token")).unwrap();

    let trouble = rig.start(VM, DAY).trouble().await;

    assert!(trouble.contains("neither a token at "), "{trouble}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_named_although_istiod_does_not_say_so() {
    let rig = Rig::new().await;
    let expires = std::time::SystemTime::now() - Duration::from_secs(3 * 3600);
    let claims = Claims { expires, ..Claims::new("ns", "vm") };
    rig.token(&rig.istiod.tokens().mint(&claims).unwrap());

    let trouble = rig.start(VM, DAY).trouble().await;

    assert!(trouble.contains("expired"), "{trouble}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_somebody_else_is_not_served() {
    let rig = Rig::new().await;

    let mut running = rig.start("spiffe://cluster.local/ns/ns/sa/other", DAY);

    let trouble = running.trouble().await;
    assert!(trouble.contains("has issued spiffe://cluster.local/ns/ns/sa/vm"), "{trouble}");
    assert!(running.identity.borrow().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_for_somebody_else_is_set_aside() {
    let rig = Rig::new().await;
    rig.start(VM, DAY).identity().await;
    rig.token(&rig.istiod.tokens().mint(&Claims::new("ns", "other")).unwrap());

    let identity = rig.start("spiffe://cluster.local/ns/ns/sa/other", DAY).identity().await;

    assert_eq!(identity.spiffe_id().service_account(), "other");
    assert_eq!(aside(&rig.state()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_set_aside_and_another_certificate_obtained() {
    let rig = Rig::new().await;
    rig.start(VM, DAY).identity().await;
    let file = rig.state().join(FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write_file(&file, 0o600, &bytes).unwrap();

    rig.start(VM, DAY).identity().await;

    assert_eq!(rig.istiod.seen().csrs.len(), 2);
    assert_eq!(aside(&rig.state()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_is_asked_for_with_the_certificate_and_its_failure_takes_nothing_away() {
    let rig = Rig::new().await;
    let mut running = rig.start(VM, Duration::from_secs(6));
    let first = running.identity().await;
    std::fs::remove_file(rig.path("token")).unwrap();
    rig.istiod.faults(|faults| {
        faults.refuse_ca = Some(Refuse::new(Code::Unavailable, "not now"));
    });
    let trouble = running.trouble().await;
    assert!(trouble.contains("not now"), "{trouble}");
    assert_eq!(running.identity().await.chain.pem(), first.chain.pem());

    rig.istiod.faults(|faults| faults.refuse_ca = None);

    let new = |identity: &Option<Arc<Identity>>| {
        identity.as_ref().is_some_and(|now| now.chain.pem() != first.chain.pem())
    };
    until("a renewal", &mut running.identity, new).await.unwrap();
    let seen = rig.istiod.seen();
    let last = seen.csrs.last().unwrap();
    assert!(last.code == Code::Ok && last.shown.certificate && !last.shown.token);
}

fn aside(state: &Path) -> usize {
    let names = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains("damaged")).count()
}
