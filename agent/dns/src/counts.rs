//! What was done, in numbers.
//!
//! Every worker has [`Counts`] of its own and is the only one who writes them: a number is read and
//! stored, which costs no more than in plain memory, and others may read at any time. [`Totals`] is
//! the sum over all of them.

mod kinds;
mod latency;

use std::iter::Sum;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use kinds::{Answers, Code, Kind, Source};
pub use latency::Latency;

use crate::answer::Transport;
use kinds::{CODES, KINDS, SOURCES, TRANSPORTS};
use latency::{FAR, NEAR, Spread};

const CELLS: usize = SOURCES.len() * CODES.len() * KINDS.len() * TRANSPORTS.len();

/// What one worker has done since it was started; [`Totals`] says what each number means.
///
/// Written by its worker alone: of two that count at once, one would be lost.
#[derive(Debug)]
pub struct Counts {
    pub(crate) queries: Count,
    pub(crate) refused: Count,
    pub(crate) dropped: Count,
    pub(crate) forbidden: Count,
    pub(crate) relayed: Count,
    pub(crate) relay_failed: Count,
    pub(crate) joined: Count,
    pub(crate) hedged: Count,
    pub(crate) by_tcp: Count,
    pub(crate) shed: Count,
    pub(crate) in_flight: Count,
    pub(crate) strange_replies: Count,
    pub(crate) cache_entries: Count,
    pub(crate) cache_bytes: Count,
    pub(crate) cache_evicted: Count,
    pub(crate) connections: Count,
    pub(crate) connections_refused: Count,
    pub(crate) tables: Count,
    pub(crate) names: Count,
    pub(crate) names_skipped: Count,
    answers: [Count; CELLS],
    table: Spread<{ NEAR.len() }>,
    cache: Spread<{ NEAR.len() }>,
    upstream: Spread<{ FAR.len() }>,
}

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

/// The counts at one moment, of one worker or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages that came in, whatever they were.
    pub queries: u64,
    /// Answered from the table.
    pub answered: u64,
    /// Answered from the cache, in time.
    pub cached: u64,
    /// Answered from the cache after its time, because no resolver replied.
    pub stale: u64,
    /// Answered with what a resolver said.
    pub upstream: u64,
    /// Answered with an error of our own.
    pub failed: u64,
    /// Answered with an error because the query was faulty or asked for what is not offered.
    pub refused: u64,
    /// Not answered: no query, or no way to send the answer.
    pub dropped: u64,
    /// Turned away because of the address they came from.
    pub forbidden: u64,
    /// Given to another resolver.
    pub relayed: u64,
    /// Given to other resolvers in vain.
    pub relay_failed: u64,
    /// Answered with the reply to the same question of somebody else.
    pub joined: u64,
    /// Asked of a second resolver because the first took its time.
    pub hedged: u64,
    /// Asked anew over TCP because the reply did not fit.
    pub by_tcp: u64,
    /// Not given to another resolver because too many were waiting for theirs.
    pub shed: u64,
    /// Waiting for a reply now.
    pub in_flight: u64,
    /// Messages from other resolvers that were not the reply waited for.
    pub strange_replies: u64,
    /// Answers that are kept now.
    pub cache_entries: u64,
    /// Octets that they take.
    pub cache_bytes: u64,
    /// Answers that had to make room for others.
    pub cache_evicted: u64,
    /// TCP connections that are open now.
    pub connections: u64,
    /// TCP connections that were turned away or cut because there were too many.
    pub connections_refused: u64,
    /// Tables that came, the same again included.
    pub tables: u64,
    /// Names in the present table.
    pub names: u64,
    /// Names and addresses left out of the present table.
    pub names_skipped: u64,
}

impl Counts {
    /// Counts an answer that was given; type and code are read from the answer itself.
    pub fn note(&self, source: Source, transport: Transport, answer: &[u8]) {
        let cell = kinds::cell(source, Code::of(answer), Kind::of(answer), transport);
        if let Some(count) = self.answers.get(cell) {
            count.add();
        }
    }

    /// Counts how long `n` answers took, each of them, from the query to the answer. Those of one
    /// batch count as [`Source::Table`], wherever they came from.
    pub fn took(&self, source: Source, each: Duration, n: u64) {
        match source {
            Source::Table => self.table.add(&NEAR, each, n),
            Source::Cache | Source::Stale => self.cache.add(&NEAR, each, n),
            Source::Upstream => self.upstream.add(&FAR, each, n),
            // No work was done, or in vain; that is told by other numbers.
            Source::None => {}
        }
    }

