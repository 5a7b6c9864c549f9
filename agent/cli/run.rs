//! `hawser run`: the daemon, in the foreground of whoever starts it.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use hawser_rt::{Notifier, Stopped};
use tokio::time::Instant;

use super::{Context, Exit, complain_of};
use crate::{
    Reading,
    config::{
        Config, setting,
        source::{Environment, Flag, Sources},
    },
    log::{self, Log, level::Filter},
};

/// Run the agent
///
/// Under systemd it reports readiness and feeds the watchdog. With --envoy it starts Envoy too,
/// keeps it running, and drains it at the end: for laptops and containers, where nothing else
/// does.
///
/// SIGHUP, from a service manager, reads the configuration again and has Envoy open its log files
/// again; SIGUSR1 asks for a new certificate; SIGTERM and SIGINT stop. What the agent has to say goes
/// to the journal, or to standard error: there is no log file of its own.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Start Envoy and keep it running (envoy.foreground): the one at PATH, or the one that is found
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    envoy: Option<Option<PathBuf>>,
}

impl Run {
    pub(super) fn run(self, context: &Context) -> Exit {
        let mut flags = context.flags.clone();
        let flag = |key: &str, value| Flag { name: "--envoy", key: key.to_owned(), value };
        flags.extend(self.envoy.iter().map(|_| flag("envoy.foreground", "true".to_owned())));
        flags.extend(self.envoy.flatten().map(|path| {
            let path = std::path::absolute(&path).unwrap_or(path);
            flag("envoy.binary", path.to_string_lossy().into_owned())
        }));
        let (paths, environment) = (context.paths.clone(), context.environment.clone());
        let reading = Reading { paths, environment, flags };
        let (config, sources) = match reading.read() {
            Ok(read) => read,
            Err(problems) => return complain_of(&problems),
        };
        let begun = Instant::now();
        let log = start_log(&sources, context);
        match serve(config, &context.environment, (reading, sources, log)) {
            Ok(Stopped::Clean) => Exit::Ok,
            Ok(stopped) => {
                tracing::error!(error = %stopped, "agent stops");
                pause(&context.environment, begun);
                Exit::Failed
            }
            Err(error) => {
                tracing::error!(error = %hawser_rt::Chain(error.as_ref()), "agent cannot start");
                pause(&context.environment, begun);
                match error.downcast_ref() {
                    Some(hawser_rt::Error::Held { .. }) => Exit::NotNow,
                    _ => Exit::Failed,
                }
            }
        }
    }
}

/// systemd starts at once what has died, so that nobody waits long; what fails soon after its start is
/// to be tried at another pace.
fn pause(environment: &Environment, begun: Instant) {
    if environment.get("NOTIFY_SOCKET").is_none() || begun.elapsed() > SOON {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    if let Ok(runtime) = runtime {
        // Within the runtime: outside of it there are no timers.
        runtime.block_on(async { tokio::time::sleep(BEFORE_THE_NEXT).await });
    }
}

fn start_log(sources: &Sources, context: &Context) -> Log {
    let said = |key| setting::find(key).map(|known| sources.values.setting(known).value);
    // Both parse: the configuration was loaded.
    let level = said("log.level").and_then(|text| text.parse::<Filter>().ok()).unwrap_or_default();
    let format = said("log.format").and_then(|text| text.parse().ok());
    let format = format.unwrap_or(log::Format::Auto);
    log::start(&level, format, context.paths.root(), &context.environment)
}

fn serve(
    config: Config,
    environment: &Environment,
    reading: (Reading, Sources, Log),
) -> anyhow::Result<Stopped> {
    let watchdog = environment.get("WATCHDOG_USEC").and_then(|text| text.parse().ok());
    let watchdog = watchdog.map(Duration::from_micros);
    let handed = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| environment.get(name));
    let notifier = Notifier::new(environment.get("NOTIFY_SOCKET").map(Into::into), watchdog)?;
    let [pid, count, names] = handed;
    let notifier = notifier.taking(pid, count, names).keeping(environment.get("FDSTORE"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let stopped = runtime.block_on(crate::run(config, notifier, reading));
    // A name that is being looked up may take its time; the process does not wait for it.
    runtime.shutdown_background();
    stopped
}

const SOON: Duration = Duration::from_secs(10);
const BEFORE_THE_NEXT: Duration = Duration::from_secs(2);
/// One for the relay of configuration and one that is free for DNS meanwhile.
const WORKERS: usize = 2;
