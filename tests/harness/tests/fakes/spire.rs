//! Another program's secrets, at a socket.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use hawser_harness::ca::{Certified, Shape, TestCa, spiffe_id};
use hawser_harness::spire::{FakeSpire, Manner};
use hawser_harness::wait::PATIENCE;
use hawser_proto::envoy::envoy::config::core::v3::{DataSource, Node, data_source};
use hawser_proto::envoy::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use hawser_proto::envoy::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use hawser_proto::envoy::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use hawser_proto::type_url::SECRET;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};
use tower::service_fn;

const MOMENT: Duration = Duration::from_millis(200);

async fn dial(socket: &Path) -> Result<Channel> {
    let socket = socket.to_owned();
    let connect = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { anyhow::Ok(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    Ok(timeout(PATIENCE, endpoint.connect_with_connector(connect)).await??)
}

struct Client {
    asks: mpsc::Sender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
}

impl Client {
    /// Asks for these; returns with the beginning of the first answer.
    async fn open(spire: &FakeSpire, names: &[&str]) -> Result<Self, Status> {
        let channel = dial(spire.socket()).await.unwrap();
        let (asks, requests) = mpsc::channel(16);
        asks.send(request(names)).await.unwrap();
        let mut client = SecretDiscoveryServiceClient::new(channel);
        let answers = client.stream_secrets(ReceiverStream::new(requests)).await?.into_inner();
        Ok(Self { asks, answers })
    }

    async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        let next = timeout(PATIENCE, self.answers.message()).await.expect("an answer in time");
        next?.ok_or_else(|| Status::ok("end"))
    }

    async fn ack(&self, response: &DiscoveryResponse, names: &[&str]) {
        let ask = DiscoveryRequest {
            node: None,
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            ..request(names)
        };
        self.asks.send(ask).await.unwrap();
    }
}

fn request(names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: Some(Node { id: "vm".to_owned(), ..Node::default() }),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        type_url: SECRET.to_owned(),
        ..DiscoveryRequest::default()
    }
}

/// The names and texts of a response.
fn read(response: &DiscoveryResponse) -> Vec<(String, Vec<String>)> {
    let text = |source: Option<DataSource>| match source.unwrap().specifier {
        Some(data_source::Specifier::InlineBytes(bytes)) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    };
    let secrets = response.resources.iter().map(|any| {
        let secret = Secret::decode(any.value.as_slice()).unwrap();
        let texts = match secret.r#type.unwrap() {
            secret::Type::TlsCertificate(pair) => {
                vec![text(pair.certificate_chain), text(pair.private_key)]
            }
            secret::Type::ValidationContext(roots) => vec![text(roots.trusted_ca)],
            other => panic!("{other:?}"),
        };
        (secret.name, texts)
    });
    secrets.collect()
}

struct Rig {
    _dir: tempfile::TempDir,
    spire: FakeSpire,
    ca: TestCa,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spire = FakeSpire::start(&dir.path().join("run/spire/agent.sock")).unwrap();
        Self { _dir: dir, spire, ca: TestCa::new(Shape::SelfSigned).unwrap() }
    }

    fn pair(&self) -> Certified {
        self.ca.workload(&spiffe_id("vms", "web"), Duration::from_secs(3600)).unwrap()
    }
}

#[tokio::test]
async fn a_set_comes_at_once_and_a_new_one_is_pushed() {
    let rig = Rig::new();
    let (first, roots) = (rig.pair(), rig.ca.root_pem());
    rig.spire.give(&first, &roots);

    let names = ["default", "ROOTCA"];
    let mut client = Client::open(&rig.spire, &names).await.unwrap();
    let answer = client.next().await.unwrap();

    let set = |pair: &Certified| {
        let pair = vec![pair.chain.clone(), pair.key.clone()];
        vec![("default".to_owned(), pair), ("ROOTCA".to_owned(), vec![roots.clone()])]
    };
    assert_eq!(read(&answer), set(&first));
    client.ack(&answer, &names).await;
    rig.spire.until("an ACK", |seen| seen.acks() == 1).await.unwrap();
    let second = rig.pair();
    rig.spire.give(&second, &roots);
    assert_eq!(read(&client.next().await.unwrap()), set(&second));
    let seen = rig.spire.seen();
    assert_eq!((seen.connections, seen.open, seen.streams, seen.sent.len()), (1, 1, 1, 2));
    assert_eq!((seen.asked[0].node.as_deref(), seen.asked[1].node.as_deref()), (Some("vm"), None));
    assert!(seen.nacks().is_empty());
}

