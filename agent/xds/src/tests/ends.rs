//! Both ends of the relay: Envoy's, and istiod's.

use std::{
    fs::File, io::Write, net::SocketAddr, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hawser_istiod::{
    Credentials, Endpoint, Hosts, Istiod, Roots,
    credential::{self, TokenSource},
};
use hawser_lastgood::Shelf;
use hawser_node::Node;
use hawser_rt::{Clock, metrics::Registry, uds::Peers};
use hawser_wasm::Modules;
use hawser_wire::Flavour;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream, UnixStream},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status, Streaming,
    codegen::http::uri::PathAndQuery,
    transport::{Server, Uri},
};

use super::{
    raw::{Accepted, Raw, Upstream},
    words::{Ask, Tell, ask},
};
use crate::{Fit, Options, Parts, Seen, Source, Standing, serve};

/// An istiod whose streams are handed to the test.
pub(crate) struct FakeIstiod {
    address: SocketAddr,
    streams: mpsc::Receiver<Accepted>,
    cable: watch::Sender<Cable>,
    tasks: JoinSet<()>,
}

/// What the connections to it run through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cable {
    /// The number tells one from the other.
    Whole(u64),
    Unplugged,
}

impl FakeIstiod {
    pub(crate) async fn start() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, behind) = (front.local_addr().unwrap(), server.local_addr().unwrap());
        let (accepted, streams) = mpsc::channel(64);
        let (cable, now) = watch::channel(Cable::Whole(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let builder = Server::builder().add_service(Upstream::new(accepted));
            builder.serve_with_incoming(TcpListenerStream::new(server)).await.unwrap();
        });
        tasks.spawn(async move {
            let mut cables = JoinSet::new();
            while let Ok((mut near, _)) = front.accept().await {
                let mut now = now.clone();
                if *now.borrow_and_update() == Cable::Unplugged {
                    continue;
                }
                let mut far = TcpStream::connect(behind).await.unwrap();
                cables.spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = now.changed() => {}
                    }
                });
            }
        });
        Self { address, streams, cable, tasks }
    }

    /// Breaks every connection; new ones are made.
    pub(crate) fn breaks(&self) {
        self.cable.send_modify(|cable| {
            *cable = match cable {
                Cable::Whole(number) => Cable::Whole(*number + 1),
                Cable::Unplugged => Cable::Whole(0),
            };
        });
    }

    /// Breaks every connection, and none can be made until it [breaks](Self::breaks) again.
    pub(crate) fn leaves(&self) {
        self.cable.send_replace(Cable::Unplugged);
    }

    /// An address where nobody listens.
    pub(crate) async fn nobody() -> Self {
        let mut fake = Self::start().await;
        fake.tasks.shutdown().await;
        fake
    }

    pub(crate) async fn accept(&mut self) -> Accepted {
        self.streams.recv().await.unwrap()
    }

    pub(crate) fn istiod(&self) -> Istiod {
        self.shown(Credentials::none())
    }

    /// The way to this istiod for somebody who can show a token from each of these files.
    pub(crate) fn shown_tokens(&self, files: &[PathBuf]) -> Istiod {
        let tokens = files.iter().cloned().map(TokenSource::File).collect();
        let options = credential::Options { tokens, ..credential::Options::default() };
        self.shown(Credentials::new(options, watch::channel(None).1, Clock::default()))
    }

    fn shown(&self, credentials: Credentials) -> Istiod {
        let options = hawser_istiod::Options {
            endpoints: vec![Endpoint { tls: false, ..self.address.to_string().parse().unwrap() }],
            roots: Roots::System,
            learned: false,
            hosts: Hosts::default(),
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(5),
        };
        Istiod::new(options, credentials, watch::channel(None).1, Clock::default()).unwrap()
    }
}

/// Two tokens to show.
pub(crate) struct Tokens {
    pub(crate) files: [PathBuf; 2],
    _folder: TempDir,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = ["first", "second"].map(|name| folder.path().join(name));
        for (path, payload) in files.iter().zip(["eyJzdWIiOiJhIn0", "eyJzdWIiOiJiIn0"]) {
            let token = format!("eyJhbGciOiJub25lIn0.{payload}.c2ln");
            File::create(path).unwrap().write_all(token.as_bytes()).unwrap();
        }
        Self { files, _folder: folder }
    }
}

/// The relay under test.
pub(crate) struct Agent {
    pub(crate) seen: Seen,
    pub(crate) health: watch::Sender<Option<Result<(), String>>>,
    pub(crate) node: watch::Sender<Arc<Node>>,
    pub(crate) metrics: Registry,
    path: PathBuf,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    folder: Arc<TempDir>,
}

impl Agent {
    pub(crate) fn start(istiod: &FakeIstiod) -> Self {
        Self::with(istiod.istiod())
    }

