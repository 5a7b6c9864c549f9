//! The signals that ask a daemon to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

pub use crate::Error;

/// Handlers of SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over both signals for the rest of the process' life. Needs a tokio runtime.
    pub fn install() -> Result<Self, Error> {
        let handler =
            |kind, name| signal(kind).map_err(|source| Error::Signal { signal: name, source });
        Ok(Self {
            terminate: handler(SignalKind::terminate(), TERMINATE)?,
            interrupt: handler(SignalKind::interrupt(), INTERRUPT)?,
        })
    }

    /// Returns the name of the signal that asked for a stop. Cancel safe; call again to learn of
    /// the next one.
    pub async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => TERMINATE,
            _ = self.interrupt.recv() => INTERRUPT,
        }
    }
}

const TERMINATE: &str = "SIGTERM";
const INTERRUPT: &str = "SIGINT";

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    /// One test for both: signals belong to the whole process.
    #[tokio::test]
    async fn either_signal_asks_for_a_stop() {
        let mut signals = Signals::install().unwrap();

        raise(Signal::SIGTERM).unwrap();
        assert_eq!(signals.stop().await, "SIGTERM");

        raise(Signal::SIGINT).unwrap();
        assert_eq!(signals.stop().await, "SIGINT");
    }
}