#[tokio::test]
async fn halves_come_in_messages_of_their_own() {
    let rig = Rig::new();
    let opening = Client::open(&rig.spire, &["default", "ROOTCA"]);
    let giving = async {
        rig.spire.until("the question", |seen| seen.asked.len() == 1).await.unwrap();
        assert!(rig.spire.seen().sent.is_empty());
        rig.spire.give_roots(&rig.ca.root_pem());
    };
    let (client, ()) = tokio::join!(opening, giving);
    let mut client = client.unwrap();
    let names = |response: &DiscoveryResponse| -> Vec<_> {
        read(response).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&client.next().await.unwrap()), ["ROOTCA"]);
    rig.spire.give_pair(&rig.pair());
    assert_eq!(names(&client.next().await.unwrap()), ["default"]);

    // Each half on a stream of its own, as Envoy asks for them.
    let mut alone = Client::open(&rig.spire, &["ROOTCA"]).await.unwrap();
    assert_eq!(names(&alone.next().await.unwrap()), ["ROOTCA"]);
    rig.spire.give_pair(&rig.pair());
    rig.spire.give_roots(&rig.ca.root_pem());
    assert_eq!(names(&alone.next().await.unwrap()), ["ROOTCA"]);
    assert_eq!(names(&client.next().await.unwrap()), ["default"]);
    assert_eq!(names(&client.next().await.unwrap()), ["ROOTCA"]);
}

#[tokio::test]
async fn who_asks_for_something_else_or_is_nobody_is_refused() {
    let rig = Rig::new();
    rig.spire.give(&rig.pair(), &rig.ca.root_pem());
    let status = Client::open(&rig.spire, &["file-root:system"]).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    rig.spire.manner(Manner::Unregistered);
    let status = Client::open(&rig.spire, &["default"]).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn silent_takes_connections_and_says_nothing_on_any() {
    let rig = Rig::new();
    rig.spire.give(&rig.pair(), &rig.ca.root_pem());
    let mut client = Client::open(&rig.spire, &["default"]).await.unwrap();
    client.next().await.unwrap();
    rig.spire.manner(Manner::Silent);

    rig.spire.give_pair(&rig.pair());
    assert!(timeout(MOMENT, client.answers.message()).await.is_err());
    let mut mute = UnixStream::connect(rig.spire.socket()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut mute, b"hello?").await.unwrap();
    assert!(timeout(MOMENT, tokio::io::AsyncReadExt::read_u8(&mut mute)).await.is_err());

    rig.spire.manner(Manner::Serves);
    client.next().await.unwrap();
}

#[tokio::test]
async fn it_dies_and_leaves_its_socket_returns_and_vanishes() {
    let rig = Rig::new();
    rig.spire.give(&rig.pair(), &rig.ca.root_pem());
    let mut client = Client::open(&rig.spire, &["default"]).await.unwrap();
    client.next().await.unwrap();

    rig.spire.die().await;
    client.next().await.unwrap_err();
    assert!(rig.spire.socket().exists());
    assert!(UnixStream::connect(rig.spire.socket()).await.is_err());
    assert_eq!(rig.spire.seen().open, 0);

    rig.spire.come_back().unwrap();
    let mut client = Client::open(&rig.spire, &["default"]).await.unwrap();
    client.next().await.unwrap();

    rig.spire.vanish().await.unwrap();
    assert!(!rig.spire.socket().exists());
    client.next().await.unwrap_err();
    rig.spire.come_back().unwrap();
    Client::open(&rig.spire, &["default"]).await.unwrap().next().await.unwrap();

    rig.spire.forget();
    let opened = timeout(MOMENT, Client::open(&rig.spire, &["default"])).await;
    assert!(opened.is_err(), "nothing is there any more");
}
