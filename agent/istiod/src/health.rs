//! Which addresses of istiod have worked, and which have failed lately. No I/O.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use tokio::time::Instant;

/// An address of one of the endpoints. Two endpoints may share one, as two revisions behind one
/// gateway do, and one of them may be well while the other is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    /// Its place among the endpoints.
    pub(crate) endpoint: usize,
    pub(crate) address: SocketAddr,
}

/// An address that is yet to be tried, with its lot among those of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) spot: Spot,
    pub(crate) lot: u32,
}

/// What one way has met with.
#[derive(Debug, Default)]
pub(crate) struct Health(HashMap<Spot, Record>);

#[derive(Clone, Copy, Debug)]
struct Record {
    /// In a row.
    failures: u32,
    /// Until then others go first.
    avoided: Option<Instant>,
    good: Option<Instant>,
    changed: Instant,
}

impl Health {
    /// istiod has answered a call there.
    pub(crate) fn accepted(&mut self, spot: Spot, now: Instant) {
        let record = self.record(spot, now);
        (record.failures, record.avoided, record.good) = (0, None, Some(now));
    }

    /// It led to nothing. Others go first for a time that doubles with each failure, cut by up to
    /// a half by `dice`, a number in `0..1`.
    pub(crate) fn failed(&mut self, spot: Spot, now: Instant, dice: f64) {
        let record = self.record(spot, now);
        if record.avoided.is_some_and(|until| now.duration_since(until) > FORGOTTEN) {
            record.failures = 0;
        }
        let whole = SHORTEST.saturating_mul(1 << record.failures.min(DOUBLINGS)).min(LONGEST);
        record.failures = record.failures.saturating_add(1);
        record.avoided = Some(now + whole.mul_f64(1.0 - dice.clamp(0.0, 1.0) / 2.0));
    }

    /// The place of the one that is tried next: those that have not failed lately, by endpoint in
    /// the given order; then those that have, the one first that has waited for long enough first.
    pub(crate) fn first(&self, candidates: &[Candidate], now: Instant) -> Option<usize> {
        let rank = |(_, Candidate { spot, lot }): &(usize, &Candidate)| {
            (self.avoided(*spot, now), spot.endpoint, *lot)
        };
        candidates.iter().enumerate().min_by_key(rank).map(|(place, _)| place)
    }

    /// Until when others go first, if they do.
    pub(crate) fn avoided(&self, spot: Spot, now: Instant) -> Option<Instant> {
        self.0.get(&spot)?.avoided.filter(|until| *until > now)
    }

    /// The addresses of an endpoint that have ever worked, the last one first.
    pub(crate) fn good(&self, endpoint: usize) -> Vec<SocketAddr> {
        let mut good: Vec<(Instant, SocketAddr)> = self
            .0
            .iter()
            .filter(|(spot, _)| spot.endpoint == endpoint)
            .filter_map(|(spot, record)| Some((record.good?, spot.address)))
            .collect();
        good.sort_unstable_by(|one, other| other.cmp(one));
        good.into_iter().map(|(_, address)| address).collect()
    }

    /// Made where there is none; the one that has not changed for longest makes room.
    fn record(&mut self, spot: Spot, now: Instant) -> &mut Record {
        if self.0.len() >= MOST_RECORDS && !self.0.contains_key(&spot) {
            let oldest = self.0.iter().min_by_key(|(_, record)| record.changed);
            if let Some(oldest) = oldest.map(|(spot, _)| *spot) {
                self.0.remove(&oldest);
            }
        }
        let fresh = Record { failures: 0, avoided: None, good: None, changed: now };
        let record = self.0.entry(spot).or_insert(fresh);
        record.changed = now;
        record
    }
}

const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(240);
const DOUBLINGS: u32 = 6;
/// A failure that long after the last one is a first one.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Addresses of istiod come and go where it runs in a cluster.
const MOST_RECORDS: usize = 64;

#[cfg(test)]
mod tests;
