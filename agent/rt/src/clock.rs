//! Time on the wall, for what is due on a date: certificates expire by it, through suspends and
//! corrections.
//!
//! A timer of the runtime counts the seconds that the machine was awake, and knows nothing of a
//! clock that was put right; so whoever has to act at a date waits here. Tests bring a clock that
//! only moves by their [`Hand`].

mod hand;
mod system;

use std::{sync::Arc, time::SystemTime};

pub use self::hand::Hand;
use self::hand::Simulation;

/// The clock on the wall: the system's by default.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    simulation: Option<Arc<Simulation>>,
}

/// Why [`Clock::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woke {
    /// The time has come.
    Due,
    /// The clock was set, or the machine was asleep, and the time has not come: whatever was
    /// reckoned from the old time is to be reckoned again.
    Stepped,
}

impl Clock {
    /// A clock that stands at `start` until its hand moves it.
    pub fn manual(start: SystemTime) -> (Self, Hand) {
        let simulation = Arc::new(Simulation::new(start));
        (Self { simulation: Some(Arc::clone(&simulation)) }, Hand::new(simulation))
    }

    /// The time.
    pub fn now(&self) -> SystemTime {
        self.simulation.as_ref().map_or_else(SystemTime::now, |simulation| simulation.now())
    }

    /// Returns when the clock has reached `due`, by whatever way, or at once when it was set.
    /// Cancel safe. Needs a tokio runtime.
    ///
    /// A clock that was set *before* the call is not reported: take the time, reckon and wait
    /// without an await between them.
    pub async fn wait(&self, due: SystemTime) -> Woke {
        match &self.simulation {
            Some(simulation) => simulation.wait(due).await,
            None => system::wait(due).await,
        }
    }
}

#[cfg(test)]
mod tests;
