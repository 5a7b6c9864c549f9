//! Queries relayed as they are: the octets go out, the octets of the reply come back.
//!
//! Every query gets an identifier of its own, and every attempt a socket of its own, hence a port
//! that the kernel picks at random; the socket is connected, so the kernel lets nobody but the
//! resolver answer. A reply that is not one is passed over and the wait goes on: a stranger can
//! neither answer nor end it.
//!
//! The time that a client is made to wait is shared out among the resolvers, all of which are
//! asked twice if they stay silent: a dead resolver costs its share, a lost datagram half of it.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hawser_rt::{Chain, Throttle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::answer::{self, Errand, Transport};
use crate::counts::Counts;
use crate::message::{HEADER, set_number};
use crate::reply::{self, Heard};
use crate::resolv::{Resolvers, Server};

/// Queries that may wait for a reply. Each holds a socket, and a process may have 1024 files open
/// where nobody raised the limit: half of them are left for the rest of the agent.
const IN_FLIGHT: usize = 512;
/// Times that a silent resolver is asked.
const ROUNDS: usize = 2;
/// Room for a reply, even if the client takes less: it is shortened here.
const DATAGRAM: usize = 4096;

static ALL_SILENT: Throttle = Throttle::new(Duration::from_secs(60));

/// The way to other resolvers.
#[derive(Debug)]
pub(crate) struct Relay {
    resolvers: Resolvers,
    timeout: Duration,
    room: Arc<Semaphore>,
    identifiers: Identifiers,
    counts: Arc<Counts>,
}

impl Relay {
    pub(crate) fn new(resolvers: Resolvers, timeout: Duration, counts: Arc<Counts>) -> Self {
        let room = Arc::new(Semaphore::new(IN_FLIGHT));
        Self { resolvers, timeout, room, identifiers: Identifiers::default(), counts }
    }

    /// Takes a query on; what is given resolves to the message for the client, whatever happens.
    ///
    /// Nothing is given if too many are under way: the newest has to do without, since the others
    /// have waited longer.
    pub(crate) fn take(
        self: &Arc<Self>,
        packet: &[u8],
        errand: Errand,
        transport: Transport,
    ) -> Option<impl Future<Output = Vec<u8>> + Send + 'static> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            self.counts.shed.add();
            return None;
        };
        self.counts.relayed.add();
        let relay = Arc::clone(self);
        let packet = packet.to_vec();
        Some(async move {
            let _permit = permit;
            let mut reply = relay.ask(&packet, &errand, transport).await;
            if let Some(reply) = &mut reply {
                reply::pass_on(reply, &packet, &errand);
            }
            reply.unwrap_or_else(|| {
                relay.counts.relay_failed.add();
                let mut failure = Vec::new();
                answer::fail(&packet, &errand, &mut failure);
                failure
            })
        })
    }

    /// Asks one resolver after the other until one answers or the time is up.
    ///
    /// A refusal is kept for the case that no other resolver does better: it says more than our
    /// own failure would.
    async fn ask(&self, packet: &[u8], errand: &Errand, transport: Transport) -> Option<Vec<u8>> {
        let deadline = Instant::now() + self.timeout;
        let servers = self.resolvers.current().await;
        let ranked = servers.ranked();
        let mut left: Vec<&Server> = ranked.repeat(ROUNDS);
        let mut refusal = None;
        while !left.is_empty() {
            let share = deadline.saturating_duration_since(Instant::now()) / count(&left);
            let server = left.remove(0);
            let peer = server.address;
            let attempt =
                Attempt { peer, id: self.identifiers.next(), packet, errand, counts: &self.counts };
            let heard = match timeout(share, attempt.run(transport)).await {
                Ok(heard) => heard,
                Err(late) => Err(late.into()),
            };
            servers.note(server, heard.is_ok());
            match heard {
                Ok((Heard::Answer, reply)) => return Some(reply),
                Ok((Heard::Refusal, reply)) => {
                    left.retain(|other| other.address != peer);
                    refusal.get_or_insert(reply);
                }
                Err(error) => debug!(%peer, error = %Chain(&error), "no reply from resolver"),
            }
        }
        if refusal.is_none()
            && let Some(suppressed) = ALL_SILENT.allow()
        {
            warn!(resolvers = ranked.len(), suppressed, "no resolver replies");
        }
        refusal
    }
}

/// One query to one resolver.
struct Attempt<'a> {
    peer: SocketAddr,
    id: u16,
    packet: &'a [u8],
    errand: &'a Errand,
    counts: &'a Counts,
}

impl Attempt<'_> {
    async fn run(&self, transport: Transport) -> io::Result<(Heard, Vec<u8>)> {
        match transport {
            Transport::Udp => self.by_udp().await,
            Transport::Tcp => self.by_tcp().await,
        }
    }

    async fn by_udp(&self) -> io::Result<(Heard, Vec<u8>)> {
        let any: SocketAddr = match self.peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(self.peer).await?;
        socket.send(&self.query(0)).await?;
        // One octet more than is taken: a datagram that was cut by the kernel is seen to be too
        // long, and loses its last record.
        let mut reply = vec![0; self.errand.limit.max(DATAGRAM) + 1];
        loop {
            let len = socket.recv(&mut reply).await?;
            if let Some(heard) = self.check(reply.get(..len).unwrap_or_default()) {
                reply.truncate(len);
                return Ok((heard, reply));
            }
        }
    }

    async fn by_tcp(&self) -> io::Result<(Heard, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.peer).await?;
        let mut query = self.query(2);
        set_number(&mut query, 0, u16::try_from(self.packet.len()).unwrap_or(u16::MAX));
        stream.write_all(&query).await?;
        loop {
            let len = usize::from(stream.read_u16().await?);
            let mut reply = vec![0; len];
            stream.read_exact(&mut reply).await?;
            if let Some(heard) = self.check(&reply) {
                return Ok((heard, reply));
            }
        }
    }

    /// The query under our identifier, with some room in front.
    fn query(&self, room: usize) -> Vec<u8> {
        let mut query = vec![0; room];
        query.extend_from_slice(self.packet);
        set_number(&mut query, room, self.id);
        query
    }

    fn check(&self, reply: &[u8]) -> Option<Heard> {
        let question = self.packet.get(HEADER..self.errand.question_end)?;
        let heard = reply::check(reply, self.id, question);
        if heard.is_none() {
            self.counts.strange_replies.add();
            debug!(peer = %self.peer, "message from resolver is not the reply");
        }
        heard
    }
}

/// Identifiers that nobody can foresee: a keyed hash (SipHash, its key from the system) of a number
/// that grows.
#[derive(Debug, Default)]
struct Identifiers {
    key: RandomState,
    drawn: AtomicU64,
}

impl Identifiers {
    fn next(&self) -> u16 {
        let hash = self.key.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed));
        u16::try_from(hash & 0xffff).unwrap_or(0)
    }
}

fn count(left: &[&Server]) -> u32 {
    u32::try_from(left.len()).unwrap_or(u32::MAX).max(1)
}
