//! The time that the fakes go by: the system's, or one that a test sets.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// A clock on the wall. A clone is the same clock; by default it shows the system's time.
///
/// It stands where a test has set it. A simulated agent has a clock of its own: a test moves both.
#[derive(Debug, Clone, Default)]
pub struct Time(Arc<RwLock<Option<SystemTime>>>);

impl Time {
    /// One that stands still until it is moved.
    #[must_use]
    pub fn standing(at: SystemTime) -> Self {
        Self(Arc::new(RwLock::new(Some(at))))
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.0.read().unwrap_or_else(SystemTime::now)
    }

    /// Makes it show this, and stand there.
    pub fn set(&self, to: SystemTime) {
        *self.0.write() = Some(to);
    }

    /// Moves it on from what it shows; it stands afterwards.
    pub fn advance(&self, by: Duration) {
        let mut shown = self.0.write();
        *shown = Some(shown.unwrap_or_else(SystemTime::now) + by);
    }

    /// Makes it show the system's time again.
    pub fn release(&self) {
        *self.0.write() = None;
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.now().duration_since(UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_the_same_clock_and_it_runs_unless_it_is_set() {
        let time = Time::default();
        let same = time.clone();
        let before = SystemTime::now();
        assert!(time.now() >= before);

        let at = UNIX_EPOCH + Duration::from_secs(86_400);
        same.set(at);
        assert_eq!(time.now(), at);
        time.advance(Duration::from_secs(1));
        assert_eq!(time.current_time().unwrap().as_secs(), 86_401);

        time.release();
        assert!(time.now() >= before);
    }
}
