//! One line when istiod is lost and one when it is back, however often it is tried between, and
//! however often it comes and goes: an outage that follows another one soon is told when it lasts.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use hawser_rt::Throttle;
use tracing::{debug, info, warn};

use crate::Failure;

/// Whether a flow has said that it is without istiod.
#[derive(Debug)]
pub(crate) struct Outage {
    flow: &'static str,
    said: AtomicBool,
    told: Throttle,
}

impl Outage {
    pub(crate) fn new(flow: &'static str) -> Self {
        Self { flow, said: AtomicBool::new(false), told: Throttle::new(PERIOD) }
    }

    /// An attempt has ended without a good message.
    pub(crate) fn failed(&self, error: &str) -> Failure {
        let flow = self.flow;
        let silent = !self.said.load(Ordering::Relaxed);
        match silent.then(|| self.told.allow()).flatten() {
            Some(suppressed) => {
                self.said.store(true, Ordering::Relaxed);
                warn!(
                    flow,
                    error, suppressed, "no stream to istiod, retrying; what is known stays in use"
                );
            }
            None => debug!(flow, error, "still no stream to istiod"),
        }
        Failure { at: SystemTime::now(), error: error.to_owned() }
    }

    /// A good message has come.
    pub(crate) fn over(&self) {
        if self.said.swap(false, Ordering::Relaxed) {
            info!(flow = self.flow, "istiod is back");
        }
    }
}

const PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_istiod_that_comes_and_goes_is_told_of_once_a_minute_and_a_lasting_outage_each() {
        let outage = Outage::new("test");
        let said = || outage.said.load(Ordering::Relaxed);
        let mut told = 0;
        for _ in 0..90 {
            outage.failed("refused");
            told += usize::from(said());
            outage.over();
            assert!(!said());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, 2);

        outage.failed("refused");
        assert!(!said(), "too soon");
        tokio::time::advance(PERIOD).await;
        outage.failed("refused");
        assert!(said(), "it lasts");
    }
}
