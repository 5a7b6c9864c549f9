//! From settings to one ruleset.
//!
//! Pure: what is wanted ([`Options`]) and what the machine is like ([`Machine`]) make a [`Plan`];
//! what is to be loaded is a text, and what somebody should know of it are [`Warning`]s.

mod fate;
mod incoming;
mod machine;
mod options;
mod outgoing;
mod questions;
mod routes;
mod ruleset;
mod settled;
mod steering;
mod zones;

use std::fmt;

use self::{outgoing::Sets, ruleset::Ruleset, settled::Settled};

pub use self::{
    fate::{Call, Fate, fate},
    machine::{Cgroup, Machine},
    options::{
        Dns, Envoy, Inbound, Interfaces, Mode, Options, Outbound, Ports, Scope, Spared, Steer,
        Taken,
    },
    routes::{Family, LocalRoute, PASSTHROUGH_V6, PREFERENCE, PROTOCOL, PolicyRule, Routes},
};

/// Our table, of family `inet`. Nothing else is ever touched.
pub const TABLE: &str = "hawser";

/// What lets connections through to where they are redirected: a set of protocols in our table,
/// `type inet_proto; flags timeout;`. Empty, it is shut: nothing new is redirected, and what has
/// been is carried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// What goes out, to Envoy.
    Outbound,
    /// What comes in, to Envoy.
    Inbound,
    /// Questions, to the agent.
    Dns,
}

impl Gate {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Outbound, Self::Inbound, Self::Dns];

    /// The name of its set.
    pub const fn set(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Dns => "dns",
        }
    }

    /// What is in the set when it is open.
    pub const fn protocols(self) -> &'static [&'static str] {
        match self {
            Self::Outbound | Self::Inbound => &["tcp"],
            Self::Dns => &["tcp", "udp"],
        }
    }
}

/// What is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    ruleset: String,
    routes: Routes,
    gates: Vec<Gate>,
}

/// Something in the settings that does not do what it seems to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The setting.
    pub setting: &'static str,
    /// What happens instead, or what to do.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.text)
    }
}

impl Plan {
    /// What these settings mean on this machine.
    pub fn new(options: &Options, machine: &Machine) -> (Self, Vec<Warning>) {
        let mut warnings = Vec::new();
        let settled = Settled::new(options, machine, &mut warnings);
        let mut table = Ruleset::default();
        let sets = Sets::new(&mut table, &settled);
        zones::add(&mut table, &settled, &sets);
        steering::add(&mut table, &settled);
        incoming::add(&mut table, &settled);
        outgoing::add(&mut table, &settled, &sets);
        let plan = Self {
            ruleset: table.to_string(),
            routes: steering::routes(&settled),
            gates: settled.gates(),
        };
        (plan, warnings)
    }

    /// The whole input of `nft -f -`: replaces the table in one transaction, with every gate shut.
    /// What else is to happen in that transaction is appended to it.
    pub fn ruleset(&self) -> &str {
        &self.ruleset
    }

    /// What it needs beside the table.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The gates that let something through when they are open; with none of them, nothing is
    /// redirected and no table is needed.
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }
}
