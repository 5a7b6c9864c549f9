//! A connection to a resolver that is asked over TLS (RFC 7858).
//!
//! One per resolver and worker, opened when there is a question and closed when there was none for
//! a while. Questions are sent as they come and replies taken in any order, told apart by
//! identifiers of the line's own. A line that breaks fails those who wait; a question that was put
//! to an old one is put once more, since the other end may just have hung up.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::debug;

use super::resolvers::Upstream;
use super::{Identifiers, Relay};
use crate::counts::Counts;
use crate::message::{HEADER, set_number};
use crate::reply::{self, Heard};

/// Time without a question after which a line is closed.
const IDLE: Duration = Duration::from_secs(20);
/// Questions that wait to be sent.
const QUEUE: usize = 64;
/// Questions that wait for a reply.
const PIPELINE: usize = 512;
/// Octets read at a time.
const READ: usize = 16 * 1024;

/// The lines of one worker.
pub(super) type Lines = HashMap<Upstream, mpsc::Sender<Ask>>;

type Said = io::Result<(Heard, Vec<u8>)>;

/// A question for a line.
#[derive(Debug)]
pub(super) struct Ask {
    query: Vec<u8>,
    question_end: usize,
    tell: oneshot::Sender<Said>,
}

/// Asks over the line to this resolver.
pub(super) async fn ask(
    relay: Arc<Relay>,
    upstream: Upstream,
    query: Vec<u8>,
    question_end: usize,
) -> Said {
    loop {
        let (line, fresh) = find(&relay, &upstream)?;
        let (tell, told) = oneshot::channel();
        let sent = line.send(Ask { query: query.clone(), question_end, tell }).await.is_ok();
        match told.await {
            Ok(said) if sent => return said,
            _ if !fresh => {}
            _ => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        drop_dead(&relay, &upstream, &line);
    }
}

/// The line, and whether it is a new one.
fn find(relay: &Relay, upstream: &Upstream) -> io::Result<(mpsc::Sender<Ask>, bool)> {
    let mut lines = relay.lines.lock();
    if let Some(line) = lines.get(upstream).filter(|line| !line.is_closed()) {
        return Ok((line.clone(), false));
    }
    let config = relay.options.tls.clone();
    let config = config.ok_or_else(|| io::Error::other("there are no roots to trust for tls"))?;
    let name = upstream.tls.clone().unwrap_or_default();
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let (line, asks) = mpsc::channel(QUEUE);
    lines.retain(|_, line| !line.is_closed());
    lines.insert(upstream.clone(), line.clone());
    let (counts, patience) = (Arc::clone(&relay.counts), relay.options.timeout);
    relay.go_on(serve(upstream.clone(), config, name, asks, (counts, patience)));
    Ok((line, true))
}

/// Forgets a line that has ended, so that the next one is new.
fn drop_dead(relay: &Relay, upstream: &Upstream, line: &mpsc::Sender<Ask>) {
    let mut lines = relay.lines.lock();
    if lines.get(upstream).is_some_and(|known| known.same_channel(line)) {
        lines.remove(upstream);
    }
}

async fn serve(
    upstream: Upstream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    mut asks: mpsc::Receiver<Ask>,
    (counts, patience): (Arc<Counts>, Duration),
) {
    let open = async {
        let stream = TcpStream::connect(upstream.address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config).connect(name, stream).await
    };
    let opened = timeout(patience, open).await;
    let error = match opened.unwrap_or_else(|late| Err(late.into())) {
        Ok(stream) => {
            let mut line = Line {
                stream,
                counts,
                identifiers: Identifiers::default(),
                pending: HashMap::new(),
                incoming: Vec::new(),
            };
            let ended = line.run(&mut asks, patience).await;
            debug!(peer = %upstream, error = ?ended, "line closed");
            return;
        }
        Err(error) => error,
    };
    asks.close();
    while let Some(ask) = asks.recv().await {
        let error = io::Error::new(error.kind(), error.to_string());
        drop(ask.tell.send(Err(error)));
    }
}

struct Line {
    stream: TlsStream<TcpStream>,
    counts: Arc<Counts>,
    identifiers: Identifiers,
    pending: HashMap<u16, Ask>,
    /// Octets that came and are not yet a whole reply.
    incoming: Vec<u8>,
}

impl Line {
    /// Carries questions and replies until nobody has asked for a while, or the line breaks.
    async fn run(&mut self, asks: &mut mpsc::Receiver<Ask>, patience: Duration) -> io::Result<()> {
        let mut heard = Instant::now();
        loop {
            let until = heard + if self.pending.is_empty() { IDLE } else { patience };
            self.incoming.reserve(READ);
            // Each branch may be dropped: nothing was taken then.
            tokio::select! {
                ask = asks.recv(), if self.pending.len() < PIPELINE => {
                    let Some(ask) = ask else { return Ok(()) };
                    if self.pending.is_empty() {
                        heard = Instant::now();
                    }
                    let mut frames = Vec::new();
                    self.put(ask, &mut frames);
                    while self.pending.len() < PIPELINE && let Ok(ask) = asks.try_recv() {
                        self.put(ask, &mut frames);
                    }
                    timeout(patience, self.stream.write_all(&frames)).await??;
                    timeout(patience, self.stream.flush()).await??;
                }
                read = self.stream.read_buf(&mut self.incoming) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    heard = Instant::now();
                    self.take_replies();
                }
                () = sleep_until(until) => {
                    if self.pending.is_empty() {
                        self.stream.shutdown().await?;
                        return Ok(());
                    }
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }

    /// Appends a question to what is to be sent.
    fn put(&mut self, mut ask: Ask, frames: &mut Vec<u8>) {
        // Those who have left make room.
        self.pending.retain(|_, ask| !ask.tell.is_closed());
        let mut id = self.identifiers.next();
        while self.pending.contains_key(&id) {
            id = self.identifiers.next();
        }
        set_number(&mut ask.query, 0, id);
        let Ok(len) = u16::try_from(ask.query.len()) else { return };
        frames.extend_from_slice(&len.to_be_bytes());
        frames.extend_from_slice(&ask.query);
        self.pending.insert(id, ask);
    }

    fn take_replies(&mut self) {
        let mut rest = self.incoming.as_slice();
        while let Some((len, after)) = rest.split_first_chunk::<2>()
            && let Some((reply, after)) =
                after.split_at_checked(usize::from(u16::from_be_bytes(*len)))
        {
            rest = after;
            let id = reply.first_chunk().map(|id| u16::from_be_bytes(*id));
            let ask = id.and_then(|id| self.pending.remove(&id));
            let heard = ask.as_ref().zip(id).and_then(|(ask, id)| {
                reply::check(reply, id, ask.query.get(HEADER..ask.question_end)?)
            });
            match (ask, heard) {
                (Some(ask), Some(heard)) => drop(ask.tell.send(Ok((heard, reply.to_vec())))),
                (other, _) => {
                    self.counts.strange_replies.add();
                    if let Some((ask, id)) = other.zip(id) {
                        self.pending.insert(id, ask);
                    }
                }
            }
        }
        let taken = self.incoming.len() - rest.len();
        self.incoming.drain(..taken);
    }
}
