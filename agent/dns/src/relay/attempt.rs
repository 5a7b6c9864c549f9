//! One question to one resolver.
//!
//! Over UDP each has a socket of its own for as long as it lasts, on a port that the kernel picks at
//! random, and the socket is connected, so the kernel lets nobody but the resolver's address reply.
//! Whoever writes from that address without knowing our identifier and question is guessing: from the
//! first such datagram on nothing is believed that comes this way, and the question is put over TCP.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::debug;

use super::out::Mark;
use super::resolvers::Server;
use super::sockets::Outlet;
use super::{Relay, line};
use crate::answer::{Style, Transport};
use crate::counts::Counts;
use crate::message::{HEADER, Record, flag, number, set_number};
use crate::name::Name;
use crate::reply::{self, Heard};

/// Guesses of others that are read before the way is closed to them.
const GUESSES: u32 = 64;
/// Guesses that may be an accident: if there is no other way, the reply is believed all the same.
const ACCIDENTS: u32 = 2;

/// One question to one resolver.
pub(super) struct Attempt {
    relay: Arc<Relay>,
    /// The resolver's place in the list.
    pub(super) place: usize,
    pub(super) begun: Instant,
    /// What is said if this comes to nothing.
    otherwise: Option<Vec<u8>>,
    id: u16,
    way: Way,
    mark: Mark,
    guesses: u32,
}

type Said = io::Result<(Heard, Vec<u8>)>;

enum Way {
    Datagram(Outlet),
    Stream(Pin<Box<dyn Future<Output = Said> + Send>>),
    /// Nothing comes this way any more.
    Closed,
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Event {
    Reply(Heard, Vec<u8>),
    /// A reply that is not whole.
    Cut(Vec<u8>),
    /// Somebody guesses.
    Doubt,
    /// This comes to nothing; the reply to make do with.
    Failed(io::Error, Option<Vec<u8>>),
}

/// What a datagram is.
enum Weighed {
    Heard(Event),
    Guess,
    /// No reply at all.
    Scrap,
}

impl Attempt {
    /// Sends the query under an identifier of its own.
    pub(super) fn begin(
        relay: &Arc<Relay>,
        server: &Arc<Server>,
        place: usize,
        query: &mut [u8],
        question_end: usize,
        transport: Transport,
    ) -> io::Result<Self> {
        let id = relay.identifiers.next();
        set_number(query, 0, id);
        server.note_asked();
        let question = query.get(HEADER..question_end).unwrap_or_default();
        // Before it is out: who reads it here may be quicker than we are.
        let mark = relay.resolvers.out.put(id, question, server.number);
        let way = Way::open(relay, server, query, question_end, transport);
        let way = way.inspect_err(|_| relay.resolvers.out.clear(mark))?;
        relay.seats.lock().opened();
        let relay = Arc::clone(relay);
        Ok(Self { relay, place, begun: Instant::now(), otherwise: None, id, way, mark, guesses: 0 })
    }

    /// What is said if this comes to nothing.
    pub(super) fn or_else(mut self, reply: Vec<u8>) -> Self {
        self.otherwise = Some(reply);
        self
    }

    /// Whether this goes by stream.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.way, Way::Stream(_))
    }

    /// Whether there was a reply of some kind.
    pub(super) fn has_heard(&self) -> bool {
        self.otherwise.is_some()
    }

    /// The reply to make do with, now that there is no more time: what was cut is somebody's word,
    /// what has come among guesses is nobody's.
    pub(super) fn last_word(&mut self) -> Option<Vec<u8>> {
        if self.is_stream() { self.otherwise.take() } else { self.believe().1 }
    }

    /// There is no surer way than this one: whether to go on with it, and the reply it has had.
    pub(super) fn believe(&mut self) -> (bool, Option<Vec<u8>>) {
        let accident = self.guesses <= ACCIDENTS && matches!(self.way, Way::Datagram(_));
        if !accident {
            return (false, None);
        }
        self.guesses = 0;
        (true, self.otherwise.take())
    }