    /// The counts now; each for itself, not all at the same instant.
    pub fn totals(&self) -> Totals {
        Totals {
            queries: self.queries.now(),
            answered: self.answers_from(Source::Table),
            cached: self.answers_from(Source::Cache),
            stale: self.answers_from(Source::Stale),
            upstream: self.answers_from(Source::Upstream),
            failed: self.answers_from(Source::None),
            refused: self.refused.now(),
            dropped: self.dropped.now(),
            forbidden: self.forbidden.now(),
            relayed: self.relayed.now(),
            relay_failed: self.relay_failed.now(),
            joined: self.joined.now(),
            hedged: self.hedged.now(),
            by_tcp: self.by_tcp.now(),
            shed: self.shed.now(),
            in_flight: self.in_flight.now(),
            strange_replies: self.strange_replies.now(),
            cache_entries: self.cache_entries.now(),
            cache_bytes: self.cache_bytes.now(),
            cache_evicted: self.cache_evicted.now(),
            connections: self.connections.now(),
            connections_refused: self.connections_refused.now(),
            tables: self.tables.now(),
            names: self.names.now(),
            names_skipped: self.names_skipped.now(),
        }
    }

    /// The answers that were given, by what they were; those that never were are left out.
    pub fn answers(&self) -> Vec<Answers> {
        let counted = self.answers.iter().map(Count::now);
        kinds::cells()
            .zip(counted)
            .filter(|(_, count)| *count > 0)
            .map(|(cell, count)| Answers { count, ..cell })
            .collect()
    }

    /// How long answers took that came from there; [`Source::Stale`] counts as the cache.
    pub fn latency(&self, source: Source) -> Latency {
        match source {
            Source::Table => self.table.now(&NEAR),
            Source::Cache | Source::Stale => self.cache.now(&NEAR),
            Source::Upstream => self.upstream.now(&FAR),
            Source::None => Latency::default(),
        }
    }

    fn answers_from(&self, source: Source) -> u64 {
        kinds::row(source)
            .and_then(|row| self.answers.get(row))
            .map_or(0, |cells| cells.iter().map(Count::now).sum())
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            queries: Count::default(),
            refused: Count::default(),
            dropped: Count::default(),
            forbidden: Count::default(),
            relayed: Count::default(),
            relay_failed: Count::default(),
            joined: Count::default(),
            hedged: Count::default(),
            by_tcp: Count::default(),
            shed: Count::default(),
            in_flight: Count::default(),
            strange_replies: Count::default(),
            cache_entries: Count::default(),
            cache_bytes: Count::default(),
            cache_evicted: Count::default(),
            connections: Count::default(),
            connections_refused: Count::default(),
            tables: Count::default(),
            names: Count::default(),
            names_skipped: Count::default(),
            answers: std::array::from_fn(|_| Count::default()),
            table: Spread::default(),
            cache: Spread::default(),
            upstream: Spread::default(),
        }
    }
}

impl Count {
    /// Adds one.
    pub(crate) fn add(&self) {
        self.more(1);
    }

    /// Adds so many. No locked instruction: there is one who writes.
    pub(crate) fn more(&self, by: u64) {
        self.0.store(self.now().wrapping_add(by), Ordering::Relaxed);
    }

    /// Takes one away, for those few that go down again.
    pub(crate) fn less(&self) {
        self.0.store(self.now().wrapping_sub(1), Ordering::Relaxed);
    }

    /// Says what the number is now; for those few that say how much there is, not how often.
    pub(crate) fn set(&self, value: usize) {
        self.0.store(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            queries: self.queries + other.queries,
            answered: self.answered + other.answered,
            cached: self.cached + other.cached,
            stale: self.stale + other.stale,
            upstream: self.upstream + other.upstream,
            failed: self.failed + other.failed,
            refused: self.refused + other.refused,
            dropped: self.dropped + other.dropped,
            forbidden: self.forbidden + other.forbidden,
            relayed: self.relayed + other.relayed,
            relay_failed: self.relay_failed + other.relay_failed,
            joined: self.joined + other.joined,
            hedged: self.hedged + other.hedged,
            by_tcp: self.by_tcp + other.by_tcp,
            shed: self.shed + other.shed,
            in_flight: self.in_flight + other.in_flight,
            strange_replies: self.strange_replies + other.strange_replies,
            cache_entries: self.cache_entries + other.cache_entries,
            cache_bytes: self.cache_bytes + other.cache_bytes,
            cache_evicted: self.cache_evicted + other.cache_evicted,
            connections: self.connections + other.connections,
            connections_refused: self.connections_refused + other.connections_refused,
            tables: self.tables + other.tables,
            names: self.names + other.names,
            names_skipped: self.names_skipped + other.names_skipped,
        }
    }
}

impl Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests;
