//! A machine that is being taken out of the mesh: istiod is told that it is not well, and so is
//! whoever asks `/healthz/ready`, while Envoy still serves what is open. Where there is no istiod, the
//! latter is who has to hear of it: the load balancer before a group of machines.
//!
//! It is begun when Envoy is to stop, and over when one has been started again.

use std::sync::Arc;

use hawser_xds::Seen;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::services::Standing;

/// Whether the machine is being taken out of the mesh. Clones are of the same machine.
#[derive(Debug, Clone)]
pub struct Drain {
    on: Arc<watch::Sender<bool>>,
    /// Whether istiod is told how the machine is, by a probe of the mesh's.
    probed: bool,
    seen: Option<Seen>,
    inbound: Vec<u16>,
    services: Option<watch::Receiver<Arc<Standing>>>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Whether the mesh hears of it, so that it is of use to wait.
    pub told: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The same as a word.
    #[serde(default)]
    pub deaf: Option<Deaf>,
    /// Where Envoy takes what comes in.
    #[serde(default)]
    pub inbound: Vec<u16>,
}

/// Why the mesh does not hear how the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Deaf {
    /// It does not ask.
    #[error(
        "the mesh does not ask whether this machine is well: its WorkloadGroup has no probe, and hawser.toml has none"
    )]
    NotProbed,
    /// It cannot be told at the moment, and will be.
    #[error("no stream of Envoy's is joined to istiod")]
    NotJoined,
    /// There is none that could: who asks whether this machine is ready is told.
    #[error("there is no istiod: a load balancer is told that asks /healthz/ready")]
    Alone,
}

impl Drain {
    /// Of a machine that is `probed` for the mesh or not, and that is told of on Envoy's stream if
    /// there is one. What comes in goes to the ports `inbound`.
    pub(crate) fn new(probed: bool, seen: Option<Seen>, inbound: Vec<u16>) -> Self {
        Self { on: Arc::new(watch::Sender::new(false)), probed, seen, inbound, services: None }
    }

    /// The same of a machine that has a file of services.
    pub(crate) fn with(mut self, services: Option<watch::Receiver<Arc<Standing>>>) -> Self {
        self.services = services;
        self
    }

    /// Begins, or goes on.
    pub(crate) fn begin(&self) -> Told {
        if !self.on.send_replace(true) {
            let message_id = hawser_audit::DRAINED.id;
            tracing::info!(message_id, "the machine is taken out of the mesh");
        }
        let deaf = self.deaf();
        let reason = deaf.map(|deaf| deaf.to_string());
        let told = deaf.is_none_or(|deaf| deaf == Deaf::Alone);
        Told { told, reason, deaf, inbound: self.ports() }
    }

    /// Where Envoy takes what others send here. One that calls for others takes it where its own
    /// programs would call.
    fn ports(&self) -> Vec<u16> {
        let mut ports = self.inbound.clone();
        let Some(standing) = self.services.as_ref().map(|services| services.borrow().clone())
        else {
            return ports;
        };
        let services = &standing.services;
        ports.extend(services.inbound.iter().map(|inbound| inbound.port.get()));
        if services.forwarder.is_some() {
            ports.extend(services.services.iter().map(|service| standing.port(service)));
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn is_alone(&self) -> bool {
        self.services.as_ref().is_some_and(|services| !services.borrow().beside)
    }

    /// Why the mesh would not hear how the machine is.
    pub(crate) fn deaf(&self) -> Option<Deaf> {
        match &self.seen {
            _ if self.is_alone() => Some(Deaf::Alone),
            _ if !self.probed => Some(Deaf::NotProbed),
            Some(seen) if seen.standing().joined > 0 => None,
            Some(_) | None => Some(Deaf::NotJoined),
        }
    }

    /// Whether the mesh asks how the machine is.
    pub(crate) fn is_probed(&self) -> bool {
        self.probed
    }

    /// Tells when it begins and when it is over.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.on.subscribe()
    }

    /// It is over.
    pub(crate) fn end(&self) {
        if self.on.send_replace(false) {
            let message_id = hawser_audit::UNDRAINED.id;
            tracing::info!(message_id, "the machine is back in the mesh");
        }
    }

    /// Why the machine is not ready, while it is so.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.on.borrow().then_some(DRAINING)
    }
}

const DRAINING: &str = "this machine is being taken out of the mesh: its Envoy drains";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_probed_is_not_told_of_and_it_is_said_why() {
        for (probed, deaf) in [(false, Deaf::NotProbed), (true, Deaf::NotJoined)] {
            let drain = Drain::new(probed, Some(Seen::default()), vec![15006]);
            assert_eq!(drain.reason(), None);
            let reason = Some(deaf.to_string());
            assert_eq!(
                drain.begin(),
                Told { told: false, reason, deaf: Some(deaf), inbound: vec![15006] }
            );
            assert_eq!(drain.reason(), Some(DRAINING));
            drain.end();
            assert_eq!(drain.reason(), None);
        }
    }
}
