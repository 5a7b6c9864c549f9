//! Requests on their way to whoever answers them.
//!
//! Their number has no bound, because bounding both directions would deadlock them; their bytes
//! have one. What a newer request says as well is not sent twice.

use std::collections::VecDeque;

use bytes::Bytes;

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) type_url: String,
    pub(super) message: Bytes,
    /// Whether nothing is lost when a newer one of its type goes in its place.
    pub(super) replaceable: bool,
    /// Whether it says all that such an older one does.
    pub(super) replaces: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Queue {
    /// The bytes of all that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// At the end, or in the place of an older one that it makes needless.
    pub(super) fn push(&mut self, request: Waiting) {
        self.bytes += cost(&request);
        let newest = self.waiting.iter_mut().rev().take(LOOKED_AT);
        for older in newest.filter(|older| older.type_url == request.type_url) {
            if !older.replaceable {
                break;
            }
            if request.replaces {
                self.bytes -= cost(older);
                *older = request;
                return;
            }
        }
        self.waiting.push_back(request);
    }

    /// Before all others.
    pub(super) fn push_front(&mut self, request: Waiting) {
        self.bytes += cost(&request);
        self.waiting.push_front(request);
    }

    /// Takes back those of a type.
    pub(super) fn remove(&mut self, type_url: &str) {
        self.waiting.retain(|request| request.type_url != type_url);
        self.bytes = self.waiting.iter().map(cost).sum();
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let request = self.waiting.pop_front()?;
        self.bytes -= cost(&request);
        Some(request)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn cost(request: &Waiting) -> usize {
    request.message.len() + request.type_url.len() + OVERHEAD
}

/// Of state of the world, no more types than this can wait.
const LOOKED_AT: usize = 64;
/// What a request costs besides its bytes.
const OVERHEAD: usize = 96;
