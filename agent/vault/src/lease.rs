//! A token of Vault's and its time, as values: the caller brings the clock.

use std::time::{Duration, SystemTime};

use crate::{answer::Granted, secret::Secret};

/// A token that was given, and until when it is good.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) token: Secret,
    given: SystemTime,
    ttl: Option<Duration>,
    renewable: bool,
}

impl Lease {
    pub(crate) fn of(granted: Granted, given: SystemTime) -> Self {
        let Granted { token, ttl, renewable } = granted;
        Self { token, given, ttl, renewable }
    }

    /// When it ends, if it does.
    pub(crate) fn ends(&self) -> Option<SystemTime> {
        Some(self.given + self.ttl?)
    }

    /// Whether it is worth showing. A clock that was set back to before it was given says nothing
    /// of it; Vault will.
    pub(crate) fn is_good_at(&self, now: SystemTime) -> bool {
        self.ends().is_none_or(|ends| now + LEAST < ends)
    }

    /// When it is to be renewed: at half of its time. None where it cannot be, or need not be.
    pub(crate) fn renewal(&self) -> Option<SystemTime> {
        let ttl = self.ttl.filter(|ttl| self.renewable && LEAST < *ttl)?;
        Some(self.given + (ttl / 2).max(LEAST))
    }
}

/// Less than this may be the way there.
const LEAST: Duration = Duration::from_secs(2);