    /// Waits until something is heard; `question` is what was asked, `limit` what the client takes.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        question: &[u8],
        limit: usize,
    ) -> Poll<Event> {
        if let Way::Stream(stream) = &mut self.way {
            let said = ready!(stream.as_mut().poll(context));
            self.way = Way::Closed;
            return Poll::Ready(match said {
                Ok((heard, reply)) => Event::Reply(heard, reply),
                Err(error) => Event::Failed(error, self.otherwise.take()),
            });
        }
        loop {
            match ready!(self.poll_datagram(context, question, limit)) {
                Weighed::Heard(Event::Failed(error, none)) => {
                    self.way = Way::Closed;
                    return Poll::Ready(Event::Failed(error, none));
                }
                Weighed::Heard(event) if self.guesses == 0 => return Poll::Ready(event),
                Weighed::Heard(Event::Reply(_, reply) | Event::Cut(reply)) => {
                    self.otherwise.get_or_insert(reply);
                }
                Weighed::Heard(Event::Doubt) | Weighed::Scrap => {
                    self.relay.counts.strange_replies.add();
                }
                Weighed::Guess => {
                    self.relay.counts.strange_replies.add();
                    debug!("message from resolver is not the reply");
                    if self.relay.options.style == Style::Istio {
                        continue;
                    }
                    self.guesses += 1;
                    if self.guesses == GUESSES {
                        self.way = Way::Closed;
                    }
                    if self.guesses == 1 {
                        return Poll::Ready(Event::Doubt);
                    }
                }
            }
        }
    }

    fn poll_datagram(
        &self,
        context: &mut Context<'_>,
        question: &[u8],
        limit: usize,
    ) -> Poll<Weighed> {
        let Way::Datagram(socket) = &self.way else { return Poll::Pending };
        let mut inbox = self.relay.inbox.lock();
        let mut buffer = ReadBuf::new(&mut inbox);
        Poll::Ready(match ready!(socket.poll_recv(context, &mut buffer)) {
            Ok(()) => self.weigh(buffer.filled(), question, limit),
            Err(error) => Weighed::Heard(Event::Failed(error, None)),
        })
    }

    fn weigh(&self, datagram: &[u8], question: &[u8], limit: usize) -> Weighed {
        let Some(&[_, _, high, ..]) = datagram.first_chunk::<HEADER>() else {
            return Weighed::Scrap;
        };
        let Some(heard) = reply::check(datagram, self.id, question) else {
            return if high & flag::RESPONSE != 0 { Weighed::Guess } else { Weighed::Scrap };
        };
        let cut = high & flag::TRUNCATED != 0;
        if self.relay.options.style == Style::Istio {
            // What a client does not take was never read whole.
            return Weighed::Heard(if datagram.len() > limit {
                Event::Failed(io::Error::other("the reply is larger than the client takes"), None)
            } else {
                Event::Reply(heard, datagram.to_vec())
            });
        }
        if cut {
            Weighed::Heard(Event::Cut(datagram.to_vec()))
        } else if is_whole(datagram) {
            Weighed::Heard(Event::Reply(heard, datagram.to_vec()))
        } else {
            Weighed::Scrap
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.relay.resolvers.out.clear(self.mark);
        if let Way::Datagram(outlet) = std::mem::replace(&mut self.way, Way::Closed) {
            self.relay.sockets.lock().put_back(outlet);
        }
        self.relay.seats.lock().closed();
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Way {
    /// The query goes out, or is about to.
    fn open(
        relay: &Arc<Relay>,
        server: &Server,
        query: &[u8],
        question_end: usize,
        transport: Transport,
    ) -> io::Result<Self> {
        let upstream = &server.upstream;
        if upstream.tls.is_some() {
            let relay = Arc::clone(relay);
            let said = line::ask(relay, upstream.clone(), query.to_vec(), question_end);
            return Ok(Self::Stream(Box::pin(said)));
        }
        if transport == Transport::Udp {
            return relay.sockets.lock().ask(upstream.address, query).map(Self::Datagram);
        }
        let counts = Arc::clone(&relay.counts);
        let said = by_tcp(upstream.address, query.to_vec(), question_end, counts);
        Ok(Self::Stream(Box::pin(said)))
    }
}

/// Asks on a connection of its own.
async fn by_tcp(
    peer: SocketAddr,
    query: Vec<u8>,
    question_end: usize,
    counts: Arc<Counts>,
) -> Said {
    let mut stream = TcpStream::connect(peer).await?;
    stream.set_nodelay(true)?;
    let len = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes(), query.as_slice()].concat()).await?;
    let id = number(&query, 0).unwrap_or_default();
    let question = query.get(HEADER..question_end).unwrap_or_default();
    loop {
        let mut reply = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut reply).await?;
        if let Some(heard) = reply::check(&reply, id, question) {
            return Ok((heard, reply));
        }
        counts.strange_replies.add();
    }
}

/// Whether all records are there that the header speaks of.
fn is_whole(reply: &[u8]) -> bool {
    let records =
        [6, 8, 10].into_iter().map(|at| usize::from(number(reply, at).unwrap_or(0))).sum();
    let mut at = match number(reply, 4) {
        Some(0) => HEADER,
        _ => Name::end(reply, HEADER).map_or(usize::MAX, |end| end + 4),
    };
    for _ in 0..records {
        match Record::read(reply, at) {
            Some(record) => at = record.end,
            None => return false,
        }
    }
    at <= reply.len()
}
