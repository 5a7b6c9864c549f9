//! The pair on its way to the disk, and what becomes of one that does not get there.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_pki::Identity;
use hawser_rt::Chain;
use tokio::{task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use crate::{
    AtRest, Error, Kept, Options,
    keep::{FILE, Keeper},
    trust::Trust,
};

/// Keeps the pair, if not at once then later.
#[derive(Debug)]
pub(super) struct Keeping {
    keeper: Keeper,
    /// When the pair is to be written again, if it could not be.
    pub(super) again: Option<SystemTime>,
}

impl Keeping {
    pub(super) fn new(options: &Options) -> Self {
        let (store, seal) = (Arc::clone(&options.store), options.seal.clone());
        Self { keeper: Keeper { store, seal, id: options.id.clone() }, again: None }
    }

    /// What was kept by an earlier run.
    pub(super) async fn load(&self) -> Option<Kept> {
        let keeper = self.keeper.clone();
        spawn_blocking(move || keeper.load()).await.ok()?
    }

    /// Writes the pair, and says how it is at rest. One that cannot be kept costs nothing now: it
    /// is the next start that will miss it.
    pub(super) async fn keep(
        &mut self,
        identity: Arc<Identity>,
        trust: Trust,
        now: SystemTime,
    ) -> AtRest {
        let keeper = self.keeper.clone();
        let keeping = spawn_blocking(move || keeper.keep(&identity, &trust));
        let kept = match timeout(PATIENCE, keeping).await {
            Ok(kept) => kept.map_err(|source| Error::GivenUp { source }).and_then(|kept| kept),
            // It may get there yet; nobody waits for it.
            Err(_) => Err(Error::SlowDisk { seconds: PATIENCE.as_secs() }),
        };
        let before = self.again.take();
        match kept {
            Ok(()) => {
                if before.is_some() {
                    info!(file = FILE, "certificate kept again");
                }
                if self.keeper.seal.is_some() { AtRest::Sealed } else { AtRest::Plain }
            }
            Err(error) => {
                if before.is_none() {
                    warn!(error = %Chain(&error), "certificate not kept, a restart will need a token");
                }
                self.again = Some(now + AGAIN);
                AtRest::NotKept(Chain(&error).to_string())
            }
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(300);
