//! Named tasks with one way to stop.
//!
//! The first that ends stops all: a process of which a part has died is restarted whole by the
//! service manager, and a ghost helps nobody. The others have a grace time, then they are
//! aborted.

use std::{
    collections::{HashMap, HashSet},
    fmt, io, thread,
    time::Duration,
};

use tokio::{
    runtime::Builder,
    sync::oneshot,
    task::{Id, JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{BoxError, Chain, Pulse};

/// The long-running tasks of a process.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<Result<(), BoxError>>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
    /// Those that go on until all others have ended, and what tells them.
    lasting: HashSet<Id>,
    last: CancellationToken,
    /// Those that have a thread of their own.
    pulse: Pulse,
}

/// Why and how [`Tasks::run`] came to its end.
#[derive(Debug)]
pub enum Stopped {
    /// Asked to stop, and every task did in time.
    Clean,
    /// A task ended though nobody had asked it to; without an error if it just returned.
    Died {
        /// The name it was spawned under.
        task: &'static str,
        /// What it ended with.
        error: Option<BoxError>,
    },
    /// Asked to stop, but this many tasks had to be aborted.
    Late(usize),
}

struct Ended {
    task: &'static str,
    error: Option<BoxError>,
}

impl Tasks {
    /// Starts a task. `name` is what logs and [`Stopped`] call it; the token tells it to stop.
    pub fn spawn<F, Fut, E>(&mut self, name: &'static str, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let task = task(self.stop.clone());
        let handle = self.running.spawn(async move { task.await.map_err(BoxError::from) });
        self.names.insert(handle.id(), name);
    }

    /// Starts a task on a thread and a runtime of its own: much passes through it from socket to
    /// socket, which between threads costs more than all that is done with it, and which nobody
    /// else is to wait behind.
    pub fn spawn_apart<F, Fut, E>(&mut self, name: &'static str, task: F) -> io::Result<()>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.apart(name, self.stop.clone(), task).map(drop)
    }

    /// The same for one that others on the machine cannot do without: it is told to stop when
    /// everybody else has ended, however long they took.
    pub fn spawn_lasting<F, Fut, E>(&mut self, name: &'static str, task: F) -> io::Result<()>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let id = self.apart(name, self.last.clone(), task)?;
        self.lasting.insert(id);
        Ok(())
    }

    fn apart<F, Fut, E>(
        &mut self,
        name: &'static str,
        stop: CancellationToken,
        task: F,
    ) -> io::Result<Id>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (tell, ended) = oneshot::channel();
        let member = self.pulse.member(name);
        let run = move || {
            // Ends with the runtime.
            drop(runtime.spawn(member.answer()));
            let ended = runtime.block_on(task(stop));
            // Nobody waits for it when the process is over.
            drop(tell.send(ended.map_err(BoxError::from)));
        };
        thread::Builder::new().name(name.to_owned()).spawn(run)?;
        let ended = async { ended.await.unwrap_or_else(|_| Err("its thread has panicked".into())) };
        let id = self.running.spawn(ended).id();
        self.names.insert(id, name);
        Ok(id)
    }

    /// What asks those that have a thread of their own whether it turns; given once, when all of
    /// them are there.
    pub fn pulse(&mut self) -> Pulse {
        std::mem::take(&mut self.pulse)
    }

    /// Runs until `shutdown` resolves or a task ends, then stops the others within `grace`.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>, grace: Duration) -> Stopped {
        let first = tokio::select! {
            // A task that ends because of the same signal is part of the stop, not its cause.
            biased;
            () = shutdown => None,
            Some(ended) = self.next() => Some(ended),
        };
        self.stop.cancel();
        let others = timeout(grace, self.drain(|tasks| tasks.running.len() > tasks.lasting.len()));
        let others = others.await;
        self.last.cancel();
        let last = timeout(LAST_LIMIT, self.drain(|tasks| !tasks.lasting.is_empty())).await;
        let late = match (others, last) {
            (Ok(()), Ok(())) => 0,
            _ => self.abort().await,
        };
        match (first, late) {
            (Some(Ended { task, error }), _) => Stopped::Died { task, error },
            (None, 0) => Stopped::Clean,
            (None, tasks) => Stopped::Late(tasks),
        }
    }

    /// Cancel safe, as `join_next_with_id` is.
    async fn next(&mut self) -> Option<Ended> {
        let joined = self.running.join_next_with_id().await?;
        let id = match &joined {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let task = self.names.remove(&id).unwrap_or("unnamed");
        self.lasting.remove(&id);
        let error = match joined {
            Ok((_, result)) => result.err(),
            Err(error) => Some(why(error)),
        };
        Some(Ended { task, error })
    }

    /// Waits while there are more. Only the first end can be returned, so later errors are logged.
    async fn drain(&mut self, more: impl Fn(&Self) -> bool) {
        while more(self)
            && let Some(Ended { task, error }) = self.next().await
        {
            if let Some(error) = error {
                warn!(task, error = %Chain(&*error), "task failed while stopping");
            }
        }
    }

    async fn abort(&mut self) -> usize {
        let late = self.running.len();
        for task in self.names.values() {
            warn!(task, "task did not stop in time");
        }
        self.running.abort_all();
        // An abort takes effect at the next await; one that never comes must not hold the exit.
        drop(
            timeout(ABORT_LIMIT, async { while self.running.join_next().await.is_some() {} }).await,
        );
        late
    }
}

/// What a task that did not return ended with: its panic's message.
fn why(error: JoinError) -> BoxError {
    let panic = match error.try_into_panic() {
        Ok(panic) => panic,
        Err(cancelled) => return cancelled.into(),
    };
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    format!("panicked: {message}").into()
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("stopped"),
            Self::Died { task, error: None } => write!(f, "{task} ended"),
            Self::Died { task, error: Some(error) } => {
                write!(f, "{task} failed: {}", Chain(&**error))
            }
            Self::Late(1) => f.write_str("1 task did not stop in time"),
            Self::Late(tasks) => write!(f, "{tasks} tasks did not stop in time"),
        }
    }
}

const ABORT_LIMIT: Duration = Duration::from_secs(1);
/// For those who are told last.
const LAST_LIMIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