    pub(crate) fn with(istiod: Istiod) -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), istiod)
    }

    /// With what was kept in that folder.
    pub(crate) fn at(folder: Arc<TempDir>, istiod: Istiod) -> Self {
        Self::made(folder, Arc::new(istiod), None, Vec::new(), LONG)
    }

    /// With another source than an istiod.
    pub(crate) fn made_of(source: Arc<dyn Source>) -> Self {
        Self::made(Arc::new(tempfile::tempdir().unwrap()), source, None, Vec::new(), LONG)
    }

    /// And whoever connects as this process' user is Envoy, not the program of another.
    pub(crate) fn of_envoys(source: Arc<dyn Source>) -> Self {
        let own = std::fs::metadata("/proc/self").unwrap().uid();
        Self::made(Arc::new(tempfile::tempdir().unwrap()), source, None, vec![own], LONG)
    }

    /// And with somebody who fetches modules.
    pub(crate) fn with_modules(source: Arc<dyn Source>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut options = hawser_wasm::Options::new(folder.path().join("wasm"));
        options.attempts = 1;
        Self::made(folder, source, Some(Modules::new(options)), Vec::new(), LONG)
    }

    fn made(
        folder: Arc<TempDir>,
        source: Arc<dyn Source>,
        modules: Option<Modules>,
        envoy: Vec<u32>,
        stale_after: Duration,
    ) -> Self {
        let path = folder.path().join("xds.sock");
        let listener = hawser_rt::uds::bind(&path, 0o660).unwrap();
        let (seen, stop) = (Seen::default(), CancellationToken::new());
        let (health, node) = (watch::Sender::new(None), watch::Sender::new(Arc::new(node())));
        let options = Options {
            peers: Peers::default(),
            envoy,
            stale_after,
            fit: Fit::Auto,
            spiffe: "spiffe://mesh/ns/vms/sa/vm".to_owned(),
        };
        let metrics = Registry::default();
        let shelf = Shelf::open(hawser_lastgood::Options {
            directory: folder.path().join("kept"),
            limit: 1 << 30,
            versions: 3,
            versions_bytes: 1 << 20,
            clock: Clock::default(),
            metrics: metrics.clone(),
        });
        let parts = Parts {
            source,
            shelf: shelf.clone(),
            modules,
            health: health.subscribe(),
            node: node.subscribe(),
            metrics: metrics.clone(),
        };
        let serving = serve(listener, options, parts, seen.clone(), stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            serving.await.unwrap();
            shelf.closed().await;
        });
        Self { seen, health, node, metrics, path, stop, tasks, folder }
    }

    /// Stops, and starts again with what was kept.
    pub(crate) async fn restarted(self, istiod: Istiod) -> Self {
        let folder = Arc::clone(&self.folder);
        self.stop().await;
        Self::at(folder, istiod)
    }

    /// Stops, and starts again with what was kept, and with no patience at all.
    pub(crate) async fn restarted_hasty(self, source: Arc<dyn Source>) -> Self {
        let folder = Arc::clone(&self.folder);
        self.stop().await;
        Self::made(folder, source, None, Vec::new(), Duration::ZERO)
    }

    /// Tells the relay to stop; done when it has.
    pub(crate) fn stop(mut self) -> impl Future<Output = ()> {
        self.stop.cancel();
        async move {
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap();
            }
        }
    }

    /// Opens a stream as Envoy does.
    pub(crate) async fn envoy(&self, flavour: Flavour) -> Envoy {
        self.opens(flavour).await.unwrap()
    }

    /// Opens a stream, or is refused.
    pub(crate) async fn opens(&self, flavour: Flavour) -> Result<Envoy, Status> {
        let path = self.path.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = tonic::transport::Endpoint::from_static("http://xds-grpc");
        let channel = endpoint.connect_with_connector(connect).await.unwrap();
        let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
        client.ready().await.unwrap();
        let (requests, outgoing) = mpsc::channel(1);
        let outgoing = tonic::Request::new(ReceiverStream::new(outgoing));
        let path = PathAndQuery::from_static(flavour.path());
        let responses = client.streaming(outgoing, path, Raw).await?.into_inner();
        Ok(Envoy { flavour, requests, responses })
    }
}

/// Envoy's end of a stream.
pub(crate) struct Envoy {
    flavour: Flavour,
    requests: mpsc::Sender<Bytes>,
    pub(crate) responses: Streaming<Bytes>,
}

impl Envoy {
    pub(crate) async fn send(&self, message: &Bytes) {
        self.requests.send(message.clone()).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Bytes {
        self.responses.message().await.unwrap().expect("a response")
    }
}

impl Envoy {
    pub(crate) async fn ask(&self, ask: &Ask) {
        self.send(&ask.bytes(self.flavour)).await;
    }

    pub(crate) async fn told(&mut self) -> Tell {
        Tell::read(self.flavour, &self.receive().await).expect("a response")
    }

    /// The next response, which is taken.
    pub(crate) async fn takes(&mut self) -> Tell {
        let told = self.told().await;
        self.ask(&ask(&told.type_url, &[]).of(&told.version).about(&told.nonce)).await;
        told
    }
}

impl Accepted {
    pub(crate) async fn asked(&mut self) -> Ask {
        Ask::read(self.flavour, &self.requests.message().await.unwrap().unwrap())
    }

    /// The other end has gone.
    pub(crate) async fn over(&mut self) {
        assert!(matches!(self.requests.message().await, Ok(None) | Err(_)));
    }

    pub(crate) async fn tell(&self, tell: &Tell) {
        self.responses.send(Ok(tell.bytes(self.flavour))).await.unwrap();
    }
}

/// How a stream ends: with a status, or as it should.
pub(crate) async fn end(responses: &mut Streaming<Bytes>) -> Option<Status> {
    match responses.message().await {
        Ok(None) => None,
        Ok(Some(_)) => panic!("a response where the end was expected"),
        Err(status) => Some(status),
    }
}

/// Waits until things stand so.
pub(crate) async fn until(seen: &Seen, reached: impl Fn(&Standing) -> bool) {
    seen.watch().wait_for(|standing| reached(standing)).await.unwrap();
}

/// No test takes so long.
const LONG: Duration = Duration::from_secs(600);

/// The machine.
pub(crate) fn node() -> Node {
    let metadata = serde_json::json!({"INSTANCE_IPS": "10.0.0.1"});
    Node {
        id: "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local".to_owned(),
        cluster: "vm.vms".to_owned(),
        locality: hawser_node::Locality::default(),
        ips: Vec::new(),
        metadata: metadata.as_object().unwrap().clone(),
    }
}
