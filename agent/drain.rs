//! A machine that is being taken out of the mesh: istiod is told that it is not well, and so is
//! whoever asks `/healthz/ready`, while Envoy still serves what is open.
//!
//! It is begun when Envoy is to stop, and over when one has been started again.

use std::sync::Arc;

use hawser_health::Verdict;
use hawser_xds::Seen;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whether the machine is being taken out of the mesh. Clones are of the same machine.
#[derive(Debug, Clone)]
pub struct Drain {
    on: Arc<watch::Sender<bool>>,
    /// Whether istiod is told how the machine is, by a probe of the mesh's.
    probed: bool,
    seen: Option<Seen>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Whether the mesh hears of it, so that it is of use to wait.
    pub told: bool,
    /// Why not.
    pub reason: Option<String>,
}

impl Drain {
    /// Of a machine that is `probed` for the mesh or not, and that is told of on Envoy's stream if
    /// there is one.
    pub(crate) fn new(probed: bool, seen: Option<Seen>) -> Self {
        Self { on: Arc::new(watch::Sender::new(false)), probed, seen }
    }

    /// Begins, or goes on.
    pub(crate) fn begin(&self) -> Told {
        if !self.on.send_replace(true) {
            tracing::info!("the machine is taken out of the mesh");
        }
        let reason = match &self.seen {
            _ if !self.probed => Some(NOT_PROBED),
            Some(seen) if seen.standing().joined > 0 => None,
            Some(_) | None => Some(NOT_JOINED),
        };
        Told { told: reason.is_none(), reason: reason.map(str::to_owned) }
    }

    /// It is over.
    pub(crate) fn end(&self) {
        if self.on.send_replace(false) {
            tracing::info!("the machine is back in the mesh");
        }
    }

    /// Why the machine is not ready, while it is so.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.on.borrow().then_some(DRAINING)
    }

    /// What istiod is to hear: what the probe finds, but nothing good while this goes on.
    pub(crate) async fn join(
        self,
        mut probe: watch::Receiver<Verdict>,
        tell: watch::Sender<Verdict>,
        stop: CancellationToken,
    ) {
        let mut on = self.on.subscribe();
        let join = async {
            loop {
                let found = probe.borrow_and_update().clone();
                let draining = *on.borrow_and_update();
                let verdict = match found {
                    found if draining && self.probed => {
                        drop(found);
                        Some(Err(DRAINING.to_owned()))
                    }
                    found => found,
                };
                tell.send_if_modified(|told| {
                    let news = *told != verdict;
                    *told = verdict;
                    news
                });
                // Cancel safe: both only wait. One that nobody sends to any more never changes.
                tokio::select! {
                    Ok(()) = probe.changed() => {}
                    Ok(()) = on.changed() => {}
                    else => std::future::pending().await,
                }
            }
        };
        stop.run_until_cancelled(join).await;
    }
}

const DRAINING: &str = "this machine is being taken out of the mesh: its Envoy drains";
const NOT_PROBED: &str =
    "the mesh does not ask whether this machine is well: its WorkloadGroup has no probe";
const NOT_JOINED: &str = "no stream of Envoy's is joined to istiod";

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(told: &mut watch::Receiver<Verdict>, wanted: &Verdict) {
        drop(told.wait_for(|verdict| verdict == wanted).await.unwrap());
    }

    #[tokio::test]
    async fn a_machine_that_drains_is_not_well_whatever_its_probe_finds() {
        let drain = Drain::new(true, None);
        let (find, probe) = watch::channel(Some(Ok(())));
        let (tell, mut told) = watch::channel(None);
        let stop = CancellationToken::new();
        let joined = drain.clone().join(probe, tell, stop.clone());
        let test = async {
            heard(&mut told, &Some(Ok(()))).await;
            drain.begin();
            heard(&mut told, &Some(Err(DRAINING.to_owned()))).await;
            find.send_replace(Some(Err("out of order".to_owned())));
            drain.end();
            heard(&mut told, &Some(Err("out of order".to_owned()))).await;
            stop.cancel();
        };
        tokio::join!(joined, test);
    }

    #[tokio::test]
    async fn who_is_not_probed_is_not_told_of_and_it_is_said_why() {
        let told = Drain::new(false, Some(Seen::default())).begin();
        assert_eq!(told, Told { told: false, reason: Some(NOT_PROBED.to_owned()) });
        let told = Drain::new(true, Some(Seen::default())).begin();
        assert_eq!(told, Told { told: false, reason: Some(NOT_JOINED.to_owned()) });
    }
}
