//! When to start again what has ended.

use std::time::Duration;

use hawser_rt::Backoff;

/// The ends since Envoy last stayed up.
#[derive(Debug)]
pub(super) struct Restarts {
    backoff: Backoff,
    in_a_row: u32,
}

impl Restarts {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, in_a_row: 0 }
    }

    /// One end more, and the wait it costs; `dice` is a random number in `0..1`.
    pub(super) fn wait(&mut self, dice: f64) -> Duration {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.backoff.next(dice)
    }

    /// How many ends there were.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Envoy has stayed up.
    pub(super) fn forget(&mut self) {
        self.in_a_row = 0;
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_envoy_has_stayed_up() {
        let second = Duration::from_secs(1);
        let mut restarts = Restarts::new(Backoff::new(second, 4 * second));

        let waits = [0; 4].map(|_| restarts.wait(1.0));
        assert_eq!(waits, [second, 2 * second, 4 * second, 4 * second]);
        assert_eq!(restarts.in_a_row(), 4);

        restarts.forget();
        assert_eq!((restarts.in_a_row(), restarts.wait(1.0)), (0, second));
    }
}
