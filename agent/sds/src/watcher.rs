//! Watches files in a task of its own: a look at a file system that hangs must not hold up a new
//! identity.

use std::path::PathBuf;

use hawser_rt::files::Watch;
use tokio::{sync::watch, task::JoinSet};

/// Watches one list of files, and another one when it is told to.
#[derive(Debug)]
pub(crate) struct Watcher {
    list: watch::Sender<List>,
    sight: watch::Receiver<Sight>,
    /// Changes that were told.
    told: u64,
    _task: JoinSet<()>,
}

#[derive(Clone, Debug, Default)]
struct List {
    number: u64,
    paths: Vec<PathBuf>,
}

/// What the task has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    /// Number of the list that is watched.
    list: u64,
    changes: u64,
}

impl Watcher {
    /// Watches nothing yet.
    pub(crate) fn start() -> Self {
        let (list, lists) = watch::channel(List::default());
        let (seen, sight) = watch::channel(Sight::default());
        let mut task = JoinSet::new();
        task.spawn(look_out(lists, seen));
        Self { list, sight, told: 0, _task: task }
    }

    /// Watches these and no others, from the moment that [`Self::is_watching`].
    pub(crate) fn set(&self, paths: Vec<PathBuf>) {
        self.list.send_modify(|list| *list = List { number: list.number + 1, paths });
    }

    /// Whether no change of the last list is missed: what is read from now on is up to date, or
    /// a change is told.
    pub(crate) fn is_watching(&self) -> bool {
        self.sight.borrow().list == self.list.borrow().number
    }

    /// Returns when it is watching another list, or with true when files may have changed.
    /// Cancel-safe.
    pub(crate) async fn look(&mut self) -> bool {
        if self.sight.changed().await.is_err() {
            // The task ends with this and not before.
            std::future::pending::<()>().await;
        }
        let Sight { changes, .. } = *self.sight.borrow_and_update();
        std::mem::replace(&mut self.told, changes) != changes
    }
}

async fn look_out(mut lists: watch::Receiver<List>, seen: watch::Sender<Sight>) {
    let mut files = Watch::new([]);
    loop {
        // Cancel-safe: both are.
        tokio::select! {
            changed = lists.changed() => {
                if changed.is_err() {
                    return;
                }
                let List { number, paths } = lists.borrow_and_update().clone();
                files.set(paths);
                seen.send_modify(|sight| sight.list = number);
            }
            () = files.changed() => seen.send_modify(|sight| sight.changes += 1),
        }
    }
}
