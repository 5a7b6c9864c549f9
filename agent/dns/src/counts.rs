//! What was done, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the proxy has done since it was started; [`Totals`] says what each number means.
#[derive(Debug, Default)]
pub struct Counts {
    pub(crate) queries: Count,
    pub(crate) answered: Count,
    pub(crate) refused: Count,
    pub(crate) dropped: Count,
    pub(crate) relayed: Count,
    pub(crate) relay_failed: Count,
    pub(crate) shed: Count,
    pub(crate) strange_replies: Count,
    pub(crate) tables: Count,
    pub(crate) names: Count,
    pub(crate) names_skipped: Count,
}

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages that came in, whatever they were.
    pub queries: u64,
    /// Answered from the table.
    pub answered: u64,
    /// Answered with an error because the query was faulty or asked for what is not offered.
    pub refused: u64,
    /// Not answered: no query, or no way to send the answer.
    pub dropped: u64,
    /// Given to another resolver.
    pub relayed: u64,
    /// Given to other resolvers in vain.
    pub relay_failed: u64,
    /// Not given to another resolver because too many were waiting for theirs.
    pub shed: u64,
    /// Messages from other resolvers that were not the reply waited for.
    pub strange_replies: u64,
    /// Tables that were taken into use.
    pub tables: u64,
    /// Names in the present table.
    pub names: u64,
    /// Names and addresses left out of the present table.
    pub names_skipped: u64,
}

impl Counts {
    /// The counts now; each for itself, not all at the same instant.
    pub fn totals(&self) -> Totals {
        Totals {
            queries: self.queries.now(),
            answered: self.answered.now(),
            refused: self.refused.now(),
            dropped: self.dropped.now(),
            relayed: self.relayed.now(),
            relay_failed: self.relay_failed.now(),
            shed: self.shed.now(),
            strange_replies: self.strange_replies.now(),
            tables: self.tables.now(),
            names: self.names.now(),
            names_skipped: self.names_skipped.now(),
        }
    }
}

impl Count {
    /// Adds one.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Says what the number is now; for those few that say how much there is, not how often.
    pub(crate) fn set(&self, value: usize) {
        self.0.store(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
