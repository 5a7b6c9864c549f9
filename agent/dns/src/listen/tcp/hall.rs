//! Where connections wait: how many there may be, and who leaves when it is full.
//!
//! Whoever has asked and waits for an answer stays. Of the others the one that has been idle for
//! longest gives way to the next who comes, so that those who hold connections and say nothing
//! cannot keep out those who ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::task::Id;
use tokio_util::sync::CancellationToken;

/// Connections of one listener; more wait in the kernel.
pub(super) const CONNECTIONS: usize = 64;
/// Connections from one address that is not this machine's.
pub(super) const OF_ONE: usize = 16;
/// Waits for an answer, or is told to leave already.
const BUSY: u64 = u64::MAX;

#[derive(Default)]
pub(super) struct Hall {
    seats: HashMap<Id, Arc<Seat>>,
    /// A seat has become idle.
    idle: Arc<Notify>,
    /// Grows: what happened first has the smaller number.
    moments: Arc<AtomicU64>,
}

/// One connection, as others see it.
pub(super) struct Seat {
    source: IpAddr,
    /// When it became idle.
    since: AtomicU64,
    idle: Arc<Notify>,
    moments: Arc<AtomicU64>,
    leave: CancellationToken,
}

impl Hall {
    pub(super) fn seat(&self, source: IpAddr) -> Arc<Seat> {
        let (idle, moments) = (Arc::clone(&self.idle), Arc::clone(&self.moments));
        let since = AtomicU64::new(moments.fetch_add(1, Ordering::Relaxed));
        Arc::new(Seat { source, since, idle, moments, leave: CancellationToken::new() })
    }

    pub(super) fn take(&mut self, id: Id, seat: Arc<Seat>) {
        self.seats.insert(id, seat);
    }

    pub(super) fn free(&mut self, id: Id) {
        self.seats.remove(&id);
    }

    /// Whether another may come: there is room, or somebody to make it.
    pub(super) fn is_open(&self) -> bool {
        let taken = self.seats.len();
        taken < CONNECTIONS || taken == CONNECTIONS && self.idlest(|_| true).is_some()
    }

    /// Waits until somebody may have become idle. Cancel safe.
    pub(super) async fn idle(&self) {
        self.idle.notified().await;
    }

    /// Has those leave that must for somebody from `source` to come, who is on this machine or not;
    /// gives whether he may, and how
    /// many are sent away.
    pub(super) fn admit(&self, source: IpAddr, near: bool) -> (bool, u64) {
        let his = |seat: &Seat| seat.source == source;
        if !near && self.seats.values().filter(|seat| his(seat)).count() >= OF_ONE {
            return (self.send_away(his), 1);
        }
        if self.seats.len() >= CONNECTIONS {
            return (self.send_away(|_| true), 1);
        }
        (true, 0)
    }

    fn send_away(&self, of: impl Fn(&Seat) -> bool) -> bool {
        let idlest = self.idlest(of);
        if let Some(seat) = idlest {
            seat.since.store(BUSY, Ordering::Relaxed);
            seat.leave.cancel();
        }
        idlest.is_some()
    }

    fn idlest(&self, of: impl Fn(&Seat) -> bool) -> Option<&Seat> {
        let since = |seat: &&Seat| seat.since.load(Ordering::Relaxed);
        let seats = self.seats.values().map(|seat| &**seat).filter(|seat| of(seat));
        seats.filter(|seat| since(seat) != BUSY).min_by_key(since)
    }
}

impl Seat {
    /// Says whether an answer is waited for.
    pub(super) fn is_busy(&self, busy: bool) {
        if busy {
            self.since.store(BUSY, Ordering::Relaxed);
        } else if self.since.load(Ordering::Relaxed) == BUSY {
            self.stirs();
        }
    }

    /// Something was heard: others have been idle for longer.
    pub(super) fn stirs(&self) {
        if self.leave.is_cancelled() {
            return;
        }
        let now = self.moments.fetch_add(1, Ordering::Relaxed);
        if self.since.swap(now, Ordering::Relaxed) == BUSY {
            self.idle.notify_one();
        }
    }

    /// Waits until it is told to leave. Cancel safe.
    pub(super) async fn leave(&self) {
        self.leave.cancelled().await;
    }
}
