//! What a certificate costs, by kind of key: `cargo run --release --example csr -p hawser-identity`.
//!
//! CPU is that of making a key and a request, and of that alone; the round trip is a whole renewal
//! from the wish to the new pair on the channel, written to disk, against an istiod in this process
//! over TLS.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it is for people to look at")]

use std::{sync::Arc, time::Duration};

use hawser_harness::{
    ca::{Shape, TestCa},
    istiod::FakeIstiod,
    token::{Claims, TokenSigner},
};
use hawser_identity::{Inlets, Options, Outlets, Progress, Renewal, Source, run};
use hawser_istiod::{
    Credentials, Hosts, Istiod, Options as Way, Roots,
    credential::{self, TokenSource},
};
use hawser_pki::{Identity, KeyKind, PrivateKey, SpiffeId, csr};
use hawser_rt::{Clock, Gates, metrics::Registry};
use hawser_state::{Store, write_file};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

const KINDS: [(KeyKind, usize); 5] = [
    (KeyKind::EcdsaP256, 200),
    (KeyKind::EcdsaP384, 200),
    (KeyKind::Rsa2048, 20),
    (KeyKind::Rsa3072, 10),
    (KeyKind::Rsa4096, 5),
];

#[tokio::main]
async fn main() {
    let id = SpiffeId::new("cluster.local", "ns", "vm").unwrap();
    println!(
        "{:<11} {:>5} {:>16} {:>19} {:>19}",
        "key", "times", "CPU, mean", "renewal, median", "worst"
    );
    for (kind, times) in KINDS {
        let cpu = cpu_of(kind, &id, times);
        let mut trips = round_trips(kind, &id, times.min(50)).await;
        trips.sort_unstable();
        let (median, worst) = (trips.get(trips.len() / 2).unwrap(), trips.last().unwrap());
        println!(
            "{:<11} {times:>5} {:>13.2} ms {:>16.2} ms {:>16.2} ms",
            kind.to_string(),
            cpu.as_secs_f64() * 1e3,
            median.as_secs_f64() * 1e3,
            worst.as_secs_f64() * 1e3
        );
    }
}

/// The CPU time of a key and its request, on this thread.
fn cpu_of(kind: KeyKind, id: &SpiffeId, times: usize) -> Duration {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
        let micros = [usage.user_time(), usage.system_time()]
            .map(|time| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap());
        Duration::from_micros(micros.iter().sum())
    };
    let before = used();
    for _ in 0..times {
        let key = PrivateKey::generate(kind).unwrap();
        assert!(!csr(&key, id).unwrap().is_empty());
    }
    (used() - before) / u32::try_from(times).unwrap()
}

/// How long renewals take, from the wish to the pair.
async fn round_trips(kind: KeyKind, id: &SpiffeId, times: usize) -> Vec<Duration> {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        write_file(&path, 0o600, text.as_bytes()).unwrap();
        path
    };
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let istiod = FakeIstiod::start(&ca, &TokenSigner::new().unwrap()).await.unwrap();
    let token = istiod.tokens().mint(&Claims::new("ns", "vm")).unwrap();
    let (publish, mut identity) = watch::channel(None::<Arc<Identity>>);
    let (learn, learned) = watch::channel(None);
    let shown = credential::Options {
        tokens: vec![TokenSource::File(file("token", &token))],
        ..credential::Options::default()
    };
    let clock = Clock::default();
    let credentials = Credentials::new(shown, identity.clone(), clock.clone());
    let host = ("istiod.istio-system.svc".to_owned(), istiod.addr().ip());
    let way = Way {
        endpoints: vec![istiod.discovery_address().parse().unwrap()],
        roots: Roots::File(file("root-cert.pem", &ca.root_pem())),
        learned: true,
        hosts: [host].into_iter().collect::<Hosts>(),
        headers: Vec::new(),
        connect_timeout: Duration::from_secs(5),
    };
    let way = Istiod::new(way, credentials.clone(), learned, clock.clone()).unwrap();
    let options = Options {
        expected: None,
        id: id.clone(),
        source: Source::Authority,
        key: kind,
        ttl: Duration::from_secs(24 * 3600),
        renewal: Renewal::default(),
        signer: String::new(),
        store: Arc::new(Store::open(&dir.path().join("state")).unwrap()),
        seal: None,
        clock,
        metrics: Registry::default(),
    };
    let outlets = Outlets {
        identity: publish,
        learned: learn,
        trusted: watch::channel(None).0,
        progress: watch::channel(Progress::default()).0,
    };
    let renew = Arc::new(Notify::new());
    let inlets = Inlets { mesh_trust: watch::channel(None).1, renew: Arc::clone(&renew) };
    let ready = Gates::default().gate("identity");
    let mut work = JoinSet::new();
    work.spawn(run(options, way, credentials, outlets, inlets, ready, CancellationToken::new()));
    identity.changed().await.unwrap();

    let mut trips = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        renew.notify_one();
        identity.changed().await.unwrap();
        trips.push(began.elapsed());
    }
    trips
}
