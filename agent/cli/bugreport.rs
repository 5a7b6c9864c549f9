//! `hawser bugreport`: all that helps somebody else to help, without secrets.
//!
//! Each piece is had or not by itself: what cannot be had is a line with the reason. Nothing reaches a
//! piece but through [`piece::Content`], which takes out what is secret.

mod agent;
mod configuration;
mod envoy;
mod machine;
mod pack;
mod piece;
mod program;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use clap::Args;
use hawser_rt::Chain;
use tokio::runtime::Builder;

use self::{pack::Pack, piece::Piece};
use super::{Context, Exit, complain, say};

/// Pack what somebody needs who is to help, without secrets
///
/// One .tar.gz, readable by its owner alone: configuration with the source of each value, status,
/// doctor, the last events, versions, units and their journal, rules, resolvers, addresses and routes,
/// Envoy's configuration, clusters and statistics, and what is in our directories by name and size.
/// What is in it is listed first, and at a terminal it is asked whether it is to be written.
///
/// Keys, tokens, passwords, private headers and access logs are left out; rather too much is than
/// too little. Names and addresses of the mesh are in it: give it to whom you would show those.
///
/// Works whether the agent runs or not, before the machine has joined, and for whoever may read
/// something; as root it has more. What could not be had is in the list with the reason.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 written, listed, or not wanted; 1 it could not be written.\n\n\
                        Examples:\n  sudo hawser bugreport\n  sudo hawser bugreport --show\n  \
                        sudo hawser bugreport --yes --since '1 hour ago' --output /tmp/report.tar.gz"
)]
pub(super) struct Bugreport {
    /// Where to write it; else in this directory, under the name of the machine and the time
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// List what would be in it, and write nothing
    #[arg(long)]
    show: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// The journal since then, as journalctl has it: '2 hours ago', 2026-11-21, @1795280000
    #[arg(long, value_name = "TIME", default_value = "2 days ago")]
    since: String,
    /// Leave the journal out
    #[arg(long)]
    no_journal: bool,
}

impl Bugreport {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                complain(format_args!("hawser: start a runtime: {}", Chain(&error)));
                return Exit::Failed;
            }
        };
        if !nix::unistd::geteuid().is_root() {
            complain("hawser: not as root: some of it cannot be had");
        }
        let pieces = runtime.block_on(self.gather(context));
        // One that hangs on a disk is not waited for.
        runtime.shutdown_background();
        say(piece::listing(&pieces).trim_end());
        if self.show {
            return Exit::Ok;
        }
        let pack = Pack::new(self.output.as_deref());
        if !self.yes && !agreed(&pack) {
            say("nothing was written");
            return Exit::Ok;
        }
        match pack.write(&pieces) {
            Ok(size) => {
                let (path, size) = (pack.path().display(), piece::size(size));
                say(format_args!("\nwritten: {path} ({size}), readable by its owner alone"));
                say(format_args!("next: look into it, `tar -xzf {path}`, before you pass it on"));
                Exit::Ok
            }
            Err(error) => {
                complain(format_args!("hawser: write {}: {error}", pack.path().display()));
                if error.kind() == io::ErrorKind::AlreadyExists {
                    complain("hawser: nothing is overwritten: `--output` says another name");
                }
                Exit::Failed
            }
        }
    }

    /// In the order in which somebody would look at them.
    async fn gather(&self, context: &Context) -> Vec<Piece> {
        let mut pieces = vec![machine::versions(context).await];
        pieces.extend(configuration::pieces(context));
        pieces.extend(agent::pieces(context).await);
        pieces.push(machine::units(context).await);
        if !self.no_journal {
            pieces.push(machine::journal(context, &self.since).await);
        }
        pieces.extend(machine::rules(context).await);
        pieces.extend(machine::network(context).await);
        pieces.extend(envoy::pieces(context).await);
        pieces.push(machine::directories(context));
        pieces
    }
}

/// Whether it is to be written; nobody to ask is nobody against it.
fn agreed(pack: &Pack) -> bool {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return true;
    }
    drop(write!(io::stdout(), "\nWrite {}? [Y/n] ", pack.path().display()));
    drop(io::stdout().flush());
    let mut answer = String::new();
    // No answer at all is no yes.
    let read = io::stdin().read_line(&mut answer).is_ok_and(|length| length > 0);
    read && ["", "y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}
