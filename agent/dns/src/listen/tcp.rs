//! Queries by stream (RFC 7766).
//!
//! Several may be under way on a connection, and answers leave as they come. What a client may
//! take up is bounded: connections, queries on one of them, queries under way, the time between
//! two whole queries (so that a dribble of octets does not count), and the time to take an answer.

mod hall;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hawser_rt::{Chain, Throttle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::admit;
use crate::answer::{Action, MAX_QUERY, Transport};
use crate::relay::{Asker, Taken};
use crate::worker::Place;
use hall::{Hall, Seat};

/// Queries under way on one connection; more wait in the stream.
const PIPELINE: usize = 16;
/// Queries of one connection.
const QUERIES: usize = 128;
/// Time for the first query.
const FIRST: Duration = Duration::from_secs(2);
/// Time for each further one.
const IDLE: Duration = Duration::from_secs(5);
/// Time for an answer to be taken.
const WRITE: Duration = Duration::from_secs(2);
/// What stops a connection from being accepted (no file descriptors left) is not gone at once.
const PAUSE: Duration = Duration::from_millis(100);

static UNACCEPTABLE: Throttle = Throttle::new(Duration::from_secs(60));

/// Accepts until told to stop, then lets every connection finish what it was asked.
pub(crate) async fn serve(listener: TcpListener, place: Arc<Place>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut hall = Hall::default();
    let mut next: Option<(TcpStream, Asker)> = None;
    loop {
        let open = hall.is_open();
        if open && let Some((stream, from)) = next.take() {
            let (comes, refused) = hall.admit(from.address.ip(), from.near);
            place.counts.connections_refused.more(refused);
            if comes {
                let (place, stop) = (Arc::clone(&place), stop.clone());
                let seat = hall.seat(from.address.ip());
                place.counts.connections.add();
                let conversation = Conversation::new(stream, from, Arc::clone(&seat));
                let task = connections.spawn(async move {
                    if let Err(error) = conversation.run(&place, &stop).await {
                        let peer = from.address;
                        debug!(%peer, error = %Chain(&error), "connection ended early");
                    }
                });
                hall.take(task.id(), seat);
            }
            continue;
        }
        // Each branch may be dropped.
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next_with_id() => {
                hall.free(ended.map_or_else(|error| error.id(), |(id, ())| id));
                place.counts.connections.less();
                continue;
            }
            accepted = listener.accept(), if open => accepted,
            () = hall.idle(), if !open => continue,
        };
        match accepted {
            // Meanwhile those who could have left may have asked something: then it has to wait.
            // Closed at once: a place is not for those who may not ask.
            Ok((stream, peer)) => next = may_come(&stream, peer, &place).map(|from| (stream, from)),
            Err(error) => {
                if let Some(suppressed) = UNACCEPTABLE.allow() {
                    warn!(error = %Chain(&error), suppressed, "cannot accept connections");
                }
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {
        place.counts.connections.less();
    }
}

/// Who asks, if the connection is to be served at all.
fn may_come(stream: &TcpStream, address: SocketAddr, place: &Place) -> Option<Asker> {
    let asked = stream.local_addr().map(|local| local.ip());
    let near = asked.is_ok_and(|asked| admit::is_near(address, asked));
    if !near && !admit::admits(&place.allow, address) {
        place.counts.forbidden.add();
        return None;
    }
    Some(Asker { address, transport: Transport::Tcp, near })
}

/// One connection.
struct Conversation {
    stream: TcpStream,
    from: Asker,
    seat: Arc<Seat>,
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
    fn new(stream: TcpStream, from: Asker, seat: Arc<Seat>) -> Self {
        Self {
            stream,
            from,
            seat,
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

    async fn run(mut self, place: &Place, stop: &CancellationToken) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        loop {
            self.take_queries(place).await?;
            if !self.open && self.relayed.is_empty() {
                return Ok(());
            }
            let listening = self.open && self.relayed.len() < PIPELINE;
            let idle = self.relayed.is_empty();
            self.seat.is_busy(!idle);
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
                () = self.seat.leave(), if idle => return Ok(()),
                () = stop.cancelled(), if self.open => self.open = false,
            }
        }
    }

    /// Answers every query that has come whole, or gives it to the relay, as long as there is room
    /// for another one.
    async fn take_queries(&mut self, place: &Place) -> io::Result<()> {
        let incoming = std::mem::take(&mut self.incoming);
        let mut rest = incoming.as_slice();
        while self.open && self.relayed.len() < PIPELINE {
            // Nobody has so much to ask, and it would be held several times over while it waits.
            let length = rest.first_chunk::<2>().map_or(0, |length| u16::from_be_bytes(*length));
            if usize::from(length) > MAX_QUERY {
                self.open = false;
                break;
            }
            let Some((packet, after)) = split_frame(rest) else { break };
            rest = after;
            self.deadline = Instant::now() + IDLE;
            self.queries += 1;
            self.open = self.queries < QUERIES;
            self.query(packet, place).await?;
        }
        let taken = incoming.len() - rest.len();
        self.incoming = incoming;
        self.incoming.drain(..taken);
        Ok(())
    }

    async fn query(&mut self, packet: &[u8], place: &Place) -> io::Result<()> {
        let from = self.from;
        let action = {
            let sight = place.sight();
            place.answer(packet, &sight, from, &mut self.dice, &mut self.out)
        };
        match action {
            Action::Answer | Action::Refuse => {}
            Action::Drop => return Ok(()),
            Action::Relay(errand) => {
                if let Taken::Later(reply) = place.relay.take(packet, errand, from, &mut self.out) {
                    self.relayed.spawn(reply);
                    return Ok(());
                }
            }
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
        self.seat.stirs();
        self.deadline = Instant::now() + IDLE;
        Ok(())
    }
}

/// The first message of a stream, if it is there whole, and what follows it.
fn split_frame(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
