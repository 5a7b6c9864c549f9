//! An xDS client as tests want one: it says what it is told to, reads as slowly as it is told to,
//! and tells what it has been given.
//!
//! It judges as Envoy does where that matters to whoever sends: a resource that cannot be decoded,
//! has no name or comes twice makes it refuse the response, a message that cannot be decoded makes
//! it leave. What it refuses it does not keep, not even in part.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use hawser_proto::envoy::envoy::config::core::v3::Node;
use hawser_proto::envoy::google::protobuf::{ListValue, Struct, Value as Pb, value::Kind};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::Code;

use self::stream::{Command, Stream};
use crate::wait::until;

pub use self::message::Ask;
pub use self::program::{Program, Report};
pub use crate::istiod::Flavour;

mod message;
mod program;
mod stream;
#[cfg(test)]
mod tests;

/// Where it connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket.
    Unix(PathBuf),
    /// A plaintext port.
    Tcp(SocketAddr),
}

/// How it answers responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Takes what is good and refuses what is not.
    Judge,
    /// Refuses all with this text.
    Nack(String),
    /// Keeps what is good, and says nothing.
    Nothing,
}

/// How slowly it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After so many bytes.
    pub bytes: usize,
    /// It rests for so long.
    pub pause: Duration,
}

/// What kind of client it is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The form of the protocol that it speaks.
    pub flavour: Flavour,
    /// Who it is; sent with the first request.
    pub node: Node,
    /// How much may be on its way to it.
    pub window: u32,
    /// Whether it keeps resources. If not, it decodes nothing and takes everything.
    pub keeps: bool,
}

impl Options {
    /// A sidecar's Envoy of the machine that joins the harness's mesh.
    #[must_use]
    pub fn envoy(flavour: Flavour) -> Self {
        Self { flavour, node: node(&json!({})), window: 1 << 20, keeps: true }
    }

    /// A program with gRPC of its own that reads xDS: its node says so, and it speaks SotW.
    #[must_use]
    pub fn grpc() -> Self {
        let mut node = node(&json!({ "GENERATOR": "grpc" }));
        node.user_agent_name = "gRPC Go".to_owned();
        node.client_features = vec!["envoy.lb.does_not_support_overprovisioning".to_owned()];
        Self { flavour: Flavour::SotW, node, window: 1 << 16, keeps: true }
    }
}

/// What it has been given so far.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// By type.
    pub types: BTreeMap<String, Kept>,
    /// The types of all responses, in their order.
    pub order: Vec<String>,
    /// How many bytes of messages have come.
    pub bytes: u64,
    /// Set when its stream is over: code and text.
    pub ended: Option<(Code, String)>,
}

/// What it has of one type.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Version and value by name.
    pub resources: BTreeMap<String, (String, Bytes)>,
    /// Version of the last response that it took.
    pub version: String,
    /// Nonce of the last response.
    pub nonce: String,
    /// How many responses have come.
    pub responses: usize,
    /// How many of them it has refused, and why it refused the last of those.
    pub refused: usize,
    /// The last refusal.
    pub refusal: String,
    /// How many bytes long the last one was.
    pub bytes: usize,
    /// Names in the last one.
    pub given: Vec<String>,
    /// Names that the last one removed.
    pub removed: Vec<String>,
}

impl Held {
    /// The names that it has of a type.
    #[must_use]
    pub fn names(&self, type_url: &str) -> Vec<&str> {
        let kept = self.types.get(type_url).into_iter();
        kept.flat_map(|kept| kept.resources.keys()).map(String::as_str).collect()
    }

    /// How many responses of a type have come.
    #[must_use]
    pub fn responses(&self, type_url: &str) -> usize {
        self.types.get(type_url).map_or(0, |kept| kept.responses)
    }

    /// What a client says that it has when it opens the next stream: name and version.
    #[must_use]
    pub fn versions(&self, type_url: &str) -> BTreeMap<String, String> {
        let kept = self.types.get(type_url).into_iter().flat_map(|kept| &kept.resources);
        kept.map(|(name, (version, _))| (name.clone(), version.clone())).collect()
    }
}

/// A client with one stream on one connection; both end when it is dropped.
pub struct XdsClient {
    commands: mpsc::UnboundedSender<Command>,
    held: watch::Receiver<Held>,
    _task: JoinSet<()>,
}

impl XdsClient {
    /// Connects and opens a stream.
    ///
    /// # Errors
    /// When nobody is there. A refusal shows in [`Held::ended`].
    pub async fn connect(place: &Place, options: Options) -> Result<Self> {
        match place {
            Place::Unix(path) => {
                let socket = UnixStream::connect(path).await;
                Self::on(socket.with_context(|| format!("connect to {}", path.display()))?, options)
                    .await
            }
            Place::Tcp(addr) => {
                let socket = TcpStream::connect(addr).await;
                let socket = socket.with_context(|| format!("connect to {addr}"))?;
                socket.set_nodelay(true).context("no delay")?;
                Self::on(socket, options).await
            }
        }
    }

