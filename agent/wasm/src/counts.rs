//! What is counted, under the names that dashboards of Istio's agent know.

use std::{sync::Arc, time::Duration};

use hawser_rt::metrics::{Counter, Histogram, Registry};
use parking_lot::Mutex;

#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) hit: Counter,
    pub(crate) miss: Counter,
    pub(crate) fetched: Counter,
    pub(crate) download_failed: Counter,
    pub(crate) manifest_failed: Counter,
    pub(crate) mismatched: Counter,
    pub(crate) older: Counter,
    pub(crate) converted: Counter,
    pub(crate) nothing_to_do: Counter,
    pub(crate) refused: Counter,
    pub(crate) replaced: Counter,
    pub(crate) took: Took,
}

/// How long conversions took.
#[derive(Debug, Clone)]
pub(crate) struct Took(Arc<Mutex<Histogram>>);

impl Took {
    fn new(metrics: &Registry) -> Self {
        let steps = (0..=DOUBLED).map(|power| (f64::from(1_u32 << power), 0)).collect();
        let spread = Arc::new(Mutex::new(Histogram { steps, ..Histogram::default() }));
        let help = "Milliseconds that rewriting a Wasm filter took, with the fetch of its module.";
        let shown = Arc::clone(&spread);
        metrics.histogram("istio_agent_wasm_config_conversion_duration", help, &[], move || {
            shown.lock().clone()
        });
        Self(spread)
    }

    /// One more.
    pub(crate) fn note(&self, took: Duration) {
        let took = took.as_secs_f64() * 1000.0;
        let mut spread = self.0.lock();
        for (end, within) in &mut spread.steps {
            *within += u64::from(took <= *end);
        }
        spread.count += 1;
        spread.sum += took;
    }
}

/// Steps of a millisecond to so many times the double, as Istio's agent has them.
const DOUBLED: u32 = 14;

impl Counts {
    pub(crate) fn new(metrics: &Registry) -> Self {
        let looks = |hit: &str| {
            let help = "Lookups of Wasm modules among those that are kept.";
            metrics.counter("istio_agent_wasm_cache_lookup_count", help, &[("hit", hit)])
        };
        let fetches = |result: &str| {
            let help = "Fetches of Wasm modules, by how they went.";
            metrics.counter("istio_agent_wasm_remote_fetch_count", help, &[("result", result)])
        };
        let conversions = |result: &str| {
            let help = "Wasm filters rewritten to local modules, by how that went.";
            metrics.counter("istio_agent_wasm_config_conversion_count", help, &[("result", result)])
        };
        Self {
            hit: looks("true"),
            miss: looks("false"),
            fetched: fetches("success"),
            download_failed: fetches("download_failure"),
            manifest_failed: fetches("manifest_failure"),
            mismatched: fetches("checksum_mismatched"),
            older: metrics.counter(
                "hawser_wasm_older_served_total",
                "Times an older module was used because a newer one could not be fetched.",
                &[],
            ),
            converted: conversions("success"),
            nothing_to_do: conversions("no_remote_load"),
            refused: conversions("unmarshal_failure"),
            replaced: conversions("fetch_failure"),
            took: Took::new(metrics),
        }
    }
}
