//! `hawser xds`: the configuration that Envoy took.

mod changes;
mod show;

use clap::{Args, Subcommand};

use super::{Context, Exit};

/// Show the configuration that Envoy took
#[derive(Debug, Args)]
pub(super) struct Xds {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(show::Show),
}

impl Xds {
    pub(super) fn run(self, context: &Context) -> Exit {
        match self.command {
            Command::Show(show) => show.run(context),
        }
    }
}
