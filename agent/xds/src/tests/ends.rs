//! Both ends of the relay: Envoy's, and istiod's.

use std::{
    fs::File, io::Write, net::SocketAddr, path::PathBuf, sync::Arc, task::Poll, time::Duration,
};

use bytes::Bytes;
use hawser_istiod::{
    Credentials, Endpoint, Hosts, Istiod, Roots,
    credential::{self, TokenSource},
};
use hawser_node::Node;
use hawser_pki::Bundle;
use hawser_proto::istio::nds::NameTable;
use hawser_rt::Clock;
use hawser_wire::Flavour;
use hyper_util::rt::TokioIo;
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

use crate::{
    Options, Own, Seen, Standing, codec::Raw, downstream::Downstream, follow, relay::Accepted,
    serve,
};

/// An istiod whose streams are handed to the test. It speaks as the relay does downstream, so
/// that is what it is made of.
pub(crate) struct FakeIstiod {
    address: SocketAddr,
    streams: mpsc::Receiver<Accepted>,
    tasks: JoinSet<()>,
}

impl FakeIstiod {
    pub(crate) async fn start() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, behind) = (front.local_addr().unwrap(), server.local_addr().unwrap());
        let (accepted, streams) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let builder = Server::builder().add_service(Downstream::new(accepted));
            builder.serve_with_incoming(TcpListenerStream::new(server)).await.unwrap();
        });
        // The cable that can be cut.
        tasks.spawn(async move {
            let mut cables = JoinSet::new();
            while let Ok((mut near, _)) = front.accept().await {
                let mut far = TcpStream::connect(behind).await.unwrap();
                cables.spawn(async move { copy_bidirectional(&mut near, &mut far).await });
            }
        });
        Self { address, streams, tasks }
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

    /// Breaks every connection without a word, as a power cut does.
    pub(crate) fn cut(&mut self) {
        self.tasks.abort_all();
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
            endpoint: Endpoint { tls: false, ..self.address.to_string().parse().unwrap() },
            roots: Roots::System,
            learned: false,
            hosts: Hosts::default(),
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(5),
        };
        Istiod::new(options, credentials, watch::channel(None).1, Clock::default()).unwrap()
    }

    /// Follows names, and roots if they are wanted.
    pub(crate) fn follow(&self, seen: Seen, with_trust: bool) -> Follower {
        Follower::start(self.istiod(), seen, with_trust)
    }
}

/// Two tokens to show.
pub(crate) struct Tokens {
    pub(crate) files: [PathBuf; 2],
    _folder: tempfile::TempDir,
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

/// The agent's own stream, for as long as this lives.
pub(crate) struct Follower {
    pub(crate) names: watch::Receiver<Option<Arc<NameTable>>>,
    pub(crate) trust: watch::Receiver<Option<Arc<Bundle>>>,
    pub(crate) tasks: JoinSet<()>,
}

impl Follower {
    pub(crate) fn start(istiod: Istiod, seen: Seen, with_trust: bool) -> Self {
        let node = Node {
            id: "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local".to_owned(),
            cluster: "vm.vms".to_owned(),
            locality: hawser_node::Locality::default(),
            ips: Vec::new(),
            metadata: serde_json::Map::new(),
        };
        let ((publish, names), (tell, trust)) = (watch::channel(None), watch::channel(None));
        let own = Own { names: publish, trust: with_trust.then_some(tell) };
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(async move { follow(node, istiod, own, seen, stop).await.unwrap() });
        Self { names, trust, tasks }
    }
}

/// The relay under test.
pub(crate) struct Agent {
    pub(crate) seen: Seen,
    path: PathBuf,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start(istiod: &FakeIstiod) -> Self {
        Self::with(istiod.istiod())
    }

    pub(crate) fn with(istiod: Istiod) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("xds.sock");
        let listener = hawser_rt::uds::bind(&path, 0o660).unwrap();
        let (seen, stop) = (Seen::default(), CancellationToken::new());
        let serving = serve(listener, Options::default(), istiod, seen.clone(), stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serving.await.unwrap() });
        Self { seen, path, stop, tasks, _folder: folder }
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
        let responses = client.streaming(outgoing, path, Raw).await.unwrap().into_inner();
        Envoy { requests, responses }
    }
}

/// Envoy's end of a stream.
pub(crate) struct Envoy {
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

/// Whether no task has ended.
pub(crate) async fn goes_on(tasks: &mut JoinSet<()>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(tasks.poll_join_next(cx).is_pending())).await
}
