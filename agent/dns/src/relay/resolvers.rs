//! Who is asked about names outside the mesh, and what is known of each.
//!
//! All workers share this: lists are swapped whole, and what is known of a resolver are numbers
//! that anybody may write. The order of the list counts, since the first may know what the second
//! does not; a resolver goes behind others only if it is slower by a class, or silent. One that is
//! behind is tried from time to time with a question that somebody else answers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use hawser_rt::Throttle;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::out::Out;
use crate::message::{HEADER, number};

/// Resolvers that are asked; glibc takes 3.
pub(crate) const LISTED: usize = 16;
/// Time that a resolver is given before another is asked too: at least, at most, and as a multiple
/// of what it takes as a rule.
const PATIENCE: (Duration, Duration, u32) =
    (Duration::from_millis(20), Duration::from_millis(250), 3);
/// Questions that others answered before it, until a resolver is taken to be silent.
const LOSSES: u32 = 4;
/// Time until a silent resolver is tried again, doubled each time: at first, at most.
const RETRY: (u64, u64) = (1_000, 60_000);
/// Time until a slow resolver is measured again.
const REMEASURE: u64 = 30_000;
/// Upper ends of the classes of latency, in microseconds.
const CLASSES: [u32; 3] = [50_000, 200_000, 1_000_000];
/// What is asked last.
const SILENT: u8 = 4;

/// About all resolvers together: when none works, each would have its line.
static TROUBLE: Throttle = Throttle::new(Duration::from_secs(10));

/// A resolver to ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    /// It is asked over TLS, and its certificate has to be for this name.
    pub tls: Option<String>,
}

/// Those who are asked, in the order of their list.
#[derive(Debug)]
pub struct Resolvers {
    list: ArcSwap<Vec<Arc<Server>>>,
    /// Grows when the list changes: what was said before may not be true any more.
    generation: AtomicU64,
    since: Instant,
    pub(crate) out: Out,
    lost: Arc<Notify>,
}

/// What is known of a resolver, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResolverStatus {
    /// Where it is.
    pub address: SocketAddr,
    /// `udp`, or `tls`.
    pub transport: &'static str,
    /// `new`, `good`, `slow`, `silent` or `looping`.
    pub state: &'static str,
    /// Time that an answer takes as a rule, in microseconds.
    pub srtt_us: Option<u32>,
    /// Questions that were sent.
    pub asked: u64,
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that it failed to answer in its time.
    pub failed: u64,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// Questions to it come back to us.
    pub looping: bool,
}

/// One resolver.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) upstream: Upstream,
    /// Its number among all, not 0.
    pub(crate) number: u8,
    /// 0: never measured.
    srtt_us: AtomicU32,
    silent: AtomicBool,
    tries: AtomicU8,
    losses: AtomicU32,
    /// When it is to be tried although it is behind others.
    try_at: AtomicU64,
    /// It leads back to us.
    loops: AtomicBool,
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// Resolvers by their place in the list, in the order in which to ask them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    places: [u8; LISTED],
    len: usize,
}

impl Resolvers {
    /// These, of whom nothing is known yet.
    pub fn new(upstreams: Vec<Upstream>) -> Self {
        let resolvers = Self {
            list: ArcSwap::default(),
            generation: AtomicU64::new(0),
            since: Instant::now(),
            out: Out::default(),
            lost: Arc::default(),
        };
        resolvers.replace(upstreams);
        resolvers
    }

    /// These from now on; what is known of those that stay is kept.
    pub fn replace(&self, upstreams: Vec<Upstream>) {
        let old = self.list.load_full();
        let mut new: Vec<Arc<Server>> = Vec::with_capacity(upstreams.len());
        for upstream in upstreams {
            let twice = new.iter().any(|server| server.upstream == upstream);
            if twice || new.len() == LISTED {
                continue;
            }
            let known = old.iter().find(|server| server.upstream == upstream);
            let server = known.map(Arc::clone).unwrap_or_else(|| {
                let taken = |number: u8| {
                    old.iter().chain(&new).any(|server: &Arc<Server>| server.number == number)
                };
                let number = (1..=u8::MAX).find(|&number| !taken(number)).unwrap_or(u8::MAX);
                Arc::new(Server::new(upstream, number))
            });
            new.push(server);
        }
        let same = new.len() == old.len() && new.iter().zip(&*old).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            self.list.store(Arc::new(new));
            self.generation.fetch_add(1, Relaxed);
        }
    }

    /// What is known of each, in the order of the list.
    pub fn report(&self) -> Vec<ResolverStatus> {
        self.list.load().iter().map(|server| server.report()).collect()
    }

    /// Whether questions to this resolver come back to us; it is not asked as long as they do.
    pub fn set_looping(&self, address: SocketAddr, looping: bool) {
        for server in self.list.load().iter().filter(|server| server.upstream.address == address) {
            server.loops.store(looping, Relaxed);
        }
    }

    /// Notified when none of them replies: the list may be an old one.
    pub fn lost(&self) -> Arc<Notify> {
        Arc::clone(&self.lost)
    }

    pub(crate) fn note_lost(&self) {
        self.lost.notify_one();
    }

    pub(crate) fn servers(&self) -> Arc<Vec<Arc<Server>>> {
        self.list.load_full()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Milliseconds; never 0.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The resolver that was asked what has come in here, if it is a question of our own.
    pub(crate) fn leads_back(&self, packet: &[u8], question_end: usize) -> Option<Arc<Server>> {
        let id = number(packet, 0)?;
        let number = self.out.resolver(id, packet.get(HEADER..question_end)?)?;
        let list = self.list.load();
        list.iter().find(|server| server.number == number).map(Arc::clone)
    }
}

