//! What the server has done, for status and metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counters of a server; whoever holds them reads while it runs.
#[derive(Debug, Default)]
pub struct Counts {
    streams: AtomicU64,
    answers: AtomicU64,
    accepted: AtomicU64,
    rejected: AtomicU64,
    stale: AtomicU64,
    unknown: AtomicU64,
    files: AtomicUsize,
    failures: AtomicU64,
}

impl Counts {
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
        self.rejected.load(Ordering::Relaxed)
    }

    /// Requests that spoke of an answer older than the last, and were passed over.
    pub fn stale(&self) -> u64 {
        self.stale.load(Ordering::Relaxed)
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
        self.failures.load(Ordering::Relaxed)
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
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn pass_over(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn miss(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn keep(&self, files: usize) {
        self.files.store(files, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}
