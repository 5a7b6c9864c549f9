//! What the thread of the shelf is told to do, and the line to it.

use std::{
    collections::HashSet,
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::SystemTime,
};

use bytes::Bytes;
use hawser_wire::Flavour;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    Error,
    format::{Hash, Kind, Trailer},
    kept::Place,
    log::Said,
    write::Piece,
};

/// The line to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    orders: mpsc::Sender<Order>,
    /// KiB that may be on the line. The number of orders needs no limit: whoever gives one either
    /// waits for its answer or holds a part of this.
    pub(crate) room: Arc<Semaphore>,
}

impl Line {
    /// A line, and its other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, taken) = mpsc::channel();
        (Self { orders, room: Arc::new(Semaphore::new(ROOM)) }, taken)
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

/// What the thread is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    Book { key: String, reply: oneshot::Sender<Ticket> },
    Draft { draft: u64, of: Ticket, type_url: String, form: Form, fate: Fate },
    Write { draft: u64, pieces: Vec<Piece>, room: OwnedSemaphorePermit },
    GiveUp { draft: u64, error: Error },
    Forget { draft: u64 },
    Accept { draft: u64, said: Said },
    Wanted { of: Ticket, type_url: String, names: Option<HashSet<Hash>> },
    Plan { of: Ticket, type_url: String, which: Which, reply: oneshot::Sender<Option<Plan>> },
    Look { source: Source, places: Vec<Place>, bodies: bool, reply: oneshot::Sender<Vec<Item>> },
    Read { source: Source, parts: Vec<Part>, reply: oneshot::Sender<Option<Bytes>> },
    Close { reply: oneshot::Sender<()> },
}

/// Who has opened a book.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) key: Arc<str>,
    /// The newest writes.
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
    pub(crate) without: HashSet<Hash>,
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
pub(crate) const ROOM: usize = 1024;
