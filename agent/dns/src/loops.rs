//! Resolvers that send what they are asked back here.
//!
//! A local stub whose own resolver is this machine's proxy is a loop in which every name outside
//! the mesh is lost. A *canary* is a query for a name that nobody has and nobody but its resolver
//! has been asked for: if it comes in here, that resolver leads back. It is not asked any more
//! until another canary, a minute later, does not return.
//!
//! A canary that is lost means nothing: only one that returns does. Its name can be foreseen by
//! nobody, so a stranger cannot talk a resolver out of use.

mod patrol;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::message::HEADER;

pub use patrol::{Patrol, patrol};

/// What stands behind the first label. Resolvers are told to treat it as any other name (RFC 6761,
/// 6.5), while they answer `invalid`, `test`, `local`, `home.arpa` and single labels themselves:
/// resolved, dnsmasq and unbound as they come pass it on.
const BEHIND: &[u8] = b"\x0bhawser-loop\x07example\x03com\x00";
/// Octets of the first label, in hexadecimal digits.
const TOKEN: usize = 32;
/// QTYPE A, QCLASS IN.
const QUESTION: [u8; 4] = [0, 1, 0, 1];
/// After this time a canary that returns says nothing about its resolver as it is.
const LIFE: Duration = Duration::from_secs(60);
/// Canaries on their way.
const MOST: usize = 64;

/// The canaries that are out, and what they have found.
#[derive(Debug)]
pub struct Loops {
    key: RandomState,
    drawn: AtomicU64,
    out: ArcSwap<Vec<Canary>>,
    /// Resolvers that lead back here.
    looping: ArcSwap<Vec<Loop>>,
    /// Resolvers that have to be looked at.
    suspects: ArcSwap<Vec<SocketAddr>>,
    /// Those of whom a question of ours was seen to come in, wherever they are.
    accused: ArcSwap<Vec<SocketAddr>>,
    stir: Notify,
}

/// A resolver that leads back here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Who was asked.
    pub resolver: SocketAddr,
    /// From where its question came in here.
    pub from: SocketAddr,
    /// When it did last.
    pub at: Instant,
}

#[derive(Clone, Debug)]
struct Canary {
    token: [u8; TOKEN],
    resolver: SocketAddr,
    sent: Instant,
}

impl Default for Loops {
    fn default() -> Self {
        Self::new()
    }
}

impl Loops {
    /// Without any suspicion.
    pub fn new() -> Self {
        Self {
            key: RandomState::new(),
            drawn: AtomicU64::new(0),
            out: ArcSwap::default(),
            looping: ArcSwap::default(),
            suspects: ArcSwap::default(),
            accused: ArcSwap::default(),
            stir: Notify::new(),
        }
    }

    /// A query to send to `resolver`.
    pub fn canary(&self, resolver: SocketAddr) -> Vec<u8> {
        let [first, second] = [self.draw(), self.draw()];
        let mut token = [0; TOKEN];
        for (place, digit) in token.iter_mut().zip(format!("{first:016x}{second:016x}").bytes()) {
            *place = digit;
        }
        let sent = Instant::now();
        let fresh = Canary { token, resolver, sent };
        self.out.rcu(|out| {
            let alive = out.iter().filter(|canary| canary.sent + LIFE > sent);
            let mut alive: Vec<_> = alive.cloned().collect();
            alive.drain(..alive.len().saturating_sub(MOST - 1));
            alive.push(fresh.clone());
            alive
        });
        let id = u16::try_from(self.draw() & 0xffff).unwrap_or(0);
        let mut query = Vec::with_capacity(HEADER + 1 + TOKEN + BEHIND.len() + QUESTION.len());
        query.extend_from_slice(&id.to_be_bytes());
        // RD; one question.
        query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        query.push(u8::try_from(TOKEN).unwrap_or(0));
        query.extend_from_slice(&token);
        query.extend_from_slice(BEHIND);
        query.extend_from_slice(&QUESTION);
        query
    }

    /// The resolver that leads back here, if `packet`, which has come in `from` there, is a canary:
    /// to be refused, so that the circle ends.
    ///
    /// Costs next to nothing for other queries, and takes no lock for any.
    pub fn came_back(&self, packet: &[u8], from: SocketAddr) -> Option<SocketAddr> {
        let token = token(packet)?;
        let out = self.out.load();
        let now = Instant::now();
        let canary = out.iter().find(|canary| canary.token == token && canary.sent + LIFE > now)?;
        let resolver = canary.resolver;
        let found = Loop { resolver, from, at: now };
        self.looping.rcu(|looping| {
            let others = looping.iter().filter(|known| known.resolver != resolver);
            others.copied().chain([found]).collect::<Vec<_>>()
        });
        self.stir.notify_one();
        Some(resolver)
    }

    /// A question that `resolver` was asked has come in here while it did not answer: it is looked
    /// at soon.
    pub fn suspect(&self, resolver: SocketAddr) {
        if note(&self.suspects, resolver) {
            self.stir.notify_one();
        }
    }

    /// What looks like a question of ours to `resolver` has come in here: it is looked at soon, even
    /// if it is on another machine, since its address may be redirected.
    pub fn accuse(&self, resolver: SocketAddr) {
        note(&self.accused, resolver);
        self.suspect(resolver);
    }

    /// The resolvers that lead back here.
    pub fn looping(&self) -> Arc<Vec<Loop>> {
        self.looping.load_full()
    }

    /// Takes those that a canary has not come back from since `begun` off the list.
    fn clear(&self, asked: &[SocketAddr], begun: Instant) {
        self.looping.rcu(|looping| {
            let still = |known: &&Loop| !asked.contains(&known.resolver) || known.at >= begun;
            looping.iter().filter(still).copied().collect::<Vec<_>>()
        });
    }

    /// A number that nobody can foresee: a keyed hash (SipHash, its key from the system) of a
    /// number that grows.
    fn draw(&self) -> u64 {
        self.key.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

/// Puts a resolver on a list; says whether it was not there.
fn note(list: &ArcSwap<Vec<SocketAddr>>, resolver: SocketAddr) -> bool {
    let known = list.load().contains(&resolver);
    if !known {
        list.rcu(|list| {
            let mut list = Vec::clone(list);
            if list.len() < MOST {
                list.push(resolver);
            }
            list
        });
    }
    !known
}

/// The first label of a question that may be a canary, in lower case: resolvers on the way may
/// have played with that.
fn token(packet: &[u8]) -> Option<[u8; TOKEN]> {
    let question = packet.get(HEADER..)?;
    if usize::from(*question.first()?) != TOKEN {
        return None;
    }
    let behind = question.get(1 + TOKEN..1 + TOKEN + BEHIND.len())?;
    if !behind.eq_ignore_ascii_case(BEHIND) {
        return None;
    }
    let mut token: [u8; TOKEN] = question.get(1..=TOKEN)?.try_into().ok()?;
    token.make_ascii_lowercase();
    Some(token)
}

#[cfg(test)]
mod tests;
