//! What is around the guard: the settings, the agent, and the names that the agent knows.

use std::net::SocketAddr;

use hawser_dns::sign;
use hawser_intercept::{
    guard::{Settings, Surroundings},
    plan::{Machine, Plan, Warning},
    view::{Sights, View},
};
use hawser_rt::{BoxError, Cidr};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::Wrong;
use crate::{
    cli::{Context, ask::Said},
    config::{
        Config,
        paths::Paths,
        problem::Problems,
        services,
        source::{self, Environment, Flag},
    },
    life::reload::not_joined,
    options,
};

/// Where settings come from, and where the agent is.
pub(in crate::cli) struct Around {
    paths: Paths,
    environment: Environment,
    flags: Vec<Flag>,
}

/// What the agent says at `/intercept`.
#[derive(Deserialize)]
struct Told {
    vips: Vec<String>,
}

/// What is to be loaded on this machine at this moment.
pub(in crate::cli) struct Planned {
    pub(in crate::cli) settings: Settings,
    pub(in crate::cli) machine: Machine,
    pub(in crate::cli) view: View,
    pub(in crate::cli) plan: Plan,
    pub(in crate::cli) warnings: Vec<Warning>,
}

impl Around {
    pub(in crate::cli) fn of(context: &Context) -> Self {
        Self {
            paths: context.paths.clone(),
            environment: context.environment.clone(),
            flags: context.flags.clone(),
        }
    }

    /// The settings, or all that is wrong with them.
    pub(super) fn read(&self) -> Result<Settings, Problems> {
        let sources = source::read(&self.paths, &self.environment, &self.flags);
        if !sources.joined && !services::suffice(&self.paths, &sources.values) {
            return Err(Problems(vec![not_joined()]));
        }
        let config = Config::load(&self.paths, &sources)?;
        Ok(options::intercept::settings(config))
    }

    /// All of it at once, for a command that ends.
    pub(in crate::cli) async fn planned(&self) -> Result<Planned, Wrong> {
        let settings = self.read()?;
        let vips = self.vips().await.unwrap_or_default();
        let view = View::look(&Sights::default(), vips)?;
        let machine = view.of((settings.machine)(), &settings.options);
        let (plan, warnings) = Plan::new(&settings.options, &machine);
        Ok(Planned { settings, machine, view, plan, warnings })
    }
}

impl Surroundings for Around {
    fn settings(&self) -> Result<Settings, BoxError> {
        Ok(self.read()?)
    }

    async fn answers(&self, address: SocketAddr) -> bool {
        sign::of_life(address).await.is_ok()
    }

    async fn vips(&self) -> Option<Vec<Cidr>> {
        let socket = self.paths.admin_socket();
        let asked = spawn_blocking(move || {
            let said = Said::ask(&socket, "/intercept").ok()?;
            if said.status != 200 {
                return None;
            }
            let told: Told = serde_json::from_str(&said.text().ok()?).ok()?;
            told.vips.iter().map(|vip| vip.parse().ok()).collect()
        });
        asked.await.ok().flatten()
    }
}

impl Planned {
    /// What the settings do not do, in words.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warnings = self.warnings.iter().map(ToString::to_string);
        warnings.chain(self.settings.unheeded.iter().cloned()).collect()
    }
}
