//! The last names, on disk: a machine that starts without istiod answers them.
//!
//! They are read before anything is answered, and written beside the threads that answer: at most
//! every ten seconds, and at the end. What is true at any time:
//!
//! - The file is whole, or it is set aside: names of a damaged one, or of another workload, are not
//!   answered.
//! - A disk that fails costs a line in the journal, and nobody an answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hawser_proto::Names;
use hawser_rt::Chain;
use hawser_state::{BODY_LIMIT, Error, Store, decode};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Where names are kept, and whose.
#[derive(Clone, Debug)]
pub struct Place {
    /// A directory that belongs to this process alone.
    pub directory: PathBuf,
    /// The SPIFFE id of the workload: others see other names.
    pub owner: String,
}

/// Names that were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What istiod said.
    pub names: Names,
    /// When it did.
    pub since: SystemTime,
    /// The SPIFFE id of the workload to which it did.
    pub owner: String,
}

/// Keeps names.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// None if it cannot be written to.
    store: Option<Store>,
    owner: String,
}

/// Reads what is kept in `directory`, and leaves everything there as it is; for people who look.
pub fn look(directory: &Path) -> Option<Kept> {
    let path = directory.join(FILE);
    let small = fs::metadata(&path).is_ok_and(|found| found.len() <= LARGEST_FILE);
    let file = small.then(|| fs::read(&path).ok()).flatten()?;
    Kept::read(decode(&file, VERSION).ok()?)
}

/// Writes what comes, until `stop`; then what was not written yet.
pub(crate) async fn keep(
    keeper: Keeper,
    mut names: watch::Receiver<Option<Names>>,
    stop: CancellationToken,
) {
    let keeper = Arc::new(keeper);
    // What is in the file, as far as it is known here, and what is to be.
    let (mut written, mut latest): (Option<Names>, Option<Kept>) = (None, None);
    let mut due = None;
    let mut troubled = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Ok(()) = names.changed() => {
                let Some(names) = names.borrow_and_update().clone() else { continue };
                // The same once more is only younger: that can wait for the end. The first are kept
                // at once: there may be none yet, and an agent can be killed at any moment.
                if due.is_none() && written.as_ref() != Some(&names) {
                    let wait = if written.is_some() { BETWEEN } else { Duration::ZERO };
                    due = Some(Instant::now() + wait);
                }
                let owner = keeper.owner.clone();
                latest = Some(Kept { names, since: SystemTime::now(), owner });
            }
            () = at(due) => {
                due = None;
                let Some(latest) = latest.take() else { continue };
                written = Some(latest.names.clone());
                troubled = write(&keeper, latest, troubled).await;
            }
        }
    }
    // Those that came in the same moment.
    let last = {
        let last = names.borrow_and_update();
        last.has_changed().then(|| last.clone()).flatten()
    };
    if let Some(names) = last {
        let owner = keeper.owner.clone();
        latest = Some(Kept { names, since: SystemTime::now(), owner });
    }
    if let Some(latest) = latest {
        write(&keeper, latest, troubled).await;
    }
}

/// Says whether it failed.
async fn write(keeper: &Arc<Keeper>, kept: Kept, troubled: bool) -> bool {
    let keeper = Arc::clone(keeper);
    let names = kept.names.len();
    match spawn_blocking(move || keeper.write(&kept)).await {
        Ok(Ok(())) if troubled => info!(names, "names of the mesh are kept again"),
        Ok(Ok(())) => debug!(names, "names of the mesh kept"),
        Ok(Err(error)) if troubled => debug!(error = %Chain(&error), "names of the mesh not kept"),
        Ok(Err(error)) => {
            warn!(error = %Chain(&error), "names of the mesh are not kept for the next start");
            return true;
        }
        Err(ended) => crate::proxy::hand_on(ended),
    }
    false
}

impl Keeper {
    /// Opens the place, and reads what is kept there.
    pub(crate) fn open(place: Place) -> (Self, Option<Kept>) {
        let Place { directory, owner } = place;
        let store = Store::open(&directory).map_err(|error| {
            warn!(error = %Chain(&error), "names of the mesh are not kept for the next start");
        });
        let keeper = Self { store: store.ok(), owner };
        let kept = keeper.read().unwrap_or_else(|error| {
            warn!(error = %Chain(&error), "names of the last run cannot be read");
            None
        });
        (keeper, kept)
    }

    fn read(&self) -> Result<Option<Kept>, Error> {
        let Some(store) = &self.store else { return Ok(None) };
        let Some(body) = store.read(FILE, VERSION)? else { return Ok(None) };
        let reason = match Kept::read(&body) {
            None => "it holds no names".to_owned(),
            Some(kept) if kept.owner == self.owner => return Ok(Some(kept)),
            Some(kept) => format!("it belongs to {}", kept.owner),
        };
        store.set_aside(FILE, &reason).map(|_aside| None)
    }

    fn write(&self, kept: &Kept) -> Result<(), Error> {
        let Some(store) = &self.store else { return Ok(()) };
        store.write(FILE, VERSION, &kept.body())
    }
}

impl Kept {
    /// ```text
    /// seconds since 1970 8, big endian | length of the owner 2, big endian | owner | name table
    /// ```
    fn body(&self) -> Vec<u8> {
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let owner = self.owner.as_bytes();
        let owner = owner.get(..usize::from(u16::MAX)).unwrap_or(owner);
        let length = u16::try_from(owner.len()).unwrap_or(u16::MAX);
        [&since.to_be_bytes()[..], &length.to_be_bytes(), owner, self.names.message()].concat()
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (since, rest) = body.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (owner, names) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let since = Duration::from_secs(u64::from_be_bytes(*since));
        Some(Self {
            names: Names::new(Bytes::copy_from_slice(names)).ok()?,
            since: UNIX_EPOCH.checked_add(since)?,
            owner: str::from_utf8(owner).ok()?.to_owned(),
        })
    }
}

/// Returns at that time, or never.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

const FILE: &str = "names";
const VERSION: u16 = 1;
/// More is not read: what [`Store`] writes, with room for what it puts in front.
const LARGEST_FILE: u64 = BODY_LIMIT as u64 + 4096;
/// A push may come with every pod; a disk need not.
const BETWEEN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
