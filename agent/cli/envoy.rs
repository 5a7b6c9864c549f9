//! `hawser envoy`: what hawser-envoy.service runs, and what can be asked of its Envoy.

mod drain;
mod ended;
mod log;
mod reopen;
mod start;
mod wait;

use std::io;

use clap::{Args, Subcommand};
use hawser_envoy::{
    launch::Launch,
    log::level::Level,
    unit::{self, Unit},
};
use hawser_rt::Chain;
use nix::sys::stat::fstat;
use tokio::runtime::{Builder, Runtime};

use super::{Context, Exit, complain, say};
use crate::config::{paths::Paths, source::Environment};

/// Lead the life of Envoy where systemd keeps it running
///
/// hawser-envoy.service runs these, one after the other. `drain` and `reopen` can be of use by hand.
#[derive(Debug, Args)]
pub(super) struct Envoy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Start(start::Start),
    Wait(wait::Wait),
    Drain(drain::Drain),
    Ended(ended::Ended),
    Reopen(reopen::Reopen),
    #[command(hide = true)]
    Log(log::Log),
}

impl Envoy {
    pub(super) fn run(&self, context: &Context) -> Exit {
        match &self.command {
            Command::Start(start) => start.run(context),
            Command::Wait(wait) => wait.run(context),
            Command::Drain(drain) => drain.run(context),
            Command::Ended(ended) => ended.run(context),
            Command::Reopen(reopen) => reopen.run(context),
            Command::Log(log) => log.run(context),
        }
    }
}

/// Says what a command of the unit does. Over standard output also to the journal: what a process
/// sends there by itself and then ends is often taken for nobody's.
#[derive(Debug, Clone, Copy)]
struct Voice {
    priorities: bool,
}

impl Voice {
    fn of(environment: &Environment) -> Self {
        Self { priorities: to_the_journal(environment) }
    }

    fn info(self, line: impl std::fmt::Display) {
        self.say(Level::Info, line);
    }

    fn warn(self, line: impl std::fmt::Display) {
        self.say(Level::Warning, line);
    }

    fn error(self, line: impl std::fmt::Display) {
        self.say(Level::Error, line);
    }

    fn say(self, level: Level, line: impl std::fmt::Display) {
        // What somebody else said must not begin a line of its own.
        let line = line.to_string().replace(['\n', '\r'], " ");
        if self.priorities {
            say(format_args!("<{}>{line}", level.priority()));
        } else {
            say(line);
        }
    }
}

/// Whether standard output is the stream to the journal that systemd speaks of.
fn to_the_journal(environment: &Environment) -> bool {
    environment.get("JOURNAL_STREAM").is_some_and(|stream| {
        fstat(io::stdout()).is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
    })
}

/// What the agent has said of Envoy, if it has yet.
fn launch(paths: &Paths) -> Option<Launch> {
    unit::read(&Launch::path(&paths.run()))
}

/// Whether the Envoy that runs was started with what the agent says now.
pub(super) fn is_current(paths: &Paths) -> bool {
    let unit = Unit::under(paths.root());
    launch(paths).is_none_or(|launch| unit.is_current(&paths.bootstrap(), &launch))
}

/// How the Envoy that runs was started, or is to be; for a command that is of no use without it.
pub(super) fn known(paths: &Paths) -> Result<Launch, Exit> {
    let started = Unit::under(paths.root()).started().map(|started| started.launch);
    started.or_else(|| launch(paths)).ok_or_else(|| {
        let path = Launch::path(&paths.run());
        complain(format_args!(
            "hawser: no agent has said where Envoy is: {} is missing; start hawser.service",
            path.display()
        ));
        Exit::Down
    })
}

pub(super) fn runtime() -> Result<Runtime, Exit> {
    Builder::new_current_thread().enable_all().build().map_err(|error| {
        complain(format_args!("hawser: start a runtime: {}", Chain(&error)));
        Exit::Failed
    })
}
