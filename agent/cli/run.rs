//! `hawser run`: the daemon, in the foreground of whoever starts it.

use std::path::PathBuf;

use clap::Args;
use hawser_rt::{Notifier, Stopped};
use tracing_subscriber::EnvFilter;

use super::{Context, Exit, check, complain_of};
use crate::{
    check::Token,
    config::{
        Config,
        problem::Problems,
        setting,
        source::{self, Environment, Flag, Sources},
    },
    log,
};

/// Run the agent
///
/// Under systemd it reports readiness and feeds the watchdog. With --envoy it starts Envoy too,
/// keeps it running, and drains it at the end: for laptops and containers, where nothing else
/// does.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Start this Envoy and keep it running (envoy.binary)
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self, context: &Context) -> Exit {
        let mut flags = context.flags.clone();
        flags.extend(self.envoy.map(|path| Flag {
            name: "--envoy",
            key: "envoy.binary".to_owned(),
            value: std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned(),
        }));
        let sources = source::read(&context.paths, &context.environment, &flags);
        let config = match loaded(context, &sources) {
            Ok(config) => config,
            Err(problems) => return complain_of(&problems),
        };
        start_log(&sources, &context.environment);
        match serve(config, &context.environment) {
            Ok(Stopped::Clean) => Exit::Ok,
            Ok(stopped) => {
                tracing::error!(error = %stopped, "agent stops");
                Exit::Failed
            }
            Err(error) => {
                tracing::error!(error = %hawser_rt::Chain(error.as_ref()), "agent cannot start");
                Exit::Failed
            }
        }
    }
}

fn loaded(context: &Context, sources: &Sources) -> Result<Config, Problems> {
    if !sources.joined {
        return Err(Problems(vec![check::not_joined()]));
    }
    // A token or a root that is no good is no reason not to answer DNS; the identity loop tells
    // of it.
    crate::check::all(&context.paths, sources, Token::Irrelevant)
}

fn start_log(sources: &Sources, environment: &Environment) {
    let said = |key| setting::find(key).map(|known| sources.values.setting(known).value);
    // Both parse: the configuration was loaded.
    let level = said("log.level").and_then(|text| text.parse::<EnvFilter>().ok());
    let format = said("log.format").and_then(|text| text.parse().ok());
    log::start(level.unwrap_or_default(), format.unwrap_or(log::Format::Auto), environment);
}

fn serve(config: Config, environment: &Environment) -> anyhow::Result<Stopped> {
    let watchdog = environment.get("WATCHDOG_USEC").and_then(|text| text.parse().ok());
    let watchdog = watchdog.map(std::time::Duration::from_micros);
    let handed = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| environment.get(name));
    let notifier = Notifier::new(environment.get("NOTIFY_SOCKET").map(Into::into), watchdog)?;
    let [pid, count, names] = handed;
    let notifier = notifier.taking(pid, count, names);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let stopped = runtime.block_on(crate::run(config, notifier));
    // A name that is being looked up may take its time; the process does not wait for it.
    runtime.shutdown_background();
    stopped
}

/// One for the relay of configuration and one that is free for DNS meanwhile.
const WORKERS: usize = 2;
