//! `hawser dns resolved`: what hawser-resolved.service runs.

use clap::Args;
use hawser_resolved::{Error, Options, run, undo};
use hawser_rt::{Chain, Notifier, signal::Signals};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::super::{Context, Exit, complain};
use crate::log;

/// Send the mesh's names to the agent through systemd-resolved
///
/// hawser-resolved.service runs it, as root, when dns.mode is "resolved": it makes the network
/// interface hawser0, to which systemd-resolved sends names of the mesh, and removes it when the
/// agent is stopped.
#[derive(Debug, Args)]
pub(super) struct Resolved {
    /// Remove what a process left behind that was killed
    #[arg(long)]
    undo: bool,
}

impl Resolved {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let format = log::Format::Auto;
        let root = context.paths.root();
        log::start(&log::level::Filter::default(), format, root, &context.environment);
        match self.done(context) {
            Ok(Ok(())) => Exit::Ok,
            Ok(Err(error)) => {
                complain(format_args!("hawser: {}", Chain(&error)));
                if error.is_final() { Exit::Config } else { Exit::Failed }
            }
            Err(error) => {
                complain(format_args!("hawser: {}", Chain(error.as_ref())));
                Exit::Failed
            }
        }
    }

    fn done(&self, context: &Context) -> anyhow::Result<Result<(), Error>> {
        let notifier =
            Notifier::new(context.environment.get("NOTIFY_SOCKET").map(Into::into), None)?;
        let paths = &context.paths;
        let options = Options { root: paths.root().to_owned(), path: paths.dns_domains() };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            if self.undo {
                return Ok(undo(&options).await);
            }
            let mut signals = Signals::install()?;
            let stop = CancellationToken::new();
            let told = async {
                signals.stop().await;
                stop.cancel();
                std::future::pending::<()>().await;
            };
            // What is undone at the end is waited for.
            Ok(tokio::select! {
                done = run(&options, &notifier, stop.clone()) => done,
                () = told => Ok(()),
            })
        })
    }
}
