//! `hawser intercept guard`: what hawser-intercept.service runs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use hawser_intercept::{guard, job, view::Sights};
use hawser_rt::{Notifier, signal::Signals};
use tokio_util::sync::CancellationToken;

use super::{Wrong, around::Around, places, runtime};
use crate::{
    cli::{Context, Exit},
    log,
};

/// Keep traffic going to Envoy while it listens
///
/// hawser-intercept.service runs it. Rules go in when Envoy listens, what happens when it does not is
/// intercept.on_failure, questions go to the agent while it answers, and what others change in the
/// table inet hawser is put back. When it is stopped, everything is removed.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Guard {}

impl Guard {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(&self, context: &Context) -> Result<Exit, Wrong> {
        let around = Around::of(context);
        let settings = around.read()?;
        let environment = &context.environment;
        let root = context.paths.root();
        log::start(&log::level::Filter::default(), log::Format::Auto, root, environment);
        let watchdog = environment.get("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        let socket = environment.get("NOTIFY_SOCKET");
        let notifier = Notifier::new(socket.map(Into::into), watchdog.map(Duration::from_micros));
        let notifier = notifier.map_err(|error| Wrong::Other(error.into()))?;
        let managed = socket.is_some();
        let runtime = runtime()?;
        let done = runtime.block_on(async {
            let mut signals = Signals::install().map_err(|error| Wrong::Other(error.into()))?;
            let stop = CancellationToken::new();
            let parts = guard::Parts {
                surroundings: Arc::new(around),
                settings,
                root: PathBuf::from("/"),
                places: places(context),
                sights: Sights::default(),
                notifier: &notifier,
            };
            let told = async {
                signals.stop().await;
                stop.cancel();
                std::future::pending::<()>().await;
            };
            // Only a service manager starts another one where this one ends.
            let leave = async { managed && job::is_restarted(job::UNIT).await };
            // What is removed at the end is waited for.
            tokio::select! {
                done = guard::run(parts, stop.clone(), leave) => done.map_err(Wrong::from),
                () = told => Ok(()),
            }
        });
        // A directory that does not answer may take its time; the process does not wait for it.
        runtime.shutdown_background();
        done.map(|()| Exit::Ok)
    }
}
