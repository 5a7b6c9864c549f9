//! `hawser laptop`: into the mesh from a machine that somebody works at.
//!
//! The agent and its Envoy as an ordinary user runs them: in the foreground, without a right that a
//! user has not, with files where a desktop wants them. What is said nowhere else is said here, so that
//! a file of services and a certificate are enough. When it ends, nothing is left but what is kept
//! for the next time: the addresses of names, and what Envoy took last.

mod place;
mod screen;
mod settings;

use std::{convert::Infallible, future::pending, path::PathBuf, time::Duration};

use clap::Args;
use hawser_rt::Chain;
use hawser_state::Store;
use nix::sys::signal::{Signal, raise};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
    time::sleep,
};

use self::{place::Place, screen::Screen};
use super::{
    Context, Exit, ask, complain, complain_of, run, say,
    status::wait::{Shown, lacks, told},
};
use crate::{
    Reading,
    config::{Config, paths::Paths},
    services::{self, Standing, Wanted},
};

/// Call services of the mesh from this machine, for as long as this command runs
///
/// For whoever works at a machine, without root: the agent and Envoy in the foreground, a table of the
/// services and how to call them, and how names get to this machine's DNS. Ctrl-C ends all of it. What
/// is kept for the next time (addresses of names, what Envoy took last) is below XDG_STATE_HOME; settings
/// are read from hawser/hawser.toml below XDG_CONFIG_HOME.
///
/// The certificate is that of --certs, else of the settings identity.*, else of a directory `certs`
/// beside the file of services.
#[derive(Debug, Args)]
#[command(after_help = "\
Ports below 1024 are moved up by 10000 where a user may not listen on them (services.low_ports).\n\n\
Exit codes: 0 stopped as told, 1 a part failed, 75 another agent runs here, 78 there is no file of \
services, certificate or Envoy, or something is wrong with them.\n\n\
Examples:\n  hawser laptop --services ./services.yaml --certs ~/mesh\n  \
hawser laptop --print-hosts | sudo tee -a /etc/hosts")]
pub(super) struct Laptop {
    /// The file of services, or a directory of such files; else ./services.yaml, else
    /// hawser/services.yaml below XDG_CONFIG_HOME
    #[arg(long, value_name = "FILE")]
    services: Option<PathBuf>,
    /// The directory of key.pem, cert-chain.pem and root-cert.pem
    #[arg(long, value_name = "DIR")]
    certs: Option<PathBuf>,
    /// The Envoy to start; else the one on the PATH, of a package, or of func-e
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Print lines for /etc/hosts and start nothing: for programs that ask no DNS of ours
    #[arg(long)]
    print_hosts: bool,
}

impl Laptop {
    pub(super) fn run(self, context: &Context) -> Exit {
        let place = match Place::of(context) {
            Ok(place) => place,
            Err(error) => return refused(Chain(&error)),
        };
        let paths = Paths::under(place.root());
        let exit = self.run_in(&place, &paths, context);
        place.clear(&paths);
        exit
    }

    fn run_in(&self, place: &Place, paths: &Paths, context: &Context) -> Exit {
        let flags = match settings::flags(self, context, paths, place) {
            Ok(flags) => flags,
            Err(wrong) => return refused(wrong),
        };
        let environment = context.environment.clone();
        let reading = Reading { paths: paths.clone(), environment, flags };
        let (config, sources) = match reading.read() {
            Ok(read) => read,
            Err(problems) => return complain_of(&problems),
        };
        let standing = match standing(&config) {
            Ok(standing) => standing,
            Err(exit) => return exit,
        };
        if self.print_hosts {
            screen::hosts(&standing, |line| say(line));
            return Exit::Ok;
        }
        let screen = Screen::of(&standing, paths.root());
        let stops_on_hangup = reading.environment.get("NOTIFY_SOCKET").is_none();
        let beside = beside(paths.clone(), screen, stops_on_hangup);
        run::agent(reading, (config, sources), beside)
    }
}

/// What the file says, with the addresses of its names, which are kept.
fn standing(config: &Config) -> Result<Standing, Exit> {
    let Some(wanted) = Wanted::of(config) else {
        return Err(refused("services.use is off: there is nothing to call"));
    };
    let store = Store::open(&config.paths.state()).map_err(|error| refused(Chain(&error)))?;
    let begun = services::begin(wanted, &store).map_err(|problems| {
        for problem in &problems.0 {
            complain(format_args!("hawser: {problem}"));
        }
        Exit::Config
    })?;
    Ok(begun.standing)
}

/// Tells what is waited for, and then how services are called; and makes an end of a terminal that was
/// closed an end of this.
async fn beside(paths: Paths, screen: Screen, stops_on_hangup: bool) -> Infallible {
    let hangup = async {
        match signal(SignalKind::hangup()) {
            Ok(mut hangup) if stops_on_hangup => {
                hangup.recv().await;
                // The agent knows this one, and does all that is to be done.
                let _sent = raise(Signal::SIGTERM);
            }
            _ => {}
        }
        pending::<Infallible>().await
    };
    let told = async {
        ready(&paths).await;
        let answered = spawn_blocking(move || ask::quietly(&paths)).await;
        let dns = answered.ok().flatten().and_then(|snapshot| snapshot.dns);
        let dns = dns.and_then(|dns| dns.listen.first().copied());
        screen.lines(dns, |line| say(line));
        pending::<Infallible>().await
    };
    tokio::select! {
        never = hangup => never,
        never = told => never,
    }
}

/// Done when programs can call.
async fn ready(paths: &Paths) {
    let mut shown = Shown::default();
    let mut pause = FIRST;
    loop {
        let asked = paths.clone();
        match spawn_blocking(move || lacks(&asked)).await {
            Ok(Ok(lacks)) if lacks.is_empty() => break,
            Ok(Ok(lacks)) => shown.show(&told(&lacks)),
            // It does not answer yet.
            _ => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST);
    }
    shown.clear();
}

fn refused(wrong: impl std::fmt::Display) -> Exit {
    complain(format_args!("hawser: {wrong}"));
    Exit::Config
}

const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(1);
