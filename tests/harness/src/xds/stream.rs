//! The stream of a client, and the messages on it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;

use anyhow::{Context as _, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

use super::message::{Ask, Response};
use super::{Answer, Held, Kept, Options, Pace};
use crate::istiod::Flavour;

const SERVICE: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService";
const PREFIX: usize = 5;

/// Enough for the fields behind the resources.
const TAIL: usize = 512;

#[derive(Debug)]
pub(super) enum Command {
    Ask(Ask),
    Answer(String, Answer),
    Pace(Option<Pace>),
    HalfClose,
}

pub(super) struct Stream {
    options: Options,
    told: mpsc::UnboundedReceiver<Command>,
    held: watch::Sender<Held>,
    requests: Option<mpsc::UnboundedSender<Bytes>>,
    connection: http2::SendRequest<Requests>,
    body: Option<mpsc::UnboundedReceiver<Bytes>>,
    answers: BTreeMap<String, Answer>,
    /// In SotW every request says all names that are wanted.
    wanted: BTreeMap<String, Vec<String>>,
    pace: Option<Pace>,
    unpaused: usize,
    introduced: bool,
    reading: Reading,
}

type Requests = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// A message as far as it has come.
#[derive(Debug, Default)]
struct Reading {
    buffer: BytesMut,
    /// How much of a message that is not kept is still to come, and how long it is.
    passing: Option<(usize, usize)>,
}

impl Stream {
    pub(super) async fn open<S>(
        socket: S,
        options: Options,
        told: mpsc::UnboundedReceiver<Command>,
        held: watch::Sender<Held>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(options.window);
        builder.initial_connection_window_size(options.window);
        let (connection, driver) =
            builder.handshake(TokioIo::new(socket)).await.context("begin HTTP/2")?;
        tasks.spawn(async move {
            // The stream tells how it ended.
            let _end = driver.await;
        });
        #[expect(clippy::disallowed_methods, reason = "as many as a test asks for")]
        let (requests, body) = mpsc::unbounded_channel();
        Ok(Self {
            options,
            told,
            held,
            requests: Some(requests),
            connection,
            body: Some(body),
            answers: BTreeMap::new(),
            wanted: BTreeMap::new(),
            pace: None,
            unpaused: 0,
            introduced: false,
            reading: Reading::default(),
        })
    }

    pub(super) async fn run(mut self) {
        let status = match self.converse().await {
            Ok(()) => Status::ok(""),
            Err(status) => status,
        };
        let ended = (status.code(), status.message().to_owned());
        self.held.send_modify(|held| held.ended = Some(ended));
    }

    async fn converse(&mut self) -> Result<(), Status> {
        let body = self.body.take().ok_or_else(|| Status::internal("opened before"))?;
        let frames = UnboundedReceiverStream::new(body);
        let frames = frames.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
        let method = match self.options.flavour {
            Flavour::SotW => "StreamAggregatedResources",
            Flavour::Delta => "DeltaAggregatedResources",
        };
        let uri = format!("http://xds-grpc{SERVICE}/{method}").parse::<Uri>();
        let request = Request::post(uri.unwrap_or_default())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(StreamBody::new(frames).boxed_unsync());
        let request = request.map_err(|error| Status::internal(error.to_string()))?;
        let mut sent = std::pin::pin!(self.connection.send_request(request));
        let response = loop {
            // Cancel safe: the request is polled in place, the channel loses nothing.
            let command = tokio::select! {
                response = sent.as_mut() => break response.map_err(lost)?,
                command = self.told.recv() => command,
            };
            self.obey(command)?;
        };
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err(status);
        }
        self.read(response.into_body()).await
    }

    async fn read(&mut self, mut body: Incoming) -> Result<(), Status> {
        loop {
            // Cancel safe: a frame is taken whole or not at all. What it was told comes
            // first: what it is sent because of that is answered as it was told.
            let frame = tokio::select! {
                biased;
                command = self.told.recv() => {
                    self.obey(command)?;
                    continue;
                }
                frame = body.frame() => frame,
            };
            let Some(frame) = frame else { return Err(lost("the stream ends without trailers")) };
            let frame = frame.map_err(lost)?;
            match frame.into_data() {
                Ok(bytes) => self.take(bytes).await?,
                Err(frame) => return ended(frame.trailers_ref()),
            }
        }
    }

    fn obey(&mut self, command: Option<Command>) -> Result<(), Status> {
        match command {
            None => return Err(Status::cancelled("dropped")),
            Some(Command::Ask(ask)) => self.send(&ask),
            Some(Command::Answer(type_url, answer)) => {
                self.answers.insert(type_url, answer);
            }
            Some(Command::Pace(pace)) => self.pace = pace,
            Some(Command::HalfClose) => self.requests = None,
        }
        Ok(())
    }

    fn send(&mut self, ask: &Ask) {
        if self.options.flavour == Flavour::SotW {
            self.wanted.insert(ask.type_url.clone(), ask.names.clone());
        }
        let node = (!self.introduced).then(|| self.options.node.clone());
        self.introduced = true;
        let message = ask.encode(self.options.flavour, node);
        let mut frame = BytesMut::with_capacity(message.len() + PREFIX);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        frame.extend_from_slice(&message);
        if let Some(requests) = &self.requests {
            // When it fails, the stream says itself why it is over.
            let _over = requests.send(frame.freeze());
        }
    }

    async fn take(&mut self, bytes: Bytes) -> Result<(), Status> {
        self.unpaused += bytes.len();
        self.held.send_if_modified(|held| {
            held.bytes += bytes.len() as u64;
            false
        });
        self.reading.take(bytes, self.options.keeps);
        while let Some(message) = self.reading.next(self.options.keeps)? {
            self.receive(message)?;
        }
        if let Some(pace) = self.pace
            && self.unpaused >= pace.bytes
        {
            self.unpaused = 0;
            sleep(pace.pause).await;
        }
        Ok(())
    }

    fn receive(&mut self, (message, length): (BytesMut, usize)) -> Result<(), Status> {
        let response = if self.options.keeps {
            let read = Response::decode(self.options.flavour, &message);
            read.map_err(|error| Status::internal(format!("{error:#}")))?
        } else {
            let read = Response::tail(&message);
            read.ok_or_else(|| Status::internal("a message without type and nonce at its end"))?
        };
        let answer = self.answers.get(&response.type_url).unwrap_or(&Answer::Judge).clone();
        let refusal = match &answer {
            Answer::Nack(text) => Some(text.clone()),
            _ => response.judge().err().map(|error| format!("{error:#}")),
        };
        let known = self.held.borrow().types.get(&response.type_url).map(|one| one.version.clone());
        let version = match &refusal {
            None => response.version.clone(),
            Some(_) => known.unwrap_or_default(),
        };
        if answer != Answer::Nothing {
            let names = self.wanted.get(&response.type_url).cloned().unwrap_or_default();
            self.send(&Ask {
                type_url: response.type_url.clone(),
                names,
                version,
                nonce: response.nonce.clone(),
                refusal: refusal.clone(),
                ..Ask::default()
            });
        }
        let flavour = self.options.flavour;
        self.held.send_modify(|held| {
            held.order.push(response.type_url.clone());
            let kept = held.types.entry(response.type_url.clone()).or_default();
            kept.receive(response, refusal, flavour, length);
        });
        Ok(())
    }
}

