//! What the relay counts, under the names of Istio's agent where it has them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use hawser_rt::{
    metrics::{Counter, Gauge, Registry},
    uds::Peers,
};

use crate::Seen;

/// The counters of all streams.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Requests of Envoy's.
    pub(crate) requests: Counter,
    /// How large the largest response was that istiod began to send.
    largest: Gauge,
    /// Responses to Envoy.
    pub(crate) responses: Counter,
    /// Attempts at a stream to istiod that led to nothing.
    pub(crate) failures: Counter,
    /// Streams of istiod's that ended as they should, and in another way.
    pub(crate) istiod_ended: Terminations,
    /// Envoy's.
    pub(crate) envoy_ended: Terminations,
    /// Responses that were no messages.
    pub(crate) unreadable: Counter,
}

/// How streams end.
#[derive(Clone, Debug)]
pub(crate) struct Terminations {
    pub(crate) expected: Counter,
    pub(crate) broken: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry, peers: &Peers, seen: &Seen) -> Self {
        let counter = |name: &str, help: &str| registry.counter(name, help, &[]);
        let terminations = |name: &str, help: &str| Terminations {
            expected: registry.counter(name, help, &[("type", "cancelled")]),
            broken: registry.counter(name, help, &[("type", "error")]),
        };
        let refused = Arc::clone(&peers.refused);
        #[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
        let refused = move || Some(refused.load(Ordering::Relaxed) as f64);
        let help = "Connections to the socket that were refused.";
        registry.computed("hawser_xds_refused_peers", help, &[], refused);
        let seen = seen.clone();
        let help =
            "Age of the configuration that Envoy runs on while nobody confirms it; 0: fresh.";
        registry.computed("hawser_xds_stale_seconds", help, &[], move || {
            let stale = seen.watch().borrow().stale.as_ref().map(|stale| stale.of);
            let age = stale.map(|of| SystemTime::now().duration_since(of).unwrap_or_default());
            Some(age.map_or(0.0, |age| age.as_secs_f64()))
        });
        Self {
            largest: registry.gauge(
                "istio_agent_pilot_xds_recv_max",
                "The largest response of istiod's, in bytes.",
                &[],
            ),
            requests: counter(
                "istio_agent_xds_proxy_requests",
                "The total number of Xds Proxy Requests.",
            ),
            responses: counter(
                "istio_agent_xds_proxy_responses",
                "The total number of Xds Proxy Responses.",
            ),
            failures: counter(
                "istio_agent_istiod_connection_failures",
                "The total number of connection failures to Istiod.",
            ),
            istiod_ended: terminations(
                "istio_agent_istiod_connection_terminations",
                "The total number of connection terminations to Istiod.",
            ),
            envoy_ended: terminations(
                "istio_agent_envoy_connection_terminations",
                "The total number of connection terminations from Envoy.",
            ),
            unreadable: counter(
                "hawser_xds_unreadable_responses",
                "Responses that were no discovery messages and did not pass.",
            ),
        }
    }

    /// istiod begins to send a response.
    pub(crate) fn begins(&self, length: usize) {
        #[expect(clippy::cast_precision_loss, reason = "no response is that large")]
        let length = length as f64;
        if self.largest.value().is_none_or(|largest| largest < length) {
            self.largest.set(length);
        }
    }
}
