//! What the thread of the shelf is told to do, and the line to it.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hawser_wire::Flavour;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::{
    Error,
    format::{Hash, Kind, Trailer},
    hashes::Hashes,
    kept::Place,
    log::Said,
    write::Piece,
};

/// The line to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    orders: mpsc::Sender<Order>,
    pub(crate) space: Space,
}

/// Room on the line.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    /// KiB that may be on the line. The number of orders needs no limit: whoever gives one either
    /// waits for its answer or holds a part of this.
    room: Arc<Semaphore>,
    /// Somebody has waited in vain.
    stuck: Arc<AtomicBool>,
}

impl Line {
    /// A line, and its other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, taken) = mpsc::channel();
        let room = Arc::new(Semaphore::new(ROOM));
        (Self { orders, space: Space { room, stuck: Arc::default() } }, taken)
    }

    /// Tells the thread. After its end nothing is kept any more, and nobody minds.
    pub(crate) fn tell(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::trace!("the shelf is closed");
        }
    }

    /// Asks the thread; `None` after its end.
    pub(crate) async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(order(reply));
        answer.await.ok()
    }
}

impl Space {
    /// Room for so many bytes, which is waited for no longer than `patience`, and not at all if
    /// somebody has just waited in vain.
    pub(crate) async fn take(
        &self,
        bytes: usize,
        patience: Duration,
    ) -> Option<OwnedSemaphorePermit> {
        let need = u32::try_from(bytes.div_ceil(1024).clamp(1, ROOM)).ok()?;
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(need) {
            return Some(room);
        }
        if self.stuck.load(Ordering::Relaxed) {
            return None;
        }
        let room = timeout(patience, Arc::clone(&self.room).acquire_many_owned(need)).await;
        if room.is_err() {
            self.stuck.store(true, Ordering::Relaxed);
        }
        room.ok()?.ok()
    }

    /// Room was given back: when there is a good deal of it, it may be waited for again.
    pub(crate) fn given_back(&self) {
        if self.room.available_permits() >= ROOM / 2 {
            self.stuck.store(false, Ordering::Relaxed);
        }
    }
}

/// What the thread is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    Book {
        key: String,
        reply: oneshot::Sender<Ticket>,
    },
    Draft {
        draft: u64,
        of: Ticket,
        type_url: String,
        form: Form,
        fate: Fate,
    },
    Write {
        draft: u64,
        pieces: Vec<Piece>,
        room: OwnedSemaphorePermit,
    },
    /// It takes something away, if it is accepted.
    Removes {
        draft: u64,
    },
    GiveUp {
        draft: u64,
        error: Error,
    },
    Forget {
        draft: u64,
    },
    Accept {
        draft: u64,
        said: Said,
    },
    Wanted {
        of: Ticket,
        type_url: String,
        names: Option<Hashes>,
    },
    Plan {
        of: Ticket,
        type_url: String,
        which: Which,
        reply: oneshot::Sender<Option<Plan>>,
    },
    Look {
        source: Source,
        places: Vec<Place>,
        bodies: bool,
        reply: oneshot::Sender<Vec<Item>>,
    },
    Read {
        source: Source,
        parts: Vec<Part>,
        reply: oneshot::Sender<Option<Bytes>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// Who has opened a book.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) key: Arc<str>,
    /// The newest that is about writes.
    pub(crate) generation: u64,
    /// While one is about, the book stays open.
    pub(crate) alive: Arc<()>,
}

/// How a draft is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) flavour: Flavour,
    pub(crate) whole: bool,
}

/// Whether a draft is given up: then its resources need not be sent any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<AtomicBool>);

impl Fate {
    pub(crate) fn give_up(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Which resources are asked for.
#[derive(Debug)]
pub(crate) struct Which {
    pub(crate) names: Option<Vec<Hash>>,
    pub(crate) without: Hashes,
}

/// Where the resources are that were asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source: Source,
    pub(crate) places: Vec<Place>,
    pub(crate) version: String,
    pub(crate) at: SystemTime,
}

/// A log as it was: after a compaction the old file stays readable for who has it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) file: Option<Arc<File>>,
    pub(crate) salt: u64,
}

/// A resource that was looked at and is whole.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) trailer: Trailer,
}

/// A part of a message.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Made(Bytes),
    Stored { at: u64, length: u64 },
}

/// KiB that may be on the line.
const ROOM: usize = 1536;
