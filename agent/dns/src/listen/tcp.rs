//! Queries by stream (RFC 7766).
//!
//! Several may be under way on a connection, and answers leave as they come. What a client may
//! take up is bounded: connections, queries on one of them, queries under way, the time between
//! two whole queries (so that a dribble of octets does not count), and the time to take an answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hawser_rt::{Chain, Throttle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Proxy;
use crate::answer::{self, Action, Transport};

/// Connections of one listener; more wait in the kernel.
const CONNECTIONS: usize = 64;
/// Queries under way on one connection; more wait in the stream.
const PIPELINE: usize = 16;
/// Queries of one connection.
const QUERIES: usize = 128;
/// Time for the first query.
const FIRST: Duration = Duration::from_secs(2);
/// Time for each further one.
const IDLE: Duration = Duration::from_secs(8);
/// Time for an answer to be taken.
const WRITE: Duration = Duration::from_secs(2);
/// What stops a connection from being accepted (no file descriptors left) is not gone at once.
const PAUSE: Duration = Duration::from_millis(100);

static UNACCEPTABLE: Throttle = Throttle::new(Duration::from_secs(60));

/// Accepts until told to stop, then lets every connection finish what it was asked.
pub(crate) async fn serve(listener: TcpListener, proxy: Arc<Proxy>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (proxy, stop) = (Arc::clone(&proxy), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = Conversation::new(stream).run(&proxy, &stop).await {
                        debug!(%peer, error = %Chain(&error), "connection ended early");
                    }
                });
            }
            Err(error) => {
                if let Some(suppressed) = UNACCEPTABLE.allow() {
                    warn!(error = %Chain(&error), suppressed, "cannot accept connections");
                }
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection.
struct Conversation {
    stream: TcpStream,
    /// Octets that came and are not yet a whole query.
    incoming: Vec<u8>,
    out: Vec<u8>,
    frame: Vec<u8>,
    dice: fastrand::Rng,
    relayed: JoinSet<Vec<u8>>,
    queries: usize,
    /// Whether more queries are taken.
    open: bool,
    /// When the next query has to be there.
    deadline: Instant,
}

impl Conversation {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            incoming: Vec::new(),
            out: Vec::new(),
            frame: Vec::new(),
            dice: fastrand::Rng::new(),
            relayed: JoinSet::new(),
            queries: 0,
            open: true,
            deadline: Instant::now() + FIRST,
        }
    }

    async fn run(mut self, proxy: &Proxy, stop: &CancellationToken) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        loop {
            self.take_queries(proxy).await?;
            if !self.open && self.relayed.is_empty() {
                return Ok(());
            }
            let listening = self.open && self.relayed.len() < PIPELINE;
            // Each branch may be dropped: `read_buf` has then read nothing, `join_next` taken nothing.
            tokio::select! {
                Some(reply) = self.relayed.join_next() => {
                    // A task that was not cancelled gives its reply; panics end the process.
                    self.send(&reply.map_err(io::Error::other)?).await?;
                }
                read = self.stream.read_buf(&mut self.incoming), if listening => {
                    self.open = read? > 0;
                }
                () = sleep_until(self.deadline), if listening => self.open = false,
                () = stop.cancelled(), if self.open => self.open = false,
            }
        }
    }

    /// Answers every query that has come whole, or gives it to the relay, as long as there is room
    /// for another one.
    async fn take_queries(&mut self, proxy: &Proxy) -> io::Result<()> {
        let incoming = std::mem::take(&mut self.incoming);
        let mut rest = incoming.as_slice();
        while self.open && self.relayed.len() < PIPELINE {
            let Some((packet, after)) = split_frame(rest) else { break };
            rest = after;
            self.deadline = Instant::now() + IDLE;
            self.queries += 1;
            self.open = self.queries < QUERIES;
            self.query(packet, proxy).await?;
        }
        let taken = incoming.len() - rest.len();
        self.incoming = incoming;
        self.incoming.drain(..taken);
        Ok(())
    }

    async fn query(&mut self, packet: &[u8], proxy: &Proxy) -> io::Result<()> {
        match proxy.answer(packet, Transport::Tcp, &mut self.dice, &mut self.out) {
            Action::Answer | Action::Refuse => {}
            Action::Drop => return Ok(()),
            Action::Relay(errand) => match proxy.relay.take(packet, errand, Transport::Tcp) {
                Some(reply) => {
                    self.relayed.spawn(reply);
                    return Ok(());
                }
                None => answer::fail(packet, &errand, &mut self.out),
            },
        }
        let out = std::mem::take(&mut self.out);
        self.send(&out).await?;
        self.out = out;
        Ok(())
    }

    async fn send(&mut self, answer: &[u8]) -> io::Result<()> {
        let len = u16::try_from(answer.len()).map_err(io::Error::other)?;
        self.frame.clear();
        self.frame.extend_from_slice(&len.to_be_bytes());
        self.frame.extend_from_slice(answer);
        timeout(WRITE, self.stream.write_all(&self.frame)).await??;
        self.deadline = Instant::now() + IDLE;
        Ok(())
    }
}

/// The first message of a stream, if it is there whole, and what follows it.
fn split_frame(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