impl Server {
    fn new(upstream: Upstream, number: u8) -> Self {
        Self {
            upstream,
            number,
            srtt_us: AtomicU32::new(0),
            silent: AtomicBool::new(false),
            tries: AtomicU8::new(0),
            losses: AtomicU32::new(0),
            try_at: AtomicU64::new(0),
            loops: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_error: Mutex::new(None),
        }
    }

    /// How long it is waited for before somebody else is asked too.
    pub(crate) fn patience(&self) -> Duration {
        let (least, most, times) = PATIENCE;
        match self.srtt_us.load(Relaxed) {
            0 => most,
            usual => (Duration::from_micros(usual.into()) * times).clamp(least, most),
        }
    }

    pub(crate) fn note_asked(&self) {
        self.asked.fetch_add(1, Relaxed);
    }

    /// It has said something, after so long.
    pub(crate) fn note_answered(&self, took: Duration) {
        self.answered.fetch_add(1, Relaxed);
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let usual = self.srtt_us.load(Relaxed);
        let again = self.silent.load(Relaxed);
        let mean = usual - usual / 8 + took / 8;
        self.srtt_us.store(if usual == 0 || again { took } else { mean.max(1) }, Relaxed);
        if self.losses.load(Relaxed) != 0 {
            self.losses.store(0, Relaxed);
        }
        if again {
            self.silent.store(false, Relaxed);
            self.tries.store(0, Relaxed);
            if let Some(suppressed) = TROUBLE.allow() {
                info!(peer = %self.upstream, suppressed, "resolver replies again");
            }
        }
    }

    /// Somebody else was faster, when this one had been given so long.
    pub(crate) fn note_lost(&self, waited: Duration, now: u64) {
        if waited >= PATIENCE.1 || self.losses.fetch_add(1, Relaxed) + 1 >= LOSSES {
            self.note_silent("no reply in time", now);
        }
    }

    /// It has not replied, or cannot be reached.
    pub(crate) fn note_silent(&self, why: &str, now: u64) {
        self.failed.fetch_add(1, Relaxed);
        let first = !self.silent.swap(true, Relaxed);
        // Many questions may fail at once: that is one failure.
        if !first && now < self.try_at.load(Relaxed) {
            return;
        }
        let (least, most) = RETRY;
        let tries = self.tries.load(Relaxed).min(16);
        self.tries.store(tries + 1, Relaxed);
        self.try_at.store(now + (least << tries).min(most), Relaxed);
        *self.last_error.lock() = Some(why.to_owned());
        if first && let Some(suppressed) = TROUBLE.allow() {
            warn!(peer = %self.upstream, error = why, suppressed, "resolver does not reply");
        }
    }

    /// Whether it is behind others and to be tried now; says so once.
    pub(crate) fn claim_try(&self, now: u64) -> bool {
        if matches!(self.standing(), None | Some(0)) {
            return false;
        }
        let due = self.try_at.load(Relaxed);
        if due == 0 && !self.silent.load(Relaxed) {
            // It has just become slow.
            self.try_at.store(now + REMEASURE, Relaxed);
            return false;
        }
        let (least, most) = RETRY;
        let next = match self.silent.load(Relaxed) {
            true => (least << self.tries.load(Relaxed).min(16)).min(most),
            false => REMEASURE,
        };
        due <= now && self.try_at.compare_exchange(due, now + next, Relaxed, Relaxed).is_ok()
    }

    /// Its class: the less, the sooner it is asked. Nothing, if it is not.
    fn standing(&self) -> Option<u8> {
        if self.loops.load(Relaxed) {
            return None;
        }
        if self.silent.load(Relaxed) {
            return Some(SILENT);
        }
        let usual = self.srtt_us.load(Relaxed);
        u8::try_from(CLASSES.iter().filter(|&&end| usual >= end).count()).ok()
    }

    fn report(&self) -> ResolverStatus {
        let srtt_us = self.srtt_us.load(Relaxed);
        let asked = self.asked.load(Relaxed);
        let state = match self.standing() {
            None => "looping",
            Some(SILENT) => "silent",
            Some(0) if asked == 0 => "new",
            Some(0) => "good",
            Some(_) => "slow",
        };
        ResolverStatus {
            address: self.upstream.address,
            transport: if self.upstream.tls.is_some() { "tls" } else { "udp" },
            state,
            srtt_us: (srtt_us != 0).then_some(srtt_us),
            asked,
            answered: self.answered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            last_error: self.last_error.lock().clone(),
            looping: state == "looping",
        }
    }
}

impl Order {
    /// The better first; those of a class as they are listed.
    pub(crate) fn ranked(servers: &[Arc<Server>]) -> Self {
        let mut order = Self::default();
        for class in 0..=SILENT {
            for (place, server) in servers.iter().enumerate() {
                if server.standing() == Some(class) {
                    order.push(place);
                }
            }
        }
        order
    }

    /// Any of them as likely first as the others.
    pub(crate) fn shuffled(servers: &[Arc<Server>], dice: &mut fastrand::Rng) -> Self {
        let mut order = Self::ranked(servers);
        dice.shuffle(order.places.get_mut(..order.len).unwrap_or_default());
        order
    }

    pub(crate) fn get(&self, index: usize) -> Option<usize> {
        let place = self.places.get(..self.len)?.get(index)?;
        Some(usize::from(*place))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, place: usize) {
        if let (Some(free), Ok(place)) = (self.places.get_mut(self.len), u8::try_from(place)) {
            *free = place;
            self.len += 1;
        }
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tls {
            Some(name) => write!(f, "tls://{}#{name}", self.address),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
