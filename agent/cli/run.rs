//! `hawser run`: the daemon, in the foreground of whoever starts it.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    time::Duration,
};

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
    services,
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
#[command(after_help = "\
A machine that has a file of services needs no mesh to join: /etc/hawser/services.yaml, or --services.\n\n\
Exit codes: 0 stopped as told, 1 a part failed, 75 another agent runs here, 78 wrong configuration or \
file of services, which `hawser check` tells too.\n\n\
Examples:\n  hawser run\n  hawser run --services ./services.yaml --envoy")]
pub(super) struct Run {
    /// Start Envoy and keep it running (envoy.foreground): the one at PATH, or the one that is found
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    envoy: Option<Option<PathBuf>>,
    /// The file of services, or a directory of such files (services.file)
    #[arg(long, value_name = "FILE")]
    services: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self, context: &Context) -> Exit {
        let mut flags = context.flags.clone();
        let flag = |name, key: &str, value| Flag { name, key: key.to_owned(), value };
        let services = self.services.as_deref().map(absolute);
        flags.extend(services.map(|path| flag("--services", "services.file", path)));
        let envoy = self.envoy.iter().map(|_| "true".to_owned());
        flags.extend(envoy.map(|on| flag("--envoy", "envoy.foreground", on)));
        let binary = self.envoy.flatten().as_deref().map(absolute);
        flags.extend(binary.map(|path| flag("--envoy", "envoy.binary", path)));
        let (paths, environment) = (context.paths.clone(), context.environment.clone());
        let reading = Reading { paths, environment, flags };
        match reading.read() {
            Ok(read) => agent(reading, read, std::future::pending()),
            Err(problems) => complain_of(&problems),
        }
    }
}

/// A path that was typed, wherever the agent will be.
pub(super) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

/// Runs the agent in this process until it is told to stop, or a part of it fails. `beside` is run
/// with it.
pub(super) fn agent(
    reading: Reading,
    (config, sources): (Config, Sources),
    beside: impl Future<Output = Infallible>,
) -> Exit {
    let environment = reading.environment.clone();
    let begun = Instant::now();
    let log = start_log(&sources, reading.paths.root(), &environment);
    match serve(config, &environment, (reading, sources, log), beside) {
        Ok(Stopped::Clean) => Exit::Ok,
        Ok(stopped) => {
            tracing::error!(error = %stopped, "agent stops");
            pause(&environment, begun);
            Exit::Failed
        }
        Err(error) => {
            if let Some(problems) = error.downcast_ref() {
                // systemd does not try that again, so nothing is waited for.
                services::complain(problems, "and none were kept from before: nothing is started");
                return Exit::Config;
            }
            tracing::error!(error = %hawser_rt::Chain(error.as_ref()), "agent cannot start");
            pause(&environment, begun);
            match error.downcast_ref() {
                Some(hawser_rt::Error::Held { .. }) => Exit::NotNow,
                _ => Exit::Failed,
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

fn start_log(sources: &Sources, root: &Path, environment: &Environment) -> Log {
    let said = |key| setting::find(key).map(|known| sources.values.setting(known).value);
    // Both parse: the configuration was loaded.
    let level = said("log.level").and_then(|text| text.parse::<Filter>().ok()).unwrap_or_default();
    let format = said("log.format").and_then(|text| text.parse().ok());
    let format = format.unwrap_or(log::Format::Auto);
    log::start(&level, format, root, environment)
}

fn serve(
    config: Config,
    environment: &Environment,
    reading: (Reading, Sources, Log),
    beside: impl Future<Output = Infallible>,
) -> anyhow::Result<Stopped> {
    let watchdog = environment.get("WATCHDOG_USEC").and_then(|text| text.parse().ok());
    let watchdog = watchdog.map(Duration::from_micros);
    let handed = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| environment.get(name));
    let notifier = Notifier::new(environment.get("NOTIFY_SOCKET").map(Into::into), watchdog)?;
    let [pid, count, names] = handed;
    let notifier = notifier.taking(pid, count, names).keeping(environment.get("FDSTORE"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let stopped = runtime.block_on(async {
        // Neither is taken up again: the process ends with the first, and the other has no end.
        tokio::select! {
            stopped = crate::run(config, notifier, reading) => stopped,
            never = beside => match never {},
        }
    });
    // A name that is being looked up may take its time; the process does not wait for it.
    runtime.shutdown_background();
    stopped
}

const SOON: Duration = Duration::from_secs(10);
const BEFORE_THE_NEXT: Duration = Duration::from_secs(2);
/// One for the relay of configuration and one that is free for DNS meanwhile.
const WORKERS: usize = 2;
