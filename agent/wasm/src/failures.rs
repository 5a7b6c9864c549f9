//! What could not be had a moment ago: a registry that is dead is not asked at each push.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Error;

/// Failures, by what was asked for.
#[derive(Debug)]
pub(crate) struct Failures<K>(Mutex<HashMap<K, Failure>>);

#[derive(Debug)]
struct Failure {
    until: Instant,
    error: Arc<Error>,
}

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Failures<K> {
    /// Why it is not to be had, if that has been found out just now, in no less time.
    pub(crate) fn find(&self, key: &K, given: Duration) -> Option<Arc<Error>> {
        let failures = self.0.lock();
        let failure = failures.get(key).filter(|failure| failure.until > Instant::now())?;
        let in_time = !matches!(*failure.error, Error::Late { after, .. } if after < given);
        in_time.then(|| Arc::clone(&failure.error))
    }

    /// It could not be had.
    pub(crate) fn note(&self, key: K, error: &Arc<Error>) {
        // That is nothing that another address has done.
        if error.is_of_this_machine() {
            return;
        }
        let now = Instant::now();
        let mut failures = self.0.lock();
        failures.retain(|_, failure| failure.until > now);
        if failures.len() < MOST {
            failures.insert(key, Failure { until: now + REMEMBERED, error: Arc::clone(error) });
        }
    }
}

/// The next push asks again after that.
const REMEMBERED: Duration = Duration::from_secs(60);
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_had_is_known_for_a_minute_to_who_gives_it_no_more_time() {
        let failures = Failures::default();
        let second = Duration::from_secs(1);
        let late = Error::Late { url: "a".to_owned(), after: second };
        let missing = Error::Status { url: "b".to_owned(), status: 404 };
        let full = Error::NoRoom { bytes: 1, held: 1, room: 1 };
        let broken = Error::Abandoned { path: PathBuf::new() };
        for (key, error) in [("a", late), ("b", missing), ("c", full), ("d", broken)] {
            failures.note(key, &Arc::new(error));
        }
        let known = |given| ["a", "b", "c", "d"].map(|key| failures.find(&key, given).is_some());
        assert_eq!(known(second), [true, true, false, false]);
        assert_eq!(known(2 * second), [false, true, false, false]);

        advance(REMEMBERED).await;
        assert_eq!(known(second), [false; 4]);
        for number in 0..1000 {
            let missing = Error::Status { url: number.to_string(), status: 404 };
            failures.note(&*Box::leak(number.to_string().into_boxed_str()), &Arc::new(missing));
        }
        assert_eq!(failures.0.lock().len(), MOST);
    }
}