impl Kept {
    fn receive(
        &mut self,
        response: Response,
        refusal: Option<String>,
        flavour: Flavour,
        length: usize,
    ) {
        self.responses += 1;
        self.bytes = length;
        self.nonce = response.nonce;
        self.given = response.resources.iter().map(|(name, ..)| name.clone()).collect();
        self.removed.clone_from(&response.removed);
        if let Some(refusal) = refusal {
            self.refused += 1;
            self.refusal = refusal;
            return;
        }
        self.version = response.version;
        let whole = [hawser_proto::type_url::CLUSTER, hawser_proto::type_url::LISTENER];
        if flavour == Flavour::SotW && whole.contains(&response.type_url.as_str()) {
            self.resources.clear();
        }
        for name in &response.removed {
            self.resources.remove(name);
        }
        for (name, version, value) in response.resources {
            self.resources.insert(name, (version, value));
        }
    }
}

impl Reading {
    fn take(&mut self, bytes: Bytes, keeps: bool) {
        let mut bytes = bytes;
        if let (Some((left, _)), false) = (&mut self.passing, keeps) {
            // Nothing is kept of it but its end.
            let more = left.saturating_sub(TAIL).min(bytes.len());
            bytes.advance(more);
            *left -= more;
        }
        self.buffer.extend_from_slice(&bytes);
    }

    /// The next message, or its end, and its length.
    fn next(&mut self, keeps: bool) -> Result<Option<(BytesMut, usize)>, Status> {
        if self.passing.is_none() {
            let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX>() else {
                return Ok(None);
            };
            let [flag, a, b, c, d] = *prefix;
            if flag != 0 {
                return Err(Status::internal(format!("a message with flag {flag}")));
            }
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let here = rest.len();
            self.buffer.advance(PREFIX);
            self.passing = Some((length, length));
            if !keeps {
                let more = length.saturating_sub(TAIL).min(here);
                self.buffer.advance(more);
                self.passing = Some((length - more, length));
            }
        }
        match self.passing {
            Some((left, length)) if self.buffer.len() >= left => {
                self.passing = None;
                Ok(Some((self.buffer.split_to(left), length)))
            }
            _ => Ok(None),
        }
    }
}

fn ended(trailers: Option<&HeaderMap>) -> Result<(), Status> {
    let status = trailers.and_then(Status::from_header_map);
    match status {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(status),
        None => Err(Status::unknown("trailers without a status")),
    }
}

fn lost(error: impl Display) -> Status {
    Status::unavailable(error.to_string())
}
