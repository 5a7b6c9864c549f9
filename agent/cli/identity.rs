//! `hawser identity`: who this machine is, for how long, and what becomes of it.

mod export;
mod renew;
mod seal;
mod show;

use clap::{Args, Subcommand};

use super::{Context, Exit};

/// Show the certificate, renew it, hand it to other programs
#[derive(Debug, Args)]
pub(super) struct Identity {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(show::Show),
    Renew(renew::Renew),
    Export(export::Export),
    Seal(seal::Seal),
}

impl Identity {
    pub(super) fn run(self, context: &Context) -> Exit {
        match self.command {
            Command::Show(show) => show.run(context),
            Command::Renew(renew) => renew.run(context),
            Command::Export(export) => export.run(context),
            Command::Seal(seal) => seal.run(context),
        }
    }
}
