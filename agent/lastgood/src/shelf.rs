//! All books of this machine.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, thread, time::SystemTime};

use hawser_rt::{Clock, metrics::Registry};
use tokio::sync::watch;
use tracing::error;

use crate::{
    Book,
    keeper::Keeper,
    order::{Line, Order, Ticket},
};

/// How a shelf is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the books are; made if it is not there.
    pub directory: PathBuf,
    /// Bytes that a book may have, unless it is a program's (see [`crate::PROGRAM`]): all of those may
    /// have half of it, and all others one and a half, be they open or not.
    pub limit: u64,
    /// How many accepted versions of a type are kept, the present one included.
    pub versions: usize,
    /// Bytes that the versions before the present one may take, for each type.
    pub versions_bytes: u64,
    /// What says when something was accepted.
    pub clock: Clock,
    /// Where the counters are shown.
    pub metrics: Registry,
}

/// All books of this machine. Clones are the same shelf.
#[derive(Clone, Debug)]
pub struct Shelf {
    line: Line,
    clock: Clock,
    standing: watch::Receiver<Standing>,
}

impl Shelf {
    /// Opens the shelf. What is wrong with it is told once, and by [`Self::standing`].
    #[expect(clippy::needless_pass_by_value, reason = "whoever opens it has no more use for them")]
    pub fn open(options: Options) -> Self {
        let (line, orders) = Line::new();
        let space = line.space.clone();
        let (tell, standing) = watch::channel(Standing::default());
        let clock = options.clock.clone();
        let keeper = Keeper::new(&options, space, tell.clone());
        let spawned =
            thread::Builder::new().name("lastgood".to_owned()).spawn(move || keeper.run(&orders));
        if let Err(error) = spawned {
            error!(%error, "no thread for the last-good store, nothing is kept");
            tell.send_modify(|standing| standing.trouble = Some(format!("start thread: {error}")));
        }
        Self { line, clock, standing }
    }

    /// Opens the book of that key. While it is held an older one of the same key writes nothing.
    pub async fn book(&self, key: &str) -> Book {
        let told = self.line.ask(|reply| Order::Book { key: key.to_owned(), reply }).await;
        let ticket =
            told.unwrap_or_else(|| Ticket { key: key.into(), generation: 0, alive: Arc::new(()) });
        Book::new(self.line.clone(), ticket, self.clock.clone())
    }

    /// How the shelf is.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Brings everything to the disk and ends; books that are still held keep nothing any more.
    pub async fn closed(self) {
        self.line.ask(|reply| Order::Close { reply }).await;
    }
}

/// How a shelf is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why what is accepted now does not reach the disk.
    pub trouble: Option<String>,
    /// Bytes of all open books.
    pub bytes: u64,
    /// What the open books hold: by key, then by type.
    pub books: BTreeMap<String, BTreeMap<String, Kept>>,
}

/// What is kept of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How many resources.
    pub resources: usize,
    /// The version that came with the last of them.
    pub version: String,
    /// When that was accepted.
    pub at: SystemTime,
    /// Whether Envoy has taken something since that could not be written.
    pub behind: bool,
}
