//! What the flow is given: what to obtain, from where, where to keep it, whom to tell.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hawser_pki::{Bundle, Identity, KeyKind, SpiffeId};
use hawser_rt::{Clock, Command, metrics::Registry};
use hawser_state::Store;
use tokio::sync::{Notify, watch};

use crate::{Progress, SealKey};

/// What is to be obtained, and where it is kept.
#[derive(Debug)]
pub struct Options {
    /// Who this machine is.
    pub id: SpiffeId,
    /// Whom a pair has to name that somebody else brings, since istiod refuses another. None where
    /// there is no istiod: the machine is whom its pair names.
    pub expected: Option<SpiffeId>,
    /// Where the pair comes from.
    pub source: Source,
    /// The kind of key to make for the authority.
    pub key: KeyKind,
    /// The lifetime to ask the authority for.
    pub ttl: Duration,
    /// When the authority is asked again.
    pub renewal: Renewal,
    /// The signer, where the authority has several; may be empty.
    pub signer: String,
    /// Where the pair survives a restart.
    pub store: Arc<Store>,
    /// What the pair is sealed with there; plain without.
    pub seal: Option<SealKey>,
    /// The time of certificates.
    pub clock: Clock,
    /// Where it is counted.
    pub metrics: Registry,
}

/// Where the pair comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// istiod's certificate authority.
    Authority,
    /// A role of Vault's.
    Vault {
        /// The role, and the way to it.
        role: Box<hawser_vault::Options>,
        /// The roots of the mesh, if they do not come with the answers.
        roots: Option<PathBuf>,
    },
    /// Files that somebody else keeps up to date.
    Files(Files),
    /// A program that prints a pair whenever it is run.
    Command(Printed),
    /// Another program of this machine, as SPIRE's agent.
    Provider {
        /// Where it serves secrets.
        socket: PathBuf,
        /// What is spoken there.
        speaks: Speaks,
    },
    /// A provider while one answers, else the authority.
    Auto {
        /// Where a provider would serve secrets.
        socket: PathBuf,
        /// What would be spoken there.
        speaks: Speaks,
    },
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speaks {
    /// SDS, or the Workload API where that is not known.
    #[default]
    Either,
    /// Envoy's SDS.
    Sds,
    /// The SPIFFE Workload API.
    Workload,
}

/// A program, and the roots if it prints none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Printed {
    pub command: Command,
    pub roots: Option<PathBuf>,
}

/// A key, its certificates, and the roots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Files {
    pub key: PathBuf,
    pub chain: PathBuf,
    pub roots: PathBuf,
    /// Whether one hand writes all three.
    pub hand: Hand,
}

/// Who writes the roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// Whoever writes the pair: one that does not lead to them is half of a change.
    Same,
    /// Somebody else: they are the mesh's, and the pair may be of another authority.
    Other,
}

/// How much of a certificate's life is left when the next one is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Renewal {
    /// The part, from 0 to 1.
    pub ratio: f64,
    /// By how much of the whole life it is more or less at random.
    pub jitter: f64,
}

/// Where the outcome goes.
#[derive(Debug)]
pub struct Outlets {
    /// The pair that is served.
    pub identity: watch::Sender<Option<Arc<Identity>>>,
    /// The roots that came with it, and those that did so lately.
    pub learned: watch::Sender<Option<Arc<Bundle>>>,
    /// The same and those that the mesh pushes: whom to trust.
    pub trusted: watch::Sender<Option<Arc<Bundle>>>,
    /// How it goes.
    pub progress: watch::Sender<Progress>,
}

/// What comes in on the way.
#[derive(Debug)]
pub struct Inlets {
    /// The roots that the mesh pushes.
    pub mesh_trust: watch::Receiver<Option<Arc<Bundle>>>,
    /// Somebody wants another certificate now.
    pub renew: Arc<Notify>,
}

impl Default for Renewal {
    /// Half of the life, give or take a hundredth.
    fn default() -> Self {
        Self { ratio: 0.5, jitter: 0.01 }
    }
}
