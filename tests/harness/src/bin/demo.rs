//! `make demo`: a machine joins an embedded mesh, with a real Envoy.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use hawser_harness::demo::{Afterwards, Mode, Options, print, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Shows a machine joining a mesh; ends with 0 only if every step was seen.
#[derive(Debug, Parser)]
struct Arguments {
    /// The agent's binary.
    #[arg(long, value_name = "PATH")]
    hawser: PathBuf,
    /// Which machine: one that joins, or one without istiod.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Where bundle, root and logs go; a directory that is removed afterwards if not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Leave it up until Ctrl-C, and say what to try.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match demonstrate(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(format_args!("\n  \u{2717} {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(arguments: Arguments) -> Result<()> {
    let hawser = std::path::absolute(arguments.hawser).context("find the agent")?;
    let mode = arguments.mode;
    let afterwards = if arguments.keep { Afterwards::Keep } else { Afterwards::Stop };
    if let Some(dir) = arguments.dir {
        let dir = std::path::absolute(dir).context("find the directory")?;
        return shown(&Options { mode, hawser, dir, afterwards }).await;
    }
    let temporary = tempfile::Builder::new().prefix("hawser-").tempdir();
    let temporary = temporary.context("make a directory")?;
    let dir = temporary.path().to_owned();
    let shown = shown(&Options { mode, hawser, dir, afterwards }).await;
    if shown.is_err() {
        // For a look at the logs.
        let _kept = temporary.keep();
    }
    shown
}

/// The agent has a session of its own, so that Ctrl-C does not reach it: whoever is interrupted
/// here ends it in good order.
async fn shown(options: &Options) -> Result<()> {
    let mut int = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let mut term = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let interrupt = CancellationToken::new();
    let mut running = std::pin::pin!(run(options, &interrupt));
    let shown = loop {
        tokio::select! {
            shown = running.as_mut() => break shown,
            _told = int.recv() => interrupt.cancel(),
            _told = term.recv() => interrupt.cancel(),
        }
    };
    shown.with_context(|| format!("not all was seen (see {})", options.dir.display()))
}
