//! One at a time of what is the same, with one outcome for all who wait for it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

type Flight<V> = tokio::sync::Mutex<Option<V>>;

/// What is under way, by what it is about.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    under_way: Mutex<HashMap<K, Weak<Flight<V>>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<K: Hash + Eq, V: Clone> Flights<K, V> {
    /// The outcome of `fly`, or of another one under the same key that is under way. When the
    /// caller that flies gives up, the next one flies.
    pub(crate) async fn join(&self, key: K, fly: impl Future<Output = V>) -> V {
        let flight = self.flight(key);
        let mut landed = flight.lock().await;
        if let Some(outcome) = &*landed {
            return outcome.clone();
        }
        let outcome = fly.await;
        *landed = Some(outcome.clone());
        outcome
    }

    /// The flight that others are on, or a new one. It lasts as long as somebody is on it: who
    /// comes later flies anew.
    fn flight(&self, key: K) -> Arc<Flight<V>> {
        let mut under_way = self.under_way.lock();
        under_way.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = under_way.get(&key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(Flight::new(None));
        under_way.insert(key, Arc::downgrade(&flight));
        flight
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        pin::pin,
        sync::atomic::{AtomicU32, Ordering},
    };

    use tokio::{join, sync::Notify};

    use super::*;

    #[tokio::test]
    async fn who_comes_while_it_is_under_way_gets_the_same() {
        let (flights, flown, land) = (Flights::default(), AtomicU32::new(0), Notify::new());
        let fly = || async {
            land.notified().await;
            flown.fetch_add(1, Ordering::Relaxed)
        };

        let (one, two, three, ()) = join!(
            flights.join("a", fly()),
            flights.join("a", fly()),
            flights.join("b", ready(7)),
            async { land.notify_one() },
        );

        assert_eq!((one, two, three), (0, 0, 7));
        assert_eq!(flights.join("a", ready(8)).await, 8);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_it_to_the_next() {
        let flights = Flights::default();
        {
            let mut given_up = pin!(flights.join("a", pending()));
            assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut given_up).await.is_err());
        }

        assert_eq!(flights.join("a", ready(1)).await, 1);
        assert!(flights.under_way.lock().len() <= 1);
    }
}
