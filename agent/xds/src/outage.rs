//! One line when istiod is lost and one when it is back, however often it is tried between.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use tracing::{debug, info, warn};

use crate::Failure;

/// Whether a flow has said that it is without istiod.
#[derive(Debug)]
pub(crate) struct Outage {
    flow: &'static str,
    said: AtomicBool,
}

impl Outage {
    pub(crate) fn new(flow: &'static str) -> Self {
        Self { flow, said: AtomicBool::new(false) }
    }

    /// An attempt has ended without a good message.
    pub(crate) fn failed(&self, error: &str) -> Failure {
        let flow = self.flow;
        if self.said.swap(true, Ordering::Relaxed) {
            debug!(flow, error, "still no stream to istiod");
        } else {
            warn!(flow, error, "no stream to istiod, retrying; what is known stays in use");
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