    /// Connects to a Unix socket as an Envoy.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn envoy(socket: &Path, flavour: Flavour) -> Result<Self> {
        Self::connect(&Place::Unix(socket.to_owned()), Options::envoy(flavour)).await
    }

    /// Connects to a Unix socket as a program with gRPC.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn grpc(socket: &Path) -> Result<Self> {
        Self::connect(&Place::Unix(socket.to_owned()), Options::grpc()).await
    }

    async fn on<S>(socket: S, options: Options) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        #[expect(clippy::disallowed_methods, reason = "as many as a test gives")]
        let (commands, told) = mpsc::unbounded_channel();
        let (sender, held) = watch::channel(Held::default());
        let mut task = JoinSet::new();
        let stream = Stream::open(socket, options, told, sender, &mut task).await?;
        task.spawn(stream.run());
        Ok(Self { commands, held, _task: task })
    }

    /// Asks for names of a type; in SotW these are all that are wanted from now on.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn subscribe(&self, type_url: &str, names: &[&str]) -> Result<()> {
        self.ask(Ask {
            type_url: type_url.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Ask::default()
        })
    }

    /// Says in delta that names are not wanted any more.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn unsubscribe(&self, type_url: &str, names: &[&str]) -> Result<()> {
        self.ask(Ask {
            type_url: type_url.to_owned(),
            unsubscribed: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Ask::default()
        })
    }

    /// Asks anew after a stream that is over, with what was held then.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn resubscribe(&self, type_url: &str, names: &[&str], held: &Held) -> Result<()> {
        let kept = held.types.get(type_url);
        self.ask(Ask {
            type_url: type_url.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            initial: held.versions(type_url),
            version: kept.map(|kept| kept.version.clone()).unwrap_or_default(),
            ..Ask::default()
        })
    }

    /// Sends any request; the node comes with the first one by itself.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn ask(&self, ask: Ask) -> Result<()> {
        self.tell(Command::Ask(ask))
    }

    /// How responses of a type are answered from now on.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn answers(&self, type_url: &str, answer: Answer) -> Result<()> {
        self.tell(Command::Answer(type_url.to_owned(), answer))
    }

    /// How slowly it reads from now on; `None` is as fast as it can.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn pace(&self, pace: Option<Pace>) -> Result<()> {
        self.tell(Command::Pace(pace))
    }

    /// Says that it will ask for nothing more.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn half_close(&self) -> Result<()> {
        self.tell(Command::HalfClose)
    }

    /// What it has been given so far.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held.borrow().clone()
    }

    /// Waits until it has been given something.
    ///
    /// # Errors
    /// After [`crate::wait::PATIENCE`].
    pub async fn until(&self, what: &str, done: impl FnMut(&Held) -> bool) -> Result<Held> {
        let mut held = self.held.clone();
        until(what, &mut held, done).await.with_context(|| format!("{:?}", self.held().ended))
    }

    fn tell(&self, command: Command) -> Result<()> {
        let ended = |_over| anyhow!("the stream is over: {:?}", self.held().ended);
        self.commands.send(command).map_err(ended)
    }
}

impl fmt::Debug for XdsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XdsClient").finish_non_exhaustive()
    }
}

/// The node of a sidecar on the machine that joins the harness's mesh; `metadata` comes on top and
/// wins.
#[must_use]
pub fn node(metadata: &Value) -> Node {
    let mut all = json!({
        "NAMESPACE": "vms", "SERVICE_ACCOUNT": "web", "INSTANCE_IPS": "10.0.0.9", "NAME": "vm-1",
        "CLUSTER_ID": "Kubernetes", "DNS_CAPTURE": "true", "ENVOY_STATUS_PORT": 15021,
    });
    if let (Some(all), Some(more)) = (all.as_object_mut(), metadata.as_object()) {
        all.extend(more.clone());
    }
    let Kind::StructValue(metadata) = to_pb(&all) else { return Node::default() };
    Node {
        id: "sidecar~10.0.0.9~vm-1.vms~vms.svc.cluster.local".to_owned(),
        cluster: "web.vms".to_owned(),
        metadata: Some(metadata),
        ..Node::default()
    }
}

fn to_pb(json: &Value) -> Kind {
    let value = |json| Pb { kind: Some(to_pb(json)) };
    match json {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => {
            Kind::ListValue(ListValue { values: list.iter().map(value).collect() })
        }
        Value::Object(map) => Kind::StructValue(Struct {
            fields: map.iter().map(|(key, one)| (key.clone(), value(one))).collect(),
        }),
    }
}
