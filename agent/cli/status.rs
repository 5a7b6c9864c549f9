//! `hawser status`: how this machine does in the mesh, on one screen.

mod down;
pub(super) mod page;
mod screen;
pub(super) mod wait;
mod watch;

use std::{
    io::{self, ErrorKind, IsTerminal as _},
    time::Duration,
};

use clap::Args;
use rustix::termios::tcgetwinsize;

use self::{down::Down, page::Look};
use super::{Context, Exit, ask, say, span::now};
use crate::{
    config::source::Environment,
    status::{Snapshot, State},
};

/// Show how this machine does in the mesh, what is wrong, and the next command
///
/// One screen: the certificate and how long it lasts, istiod, what Envoy has taken, names, rules,
/// Envoy itself; then, for each thing that is wrong, what to do next. What is shown comes from the
/// running agent; where none runs, what systemd knows of it is shown instead.
///
/// `ready`: all is well. `degraded`: it works, and something is wrong. `starting`: something is
/// missing. `draining`, `maintenance`: the machine is being taken out of the mesh, or is out of it.
/// `down`: nobody answers.
///
/// With --json everything that is known is printed, as status.schema.json in /usr/share/doc/hawser
/// describes it. Fields are added, and never change their meaning.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 ready, 1 degraded, starting, draining or in maintenance, 3 nobody answers.
With --wait-ready: 0 as soon as programs can rely on the mesh, 75 if not in time, 3 nobody answers.
With --watch: 0 when it is ended.

Examples:
  hawser status
  hawser status --watch 5
  hawser status --json | jq -r '.troubles[] | .what + \" -> \" + .next'
  hawser status --wait-ready 30s && start-my-program")]
pub(super) struct Status {
    /// As JSON; with --watch, an object a line
    #[arg(long, conflicts_with = "wait_ready")]
    json: bool,
    /// Show it again every two seconds, or every so many, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = watch::period, conflicts_with = "wait_ready")]
    watch: Option<Duration>,
    /// Wait until programs can rely on the mesh, for five minutes or this long
    #[arg(long, value_name = "TIME", num_args = 0..=1,
          default_missing_value = "5m",
          value_parser = wait::patience)]
    wait_ready: Option<Duration>,
}

impl Status {
    pub(super) fn run(&self, context: &Context) -> Exit {
        if let Some(patience) = self.wait_ready {
            return wait::until_ready(&context.paths, patience);
        }
        if let Some(period) = self.watch {
            return watch::watch(context, period, self.json);
        }
        match Seen::now(context) {
            Ok(seen) => {
                match self.json {
                    true => say(seen.json()),
                    false => {
                        say(seen.lines(Look::of_terminal(&context.environment), ALL).join("\n"));
                    }
                }
                seen.exit()
            }
            Err(error) => ask::no_answer(&context.paths, &error),
        }
    }
}

/// How it is at one moment.
#[derive(Debug)]
enum Seen {
    /// What the agent has answered, and what that means.
    Up(String, Box<Snapshot>),
    Down(Box<Down>),
}

impl Seen {
    /// Fails only for whoever may not ask.
    fn now(context: &Context) -> io::Result<Self> {
        match ask::answered(&context.paths) {
            Ok((text, snapshot)) => Ok(Self::Up(text, Box::new(snapshot))),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
            Err(error) => {
                let at = now().cast_unsigned();
                Ok(Self::Down(Box::new(Down::look(&context.paths, &error, at))))
            }
        }
    }

    fn lines(&self, look: Look, most: usize) -> Vec<String> {
        match self {
            Self::Up(_, snapshot) => screen::screen(snapshot, look, most),
            Self::Down(down) => down.screen(look, most),
        }
    }

    /// On one line.
    fn json(&self) -> String {
        match self {
            Self::Up(text, _) => text.trim_end().to_owned(),
            Self::Down(down) => serde_json::to_string(down).unwrap_or_default(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Up(_, snapshot) if snapshot.state == State::Ready => Exit::Ok,
            Self::Up(..) => Exit::Failed,
            Self::Down(_) => Exit::Down,
        }
    }
}

impl Look {
    /// As standard output wants it.
    fn of_terminal(environment: &Environment) -> Self {
        let terminal = io::stdout().is_terminal();
        let plain =
            environment.get("NO_COLOR").is_some() || environment.get("TERM") == Some("dumb");
        let said = environment.get("COLUMNS").and_then(|columns| columns.parse().ok());
        let width = size().map(|(width, _)| width).or(said).unwrap_or(USUAL);
        Self { width: width.min(WIDEST), colour: terminal && !plain }
    }
}

/// Columns and rows of the terminal that standard output is.
fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

const USUAL: usize = 80;
const WIDEST: usize = 120;
const ALL: usize = usize::MAX;
