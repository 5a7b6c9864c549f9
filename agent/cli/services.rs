//! `hawser services`: the file of services, with an agent or without one.

mod check;
mod import;
mod schema;
mod show;
mod trial;

use clap::{Args, Subcommand};

use super::{Context, Exit};
use crate::{check::ServicesFile, config::source};

/// Show, check and make the file of services
#[derive(Debug, Args)]
pub(super) struct Services {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(show::Show),
    Check(check::Check),
    Import(import::Import),
    Schema(schema::Schema),
}

impl Services {
    pub(super) fn run(&self, context: &Context) -> Exit {
        match &self.command {
            Command::Show(show) => show.run(context),
            Command::Check(check) => check.run(context),
            Command::Import(import) => import.run(context),
            Command::Schema(schema) => schema.run(context),
        }
    }
}

/// The file that the settings name.
fn file(context: &Context) -> ServicesFile {
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    ServicesFile::said(&context.paths, &sources.values)
}
