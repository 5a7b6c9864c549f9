//! What is to be redirected, by what is seen of Envoy and of the agent. Pure: events and the time in,
//! the wanted state out.
//!
//! - Nothing is redirected before Envoy has listened.
//! - What happens while Envoy does not listen any more is a matter of policy ([`OnFailure`]).
//! - An Envoy that comes and goes is in trouble from its first end on, until it has stayed for a
//!   while: its coming back for a moment neither begins the time of `hold` anew nor sends programs
//!   back and forth.
//! - DNS depends on the agent alone, which answers or does not.

mod keep;
mod run;
mod tell;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hawser_rt::{BoxError, Cidr};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use run::{Parts, run};

use crate::gates::Gates;
use crate::plan::{Machine, Options};

/// What happens when Envoy does not listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Connections go past it, in and out.
    Open,
    /// They fail for a while; then those that go out go past it.
    Hold,
    /// They fail.
    Closed,
}

/// What the guard is told by the configuration.
#[derive(Clone)]
pub struct Settings {
    /// Whether anything is to be redirected at all.
    pub enabled: bool,
    /// What.
    pub options: Options,
    /// What happens when Envoy does not listen.
    pub on_failure: OnFailure,
    /// How long connections fail then, with [`OnFailure::Hold`].
    pub hold: Duration,
    /// What is not heeded.
    pub unheeded: Vec<String>,
    /// Looks up what the settings name: accounts, units, addresses. May take its time.
    pub machine: Arc<dyn Fn() -> Machine + Send + Sync>,
}

/// What is around the guard, and not its business to know how.
pub trait Surroundings: Send + Sync + 'static {
    /// Reads the settings anew. May take its time.
    fn settings(&self) -> Result<Settings, BoxError>;
    /// Whether the agent that listens there answers a question by itself; takes as long as that
    /// takes.
    fn answers(&self, address: SocketAddr) -> impl Future<Output = bool> + Send;
    /// Addresses of services that exist on this machine alone; none, if the agent does not say.
    fn vips(&self) -> impl Future<Output = Option<Vec<Cidr>>> + Send;
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("enabled", &self.enabled)
            .field("options", &self.options)
            .field("on_failure", &self.on_failure)
            .field("hold", &self.hold)
            .finish_non_exhaustive()
    }
}

/// How long Envoy has to stay before its trouble is over.
const STEADY: Duration = Duration::from_secs(10);
/// Questions without an answer before the agent is taken for dead.
const MISSES: u32 = 3;

/// What the guard knows.
#[derive(Debug)]
pub(crate) struct Core {
    on_failure: OnFailure,
    hold: Duration,
    envoy: Envoy,
    /// Since the first of the ends that were not followed by a steady while.
    trouble: Option<Trouble>,
    misses: u32,
    /// Whether the agent has answered and is not taken for dead.
    fresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Envoy {
    /// It has not listened yet.
    Unseen,
    Listens {
        since: Instant,
    },
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trouble {
    since: Instant,
    /// How often Envoy has gone.
    ends: u32,
    /// Whether programs were sent past it meanwhile.
    lifted: bool,
}

/// What the guard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Interception is switched off.
    Off,
    /// There is nothing that the settings would redirect.
    Idle,
    /// Nothing is redirected: Envoy has not listened yet.
    Waiting,
    /// Envoy listens, and what is planned is redirected.
    Redirecting,
    /// Envoy does not listen, and what is redirected is refused.
    Holding,
    /// Envoy does not listen, or not for long, and programs are sent past it.
    Lifted,
    /// A trial has ended without a confirmation: nothing is redirected.
    Reverted,
}

impl Core {
    /// Nothing was seen yet.
    pub(crate) fn new(on_failure: OnFailure, hold: Duration) -> Self {
        Self { on_failure, hold, envoy: Envoy::Unseen, trouble: None, misses: 0, fresh: false }
    }

    /// Goes on with what an earlier guard has left open: as if Envoy had gone this moment, so that
    /// neither its absence nor ours opens a hole.
    pub(crate) fn resume(&mut self, open: &Gates<bool>, now: Instant) {
        if open.outbound || open.inbound {
            self.envoy = Envoy::Gone;
            self.trouble = Some(Trouble { since: now, ends: 1, lifted: !open.outbound });
        }
        self.fresh = open.dns;
    }

    /// Other settings hold from now on.
    pub(crate) fn set(&mut self, on_failure: OnFailure, hold: Duration) {
        self.on_failure = on_failure;
        self.hold = hold;
    }

    /// Somebody has looked whether Envoy listens.
    pub(crate) fn envoy(&mut self, listens: bool, now: Instant) {
        match (self.envoy, listens) {
            (Envoy::Unseen, false) | (Envoy::Gone, false) => {}
            (Envoy::Unseen | Envoy::Gone, true) => self.envoy = Envoy::Listens { since: now },
            (Envoy::Listens { since }, true) => {
                if now >= since + STEADY {
                    self.trouble = None;
                }
            }
            (Envoy::Listens { .. }, false) => {
                self.envoy = Envoy::Gone;
                let trouble =
                    self.trouble.get_or_insert(Trouble { since: now, ends: 0, lifted: false });
                trouble.ends = trouble.ends.saturating_add(1);
            }
        }
        self.lift(now);
    }

    /// Notes that programs are sent past Envoy, which ends when it has stayed for a while; or at
    /// once, if this was its first end.
    fn lift(&mut self, now: Instant) {
        let Some(trouble) = &mut self.trouble else { return };
        match self.envoy {
            Envoy::Gone => {
                trouble.lifted |= match self.on_failure {
                    OnFailure::Open => true,
                    OnFailure::Hold => now >= trouble.since + self.hold,
                    OnFailure::Closed => false,
                };
            }
            Envoy::Listens { .. } if trouble.ends <= 1 => trouble.lifted = false,
            Envoy::Listens { .. } | Envoy::Unseen => {}
        }
        if self.on_failure == OnFailure::Closed {
            trouble.lifted = false;
        }
    }

    /// The agent was asked something, and has answered or not.
    pub(crate) fn agent(&mut self, answered: bool) {
        if answered {
            self.misses = 0;
            self.fresh = true;
        } else {
            self.misses = self.misses.saturating_add(1);
            self.fresh &= self.misses < MISSES;
        }
    }

    /// Which gates are to be open.
    pub(crate) fn gates(&self) -> Gates<bool> {
        let lifted = self.trouble.is_some_and(|trouble| trouble.lifted);
        let begun = self.envoy != Envoy::Unseen;
        Gates {
            outbound: begun && !lifted,
            // Nobody is to get round the mesh by killing Envoy.
            inbound: begun && !(lifted && self.on_failure == OnFailure::Open),
            dns: begun && self.fresh,
        }
    }

    /// In a word.
    pub(crate) fn phase(&self) -> Phase {
        match self.envoy {
            Envoy::Unseen => Phase::Waiting,
            _ if self.trouble.is_some_and(|trouble| trouble.lifted) => Phase::Lifted,
            Envoy::Listens { .. } => Phase::Redirecting,
            Envoy::Gone => Phase::Holding,
        }
    }

    /// Whether Envoy listens, as far as is known.
    pub(crate) fn listens(&self) -> bool {
        matches!(self.envoy, Envoy::Listens { .. })
    }
}

#[cfg(test)]
mod tests;
