//! What goes wrong with the disk: told once, and shown until it is over.

use std::{collections::BTreeMap, time::Duration};

use hawser_rt::{
    Chain, Throttle,
    metrics::{Counter, Gauge, Registry},
};
use tracing::{debug, info, warn};

use crate::Error;

/// What goes wrong, by key and type.
#[derive(Debug)]
pub(super) struct Trouble {
    present: BTreeMap<(String, String), String>,
    throttle: Throttle,
    written: Counter,
    given_up: Counter,
    bytes: Gauge,
}

impl Trouble {
    pub(super) fn new(metrics: &Registry) -> Self {
        let counter = |name, help| metrics.counter(name, help, &[]);
        Self {
            present: BTreeMap::new(),
            throttle: Throttle::new(PERIOD),
            written: counter(
                "hawser_lastgood_written_bytes_total",
                "Bytes of configuration written to the last-good store.",
            ),
            given_up: counter(
                "hawser_lastgood_given_up_total",
                "Responses that could not be kept in the last-good store.",
            ),
            bytes: metrics.gauge(
                "hawser_lastgood_bytes",
                "Bytes that the last-good store has on disk.",
                &[],
            ),
        }
    }

    /// Notes how something went; whether that is new.
    pub(super) fn note(&mut self, (key, type_url): (&str, &str), error: Option<Error>) -> bool {
        error.is_some_and(|error| self.begin((key.to_owned(), type_url.to_owned()), &error))
    }

    /// A response was kept: what was wrong is over.
    pub(super) fn over(&mut self, (key, type_url): (&str, &str)) {
        let before = self.present.len();
        for other in ["", type_url] {
            self.present.remove(&(key.to_owned(), other.to_owned()));
        }
        self.present.remove(&(String::new(), String::new()));
        if before > 0 && self.present.is_empty() {
            info!("configuration is kept on disk again");
        }
    }

    /// A draft was given up; whether what is wrong is new.
    pub(super) fn given_up(&mut self, (key, type_url): (&str, &str), error: &Error) -> bool {
        self.given_up.increment();
        self.begin((key.to_owned(), type_url.to_owned()), error)
    }

    /// A book is not open any more.
    pub(super) fn forget(&mut self, key: &str) {
        self.present.retain(|(other, _), _| other != key);
    }

    pub(super) fn said(&self) -> Option<String> {
        self.present.values().next().cloned()
    }

    pub(super) fn written(&self, bytes: u64) {
        self.written.add(bytes);
    }

    pub(super) fn size(&self, bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "gauges are floating")]
        self.bytes.set(bytes as f64);
    }

    fn begin(&mut self, place: (String, String), error: &Error) -> bool {
        let text = Chain(error).to_string();
        if self.present.get(&place) == Some(&text) {
            return false;
        }
        let type_url = &place.1;
        match self.throttle.allow() {
            Some(suppressed) => warn!(
                error = %text, type_url, suppressed,
                "configuration is not kept on disk; what was kept before stays"
            ),
            None => debug!(error = %text, type_url, "configuration is not kept on disk"),
        }
        self.present.insert(place, text);
        true
    }
}

const PERIOD: Duration = Duration::from_secs(60);
