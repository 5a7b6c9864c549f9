//! What the server has done, for status and metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hawser_rt::metrics::{Counter, Registry};

/// Counters of a server; whoever holds them reads while it runs.
#[derive(Debug, Default)]
pub struct Counts {
    streams: AtomicU64,
    answers: AtomicU64,
    accepted: AtomicU64,
    rejected: Counter,
    stale: Counter,
    unknown: AtomicU64,
    files: AtomicUsize,
    failures: Counter,
}

impl Counts {
    /// Counters that are metrics too, under the names that Istio's agent gave them.
    pub fn registered(metrics: &Registry) -> Self {
        let sds = [("type", "sds")];
        Self {
            rejected: metrics.counter(
                "istio_agent_pilot_total_xds_rejects",
                "Secrets that Envoy has refused.",
                &sds,
            ),
            stale: metrics.counter(
                "istio_agent_pilot_xds_expired_nonce",
                "Requests that spoke of an answer older than the last.",
                &sds,
            ),
            failures: metrics.counter(
                "istio_agent_num_file_secret_failures_total",
                "Certificate files that could not be used.",
                &[],
            ),
            ..Self::default()
        }
    }

    /// Streams that are open now.
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Answers sent, pushes included.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Answers that Envoy has taken: as long as there is none, it has no secret.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Answers that Envoy has refused.
    pub fn rejected(&self) -> u64 {
        self.rejected.value()
    }

    /// Requests that spoke of an answer older than the last, and were passed over.
    pub fn stale(&self) -> u64 {
        self.stale.value()
    }

    /// Names asked for that this agent does not serve.
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Secrets made of files that are wanted now.
    pub fn files(&self) -> usize {
        self.files.load(Ordering::Relaxed)
    }

    /// Times that the files of a secret turned out not to be fit to serve.
    pub fn file_failures(&self) -> u64 {
        self.failures.value()
    }

    pub(crate) fn opened(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reject(&self) {
        self.rejected.increment();
    }

    pub(crate) fn pass_over(&self) {
        self.stale.increment();
    }

    pub(crate) fn miss(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn keep(&self, files: usize) {
        self.files.store(files, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self) {
        self.failures.increment();
    }
}
