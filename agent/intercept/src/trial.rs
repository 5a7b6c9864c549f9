//! A trial: gates that the kernel shuts by itself unless somebody confirms in time that the machine
//! can still be reached.
//!
//! The file says when it ends, by the clock that the kernel's own timers go by; gates carry what is
//! left of it. So it ends whoever is alive then, and a guard that starts meanwhile goes on with it.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::apply::Places;

/// Whether there is a trial, and how it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trial {
    /// There is none.
    #[default]
    None,
    /// It ends at this time of [`now`].
    Until(Duration),
    /// It has ended, and nobody has confirmed it.
    Over,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// Milliseconds of the monotonic clock.
    until: u64,
}

/// What is shown by the monotonic clock, which is the same for all processes.
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

impl Trial {
    /// What the file says now.
    pub fn read(places: &Places) -> Result<Self, Error> {
        let path = places.trial();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let kept: Kept = serde_json::from_str(&text)
            .map_err(|error| Error::Malformed { path, reason: error.to_string() })?;
        Ok(Self::at(Duration::from_millis(kept.until), now()))
    }

    fn at(until: Duration, now: Duration) -> Self {
        if until > now { Self::Until(until) } else { Self::Over }
    }

    /// Begins one that ends after this time.
    pub fn begin(places: &Places, time: Duration) -> Result<Self, Error> {
        let until = now() + time;
        let kept = Kept { until: u64::try_from(until.as_millis()).unwrap_or(u64::MAX) };
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        drop(places.alone()?);
        hawser_state::write_file(&places.trial(), 0o644, &text)
            .map_err(|source| Error::Remember { source })?;
        Ok(Self::at(until, now()))
    }

    /// Ends it, whichever way.
    pub fn forget(places: &Places) -> Result<(), Error> {
        let path = places.trial();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::Forget { path, source: error })
            }
            _ => Ok(()),
        }
    }

    /// How long a gate may be open that nothing else limits.
    pub fn left(self, now: Duration) -> Option<Duration> {
        match self {
            Self::None => Some(Duration::MAX),
            Self::Until(until) => until.checked_sub(now).filter(|left| !left.is_zero()),
            Self::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_on_until_its_time_and_over_then() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(dir.path().join("run"));
        assert_eq!(Trial::read(&places).unwrap(), Trial::None);

        let begun = Trial::begin(&places, Duration::from_secs(3600)).unwrap();
        let Trial::Until(_) = begun else { panic!("{begun:?}") };
        let Trial::Until(_) = Trial::read(&places).unwrap() else { panic!("another") };

        Trial::begin(&places, Duration::ZERO).unwrap();
        assert_eq!(Trial::read(&places).unwrap(), Trial::Over);
        Trial::forget(&places).unwrap();
        Trial::forget(&places).unwrap();
        assert_eq!(Trial::read(&places).unwrap(), Trial::None);
    }

    #[test]
    fn what_is_left_is_what_gates_get() {
        let second = Duration::from_secs(1);
        assert_eq!(Trial::None.left(second), Some(Duration::MAX));
        assert_eq!(Trial::Until(second * 3).left(second), Some(second * 2));
        assert_eq!(Trial::Until(second).left(second), None);
        assert_eq!(Trial::Over.left(second), None);
    }
}
