//! The way to other resolvers: what was asked is asked of them, and what they say is passed on.
//!
//! One relay per worker, touched by nobody else: what changes is behind locks that nobody ever
//! waits for. What is true of it:
//!
//! - A client is answered within [`Forward::timeout`], whatever resolvers do or fail to do.
//! - One question is asked once at a time, however many want to know: they share the *flight*.
//!   It goes on without those who have left, and what comes of it is kept.
//! - Everything is bounded: flights, those who wait for one, those of one client, sockets, octets
//!   kept. What is over is turned away at once, the newest first: others have waited longer.
//! - Of a reply nothing is believed that a stranger could have sent.
//!
//! `question` says which queries are the same, `plan` whom to ask when, `attempt` asks one resolver,
//! `course` does so until there is a reply, which a `flight` brings to all who wait; `resolvers`
//! remembers how each has done, `line` is a connection to one that is asked over TLS, and `out` how
//! a question of ours is known.

mod asking;
mod attempt;
mod course;
mod flight;
mod line;
mod out;
mod plan;
mod question;
pub(crate) mod resolvers;
mod seats;
mod sockets;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hawser_rt::Throttle;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::answer::{self, Errand, Style, Transport};
use crate::cache::{Age, Cache};
use crate::counts::{Counts, Source};
use crate::loops::Loops;
use crate::message::{flag, rcode};
use crate::reply;
use asking::{Asking, Part};
use flight::{Flight, Landed};
use line::Lines;
use question::Sort;
use resolvers::Resolvers;
use seats::{Seat, Seats};
use sockets::Sockets;

/// Room for a reply as it comes.
const DATAGRAM: usize = 65_535;

static ALL_SILENT: Throttle = Throttle::new(Duration::from_secs(10));

/// How others are asked.
#[derive(Clone, Debug)]
pub struct Forward {
    /// How long a client is made to wait, all attempts together.
    pub timeout: Duration,
    /// All resolvers are asked at once, not one after the other.
    pub parallel: bool,
    /// Octets of replies that one worker keeps; 0: none.
    pub cache: usize,
    /// For how long they may be given after their time if nobody replies; 0: not at all.
    pub stale: Duration,
    /// Whose rules hold.
    pub style: Style,
    /// Questions that one worker has out at a time; [`Forward::room`] says how many are good.
    pub in_flight: usize,
    /// Whom to believe to be the resolver that is asked over TLS.
    pub tls: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    /// On this machine: there all programs together are one address.
    pub(crate) near: bool,
}

/// What has become of a query.
#[derive(Debug)]
pub(crate) enum Taken<F> {
    /// The answer is there.
    Now,
    /// The answer comes.
    Later(F),
}

/// The way to other resolvers, of one worker.
#[derive(Debug)]
pub(crate) struct Relay {
    resolvers: Arc<Resolvers>,
    options: Forward,
    counts: Arc<Counts>,
    loops: Arc<Loops>,
    identifiers: Identifiers,
    desk: Mutex<Desk>,
    seats: Mutex<Seats>,
    sockets: Mutex<Sockets>,
    /// Replies as they come; each is copied or passed over at once.
    inbox: Mutex<Box<[u8]>>,
    lines: Mutex<Lines>,
    /// Work that no client waits for.
    behind: Mutex<JoinSet<()>>,
}

/// What is known, and what is being asked.
#[derive(Debug)]
struct Desk {
    cache: Option<Cache>,
    flights: HashMap<Arc<[u8]>, Vec<oneshot::Sender<Landed>>, RandomState>,
    /// The list of resolvers that the cache is from.
    generation: u64,
    key: Vec<u8>,
}

/// What a look at the desk has come to.
enum Seen {
    /// It is known, and has been written.
    Known(Source),
    /// Somebody has asked already.
    Joined(oneshot::Receiver<Landed>),
    /// It is to be asked, and this is its flight.
    Begun(Box<Flight>),
    TooMuch,
}

impl Forward {
    /// How many questions one of so many workers may have out: each holds a socket, and a process
    /// may have no more than so many files open, some of which others need.
    pub fn room(workers: usize) -> usize {
        const MOST: usize = 1024;
        const OTHERS: usize = 384;
        let files = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .map_or(1024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX));
        let left = files.saturating_sub(OTHERS).max(files / 4);
        (left.min(MOST) / workers.max(1)).max(16)
    }
}

impl Default for Forward {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            parallel: false,
            cache: 4 * 1024 * 1024,
            stale: Duration::from_secs(3600),
            style: Style::default(),
            in_flight: Self::room(1),
            tls: None,
        }
    }
}

impl Relay {
    /// How long what is known of a query is in its time yet, nothing if it is past that; for
    /// people who look.
    pub(crate) fn kept(&self, packet: &[u8], errand: &Errand) -> Option<Duration> {
        let mut key = Vec::new();
        question::key(packet, errand, Transport::Udp, &mut key);
        self.desk.lock().cache.as_ref()?.left(&key, self.resolvers.now())
    }

    pub(crate) fn new(
        resolvers: Arc<Resolvers>,
        options: Forward,
        counts: Arc<Counts>,
        loops: Arc<Loops>,
    ) -> Arc<Self> {
        let cache = (options.cache > 0 && options.style == Style::Plain)
            .then(|| Cache::new(options.cache, options.stale));
        let generation = resolvers.generation();
        let (seats, sockets) = (Seats::new(options.in_flight), Sockets::new(options.in_flight));
        Arc::new(Self {
            resolvers,
            options,
            counts,
            loops,
            identifiers: Identifiers::default(),
            desk: Mutex::new(Desk {
                cache,
                flights: HashMap::default(),
                generation,
                key: Vec::new(),
            }),
            seats: Mutex::new(seats),
            sockets: Mutex::new(sockets),
            inbox: Mutex::new(vec![0; DATAGRAM].into_boxed_slice()),
            lines: Mutex::default(),
            behind: Mutex::default(),
        })
    }

