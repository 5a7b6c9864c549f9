//! A clock that a test moves: no time passes but by the hand.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::Woke;

/// Moves the clock that [`Clock::manual`](super::Clock::manual) gave it with. When all hands are
/// gone, the clock stands.
#[derive(Clone)]
pub struct Hand {
    simulation: Arc<Simulation>,
}

impl Hand {
    pub(super) fn new(simulation: Arc<Simulation>) -> Self {
        Self { simulation }
    }

    /// The time.
    pub fn now(&self) -> SystemTime {
        self.simulation.now()
    }

    /// Sets the clock, forwards or backwards, as an operator or NTP does: whoever waits is woken,
    /// with [`Woke::Due`] if the time has come and with [`Woke::Stepped`] if not.
    pub fn set(&self, to: SystemTime) {
        let mut state = self.simulation.state.lock();
        state.now = to;
        state.wake_due();
        while let Some((_, waiter)) = state.waiting.pop_first() {
            state.wake(waiter, Woke::Stepped);
        }
    }

    /// Lets time pass: whoever's time has come is woken, the others wait on.
    pub fn advance(&self, by: Duration) {
        let mut state = self.simulation.state.lock();
        state.now = state.now.checked_add(by).unwrap_or(state.now);
        state.wake_due();
    }

    /// Lets time pass until `to`; does nothing if that is over.
    pub fn advance_to(&self, to: SystemTime) {
        let mut state = self.simulation.state.lock();
        state.now = state.now.max(to);
        state.wake_due();
    }

    /// Returns when somebody waits and everybody who was woken has had a turn, with the earliest
    /// time that is waited for. Cancel safe.
    ///
    /// So `hand.advance_to(hand.awaited().await)` in a loop goes from event to event, and nobody
    /// is outrun who, on a runtime of one thread, waits again without an await in between. Of
    /// those who have more to do first, the test has to know when they are done.
    pub async fn awaited(&self) -> SystemTime {
        loop {
            let changed = self.simulation.changed.notified();
            tokio::pin!(changed);
            // Enlisted before looking: who comes in between is noticed.
            changed.as_mut().enable();
            if let Some(due) = self.simulation.state.lock().next() {
                return due;
            }
            changed.await;
        }
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand").field("now", &self.now()).finish()
    }
}

/// What a clock and its hands share.
#[derive(Debug)]
pub(super) struct Simulation {
    state: Mutex<State>,
    /// Somebody has come to wait, or gone.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    now: SystemTime,
    /// By due time, and by order of arrival among equals.
    waiting: BTreeMap<Place, Waiter>,
    /// How many were woken and have not had a turn since.
    woken: usize,
    arrivals: u64,
}

type Place = (SystemTime, u64);
type Waiter = oneshot::Sender<Woke>;

impl Simulation {
    pub(super) fn new(start: SystemTime) -> Self {
        let state = State { now: start, waiting: BTreeMap::new(), woken: 0, arrivals: 0 };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.state.lock().now
    }

    pub(super) async fn wait(&self, due: SystemTime) -> Woke {
        let (waiter, woken) = oneshot::channel();
        let place = {
            let mut state = self.state.lock();
            if state.now >= due {
                return Woke::Due;
            }
            state.arrivals += 1;
            let place = (due, state.arrivals);
            state.waiting.insert(place, waiter);
            place
        };
        let _leave = Leave { simulation: self, place };
        self.changed.notify_waiters();
        // Only a hand takes a waiter off the list while its wait lasts, and it always wakes it.
        woken.await.unwrap_or(Woke::Stepped)
    }
}

impl State {
    fn wake_due(&mut self) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= self.now
        {
            let waiter = first.remove();
            self.wake(waiter, Woke::Due);
        }
    }

    fn wake(&mut self, waiter: Waiter, why: Woke) {
        self.woken += 1;
        // The other end lives at least as long as its place is noted.
        waiter.send(why).ok();
    }

    fn next(&self) -> Option<SystemTime> {
        let (due, _) = self.waiting.keys().next()?;
        (self.woken == 0).then_some(*due)
    }
}

/// Takes a waiter off the books when its wait is over, or is given up.
struct Leave<'a> {
    simulation: &'a Simulation,
    place: Place,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.simulation.state.lock();
            if state.waiting.remove(&self.place).is_none() {
                state.woken = state.woken.saturating_sub(1);
            }
        }
        self.simulation.changed.notify_waiters();
    }
}
