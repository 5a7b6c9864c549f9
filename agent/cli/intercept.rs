//! `hawser intercept`: which traffic goes to Envoy, and that it does.

mod adopt;
mod apply;
pub(super) mod around;
mod changes;
pub(super) mod clear;
mod guard;
mod plan;
mod show;
mod words;

use clap::{Args, Subcommand};
use hawser_intercept::{Error, apply::Places, nft::Nft};
use hawser_rt::Chain;
use tokio::runtime::{Builder, Runtime};

use super::{Context, Exit, complain, complain_of};
use crate::config::problem::Problems;

/// Plan, load, show and remove the rules that send traffic to Envoy
///
/// hawser-intercept.service does it by itself: rules go in when Envoy listens, and come out when it
/// is stopped. What is here shows them, tries them, and takes them back. Needs root.
#[derive(Debug, Args)]
pub(super) struct Intercept {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Plan(plan::Plan),
    Diff(plan::Diff),
    Apply(apply::Apply),
    Confirm(apply::Confirm),
    Clear(clear::Clear),
    Show(show::Show),
    Adopt(adopt::Adopt),
    Guard(guard::Guard),
}

impl Intercept {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let done = match &self.command {
            Command::Plan(plan) => plan.run(context),
            Command::Diff(diff) => diff.run(context),
            Command::Apply(apply) => apply.run(context),
            Command::Confirm(confirm) => confirm.run(context),
            Command::Clear(clear) => clear.run(context),
            Command::Show(show) => show.run(context),
            Command::Adopt(adopt) => adopt.run(context),
            Command::Guard(guard) => guard.run(context),
        };
        match done {
            Ok(exit) => exit,
            Err(Wrong::Settings(problems)) => complain_of(&problems),
            Err(Wrong::Rules(error)) => {
                complain(format_args!("hawser: {}", Chain(&error)));
                match error {
                    Error::Guarded => Exit::NotNow,
                    error if error.is_final() => Exit::Config,
                    _ => Exit::Failed,
                }
            }
            Err(Wrong::Other(error)) => {
                complain(format_args!("hawser: {}", Chain(error.as_ref())));
                Exit::Failed
            }
        }
    }
}

/// Why a command could not be carried out.
pub(super) enum Wrong {
    Settings(Problems),
    Rules(Error),
    Other(anyhow::Error),
}

impl From<Problems> for Wrong {
    fn from(problems: Problems) -> Self {
        Self::Settings(problems)
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Rules(error)
    }
}

impl From<anyhow::Error> for Wrong {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

fn runtime() -> Result<Runtime, Wrong> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Wrong::Other(error.into()))
}

pub(super) fn places(context: &Context) -> Places {
    Places::new(context.paths.intercept_run())
}

pub(super) fn nft() -> Result<Nft, Error> {
    Nft::find(std::path::Path::new("/"))
}