    /// Takes a query on. What is given resolves to the message for the client, whatever happens; it
    /// may be dropped.
    pub(crate) fn take(
        self: &Arc<Self>,
        packet: &[u8],
        errand: Errand,
        from: Asker,
        out: &mut Vec<u8>,
    ) -> Taken<impl Future<Output = Vec<u8>> + Send + 'static> {
        if self.comes_back(packet, &errand, from.address) {
            answer::fail(packet, &errand, out);
            self.counts.note(Source::None, from.transport, out);
            return Taken::Now;
        }
        let mut fallback = false;
        let part = match self.look(packet, &errand, from, &mut fallback, out) {
            Seen::Known(source) => {
                reply::pass_on(out, packet, &errand);
                self.counts.note(source, from.transport, out);
                return Taken::Now;
            }
            Seen::TooMuch => {
                self.counts.shed.add();
                answer::fail(packet, &errand, out);
                self.counts.note(Source::None, from.transport, out);
                return Taken::Now;
            }
            Seen::Joined(receiver) => {
                self.counts.joined.add();
                Part::Waits(receiver)
            }
            Seen::Begun(flight) => Part::Flies(Some(Box::pin(flight.run()))),
        };
        self.counts.relayed.add();
        let seat = Seat::take(self, from);
        Taken::Later(Asking { part, seat, packet: packet.into(), errand, from, fallback }.answer())
    }

    /// Whether the query is one of our own.
    fn comes_back(&self, packet: &[u8], errand: &Errand, from: SocketAddr) -> bool {
        if let Some(server) = self.resolvers.leads_back(packet, errand.question_end) {
            // A stranger who tries all identifiers gets here too: the canary is what proves it.
            self.loops.accuse(server.upstream.address);
            return true;
        }
        self.loops.came_back(packet, from).is_some()
    }

    /// What is known of the question, what is being asked, or else a flight.
    fn look(
        self: &Arc<Self>,
        packet: &[u8],
        errand: &Errand,
        from: Asker,
        fallback: &mut bool,
        out: &mut Vec<u8>,
    ) -> Seen {
        let mut desk = self.desk.lock();
        let desk = &mut *desk;
        desk.follow(&self.resolvers, &self.counts);
        let sort = question::key(packet, errand, from.transport, &mut desk.key);
        let now = self.resolvers.now();
        let cache = desk.cache.as_mut().filter(|_| sort == Sort::Plain);
        let age = cache.and_then(|cache| cache.copy(&desk.key, now, out));
        match age {
            Some(Age::Fresh) => return Seen::Known(Source::Cache),
            Some(Age::Resting) => return Seen::Known(Source::Stale),
            Some(Age::Stale) => *fallback = true,
            None => {}
        }
        let under_way = desk.flights.len();
        let flying = desk.flights.get_mut(&*desk.key);
        let admitted =
            self.seats.lock().admits(from, flying.as_ref().map(|waiting| waiting.len()), under_way);
        match (flying, admitted) {
            (_, false) if *fallback => Seen::Known(Source::Stale),
            (_, false) => Seen::TooMuch,
            (Some(waiting), true) => {
                let (tell, told) = oneshot::channel();
                waiting.push(tell);
                Seen::Joined(told)
            }
            (None, true) => {
                let key: Arc<[u8]> = desk.key.as_slice().into();
                desk.flights.insert(Arc::clone(&key), Vec::new());
                let query = question::query(packet, errand, sort);
                Seen::Begun(Box::new(Flight::new(self, key, query, errand, from.transport, sort)))
            }
        }
    }

    /// What is past its time, for one who has waited long enough.
    fn stale(&self, packet: &[u8], errand: &Errand, from: Asker) -> Option<Vec<u8>> {
        let mut desk = self.desk.lock();
        let desk = &mut *desk;
        question::key(packet, errand, from.transport, &mut desk.key);
        let mut out = Vec::new();
        desk.cache.as_mut()?.copy(&desk.key, self.resolvers.now(), &mut out)?;
        Some(out)
    }

    /// Does something that no client waits for.
    fn go_on(&self, work: impl Future<Output = ()> + Send + 'static) {
        // At the end of the runtime nothing goes on.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let mut behind = self.behind.lock();
            while behind.try_join_next().is_some() {}
            behind.spawn_on(work, &runtime);
        }
    }
}

impl Desk {
    /// Forgets what resolvers have said that are no more.
    fn follow(&mut self, resolvers: &Resolvers, counts: &Counts) {
        let generation = resolvers.generation();
        if self.generation != generation {
            self.generation = generation;
            if let Some(cache) = &mut self.cache {
                cache.clear();
            }
            self.count(counts);
        }
    }

    fn count(&self, counts: &Counts) {
        if let Some(cache) = &self.cache {
            counts.cache_entries.set(cache.len());
            counts.cache_bytes.set(cache.octets());
            counts.cache_evicted.set(cache.evicted());
        }
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

/// Whether a reply is an error that another resolver, or what is past its time, may better.
fn is_error(reply: &[u8]) -> bool {
    let code = reply.get(3).map(|low| low & flag::RCODE);
    !matches!(code, Some(rcode::NO_ERROR | rcode::NAME_ERROR))
}
