//! Readiness: a set of gates, each opened by value.
//!
//! A gate dropped unopened stays closed for ever. It has no `Drop` on purpose: a task that fails
//! on its way up must not report ready on its way out.

mod settled;

use std::{fmt, sync::Arc};

use tokio::sync::watch;

pub use settled::{Settled, Unless};

/// The gates of a process, which is ready once all of them are open.
#[derive(Clone)]
pub struct Gates {
    all: Arc<watch::Sender<Vec<Entry>>>,
}

/// Tells of gates that open.
pub struct Changes(watch::Receiver<Vec<Entry>>);

impl Changes {
    /// Returns when a gate has opened since the last call; never when all of them are gone. Cancel
    /// safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

/// The right to open one gate, once.
#[must_use = "a gate that is dropped stays closed"]
pub struct Gate {
    index: usize,
    name: &'static str,
    all: Arc<watch::Sender<Vec<Entry>>>,
}

struct Entry {
    name: &'static str,
    open: bool,
}

impl Gates {
    /// Adds a closed gate. All gates are to be made before anybody waits for them.
    pub fn gate(&self, name: &'static str) -> Gate {
        let mut index = 0;
        self.all.send_modify(|gates| {
            index = gates.len();
            gates.push(Entry { name, open: false });
        });
        Gate { index, name, all: Arc::clone(&self.all) }
    }

    /// The names of the gates still closed, in the order they were made.
    pub fn closed(&self) -> Vec<&'static str> {
        self.all.borrow().iter().filter(|gate| !gate.open).map(|gate| gate.name).collect()
    }

    /// Returns when every gate is open. Cancel safe.
    pub async fn all_open(&self) {
        self.open_besides(&[]).await;
    }

    /// Returns when every gate is open but for those with these names. Cancel safe.
    pub async fn open_besides(&self, spared: &[&str]) {
        let mut gates = self.all.subscribe();
        let open = |gate: &Entry| gate.open || spared.contains(&gate.name);
        // The sender lives in `self`, so the channel cannot close while this waits.
        drop(gates.wait_for(|gates| gates.iter().all(open)).await);
    }

    /// What returns at each change of a gate.
    pub fn changes(&self) -> Changes {
        Changes(self.all.subscribe())
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self { all: Arc::new(watch::Sender::new(Vec::new())) }
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gates").field("closed", &self.closed()).finish()
    }
}

impl Gate {
    /// Opens the gate for good.
    pub fn open(self) {
        self.all.send_modify(|gates| {
            if let Some(gate) = gates.get_mut(self.index) {
                gate.open = true;
            }
        });
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[test]
    fn the_last_gate_makes_ready() {
        let gates = Gates::default();
        let (sds, dns) = (gates.gate("sds"), gates.gate("dns"));
        let mut all_open = pin!(gates.all_open());
        let mut context = Context::from_waker(Waker::noop());

        assert_eq!(gates.closed(), ["sds", "dns"]);
        assert!(all_open.as_mut().poll(&mut context).is_pending());

        sds.open();
        assert_eq!(gates.closed(), ["dns"]);
        assert!(all_open.as_mut().poll(&mut context).is_pending());

        dns.open();
        assert!(gates.closed().is_empty());
        assert_eq!(all_open.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[tokio::test]
    async fn a_gate_opened_elsewhere_wakes_whoever_waits() {
        let gates = Gates::default();
        let gate = gates.gate("xds");
        let waiting = gates.clone();

        tokio::join!(waiting.all_open(), async move { gate.open() });

        assert!(gates.closed().is_empty());
    }

    #[tokio::test]
    async fn some_gates_need_not_be_waited_for() {
        let gates = Gates::default();
        let (identity, dns) = (gates.gate("identity"), gates.gate("dns"));
        let mut changes = gates.changes();

        tokio::join!(gates.open_besides(&["identity"]), changes.next(), async { dns.open() });

        assert_eq!(gates.closed(), ["identity"]);
        drop(identity);
    }

    #[test]
    fn a_gate_dropped_unopened_stays_closed() {
        let gates = Gates::default();

        drop(gates.gate("identity"));

        assert_eq!(gates.closed(), ["identity"]);
        assert_eq!(format!("{gates:?}"), r#"Gates { closed: ["identity"] }"#);
    }

    #[tokio::test]
    async fn without_gates_there_is_nothing_to_wait_for() {
        Gates::default().all_open().await;
    }
}
