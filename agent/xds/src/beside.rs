//! What is made on this machine, beside what the mesh says.
//!
//! The two meet at Envoy's stream and nowhere before: each request is [split](Split), and what is made here
//! is told on the same stream between the messages of the mesh. So neither waits for the other, what is
//! kept and how old it is are the mesh's alone, and an edit reaches Envoy whether istiod is there or not.

mod split;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use hawser_wire::Flavour;
use tokio::sync::mpsc;

pub(crate) use self::split::{Parts, Split};
use crate::{
    local::Local,
    source::{BoxFuture, Lost, Opened, Source},
};

/// What the mesh says, and beside it what is made here. Names of resources never meet: those that are
/// made here begin with [`OURS`].
#[derive(Clone, Debug)]
pub struct Beside {
    mesh: Arc<dyn Source>,
    local: Local,
}

/// What every resource that is made on this machine begins with.
pub const OURS: &str = "hawser/";

impl Beside {
    /// Both together.
    pub fn new(mesh: Arc<dyn Source>, local: Local) -> Self {
        Self { mesh, local }
    }
}

impl Source for Beside {
    /// A stream to the mesh: what is made here is never asked for there.
    fn open(
        &self,
        flavour: Flavour,
        requests: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'_, Result<Opened, Lost>> {
        self.mesh.open(flavour, requests)
    }

    fn answers(&self) -> BoxFuture<'_, ()> {
        self.mesh.answers()
    }

    fn beside(&self) -> Option<&Local> {
        Some(&self.local)
    }
}
