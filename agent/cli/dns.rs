//! `hawser dns`: what a name resolves to on this machine, and why.

pub(super) mod explain;
pub(super) mod query;
mod resolved;
mod table;

use clap::{Args, Subcommand};

use super::{Context, Exit};

/// Ask for names, and see why they resolve as they do
#[derive(Debug, Args)]
pub(super) struct Dns {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Query(query::Query),
    Explain(explain::Explain),
    Table(table::Table),
    Resolved(resolved::Resolved),
}

impl Dns {
    pub(super) fn run(&self, context: &Context) -> Exit {
        match &self.command {
            Command::Query(query) => query.run(context),
            Command::Explain(explain) => explain.run(context),
            Command::Table(table) => table.run(context),
            Command::Resolved(resolved) => resolved.run(context),
        }
    }
}
