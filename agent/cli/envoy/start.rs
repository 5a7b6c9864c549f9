//! `hawser envoy start`: becomes Envoy, after all has been seen to that Envoy cannot see to itself.

use std::{
    io::{self, PipeWriter},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use clap::Args;
use hawser_envoy::{
    Error,
    choose::{self, Chosen},
    ending::{self, Kind},
    find,
    launch::Launch,
    unit::{self, Started, Unit},
};
use hawser_rt::Chain;
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::resource::{Resource, getrlimit, setrlimit},
};
use tokio::time::{Instant, sleep};

use super::{Context, Exit, Voice, launch, runtime};
use crate::config::paths::Paths;

/// Become Envoy, with the bootstrap that the agent has made
///
/// Waits for the bootstrap. One that Envoy refuses is replaced by the last that it was ready with.
/// Ends with 78 if there is no Envoy on this machine.
#[derive(Debug, Args)]
pub(super) struct Start {}

/// An Envoy that can be started.
struct Ready {
    binary: PathBuf,
    version: String,
    chosen: Chosen,
    launch: Launch,
}

impl Start {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let voice = Voice::of(&context.environment);
        let unit = Unit::under(context.paths.root());
        unit.forget_started();
        let ready = match runtime() {
            // It is gone before Envoy begins.
            Ok(runtime) => runtime.block_on(prepare(context, &unit, voice)),
            Err(exit) => return exit,
        };
        let error = match ready {
            Ok(ready) => become_envoy(&ready, &unit, &context.paths, voice),
            Err(error) => error,
        };
        voice.error(format_args!("envoy cannot be started: {}", Chain(&error)));
        unit.forget_started();
        let (kind, exit) = match &error {
            Error::Refused { .. } => (Kind::Configuration, Exit::Failed),
            Error::NoEnvoy
            | Error::Missing { .. }
            | Error::NotExecutable { .. }
            | Error::NotEnvoy { .. }
            | Error::Powerless => (Kind::NotStarted, Exit::Config),
            _ => (Kind::NotStarted, Exit::Failed),
        };
        if let Err(error) = unit.note_unstarted(kind, &Chain(&error).to_string()) {
            voice.warn(Chain(&error));
        }
        exit
    }
}

async fn prepare(context: &Context, unit: &Unit, voice: Voice) -> Result<Ready, Error> {
    let paths = &context.paths;
    unit.make()?;
    let launch = told(paths, voice).await;
    let home = context.environment.get("HOME").map(PathBuf::from);
    let binary = find::find(Path::new("/"), launch.binary.as_deref(), home.as_deref())?;
    let version = find::version(&binary).await?.to_string();
    if launch.transparent && !may_be_transparent() {
        return Err(Error::Powerless);
    }
    if let Some(ended) = unit.ended() {
        let wait = ending::wait(ended.in_a_row);
        if !wait.is_zero() {
            let (count, what) = (ended.in_a_row, ended.what);
            voice.warn(format_args!(
                "envoy has ended soon {count} times in a row ({what}); it is started in {} s",
                wait.as_secs()
            ));
            sleep(wait).await;
        }
    }
    let chosen = choose::choose(unit, &binary, &version, &launch, &paths.bootstrap()).await?;
    if let Some(refused) = &chosen.refused {
        voice.error(format_args!(
            "envoy is started with the last bootstrap that it was ready with; the newest is no good: {refused}"
        ));
    }
    Ok(Ready { binary, version, chosen, launch })
}

/// What the agent says, when it has said it.
async fn told(paths: &Paths, voice: Voice) -> Launch {
    let begun = Instant::now();
    let mut said = false;
    loop {
        if let Some(launch) = launch(paths).filter(|_| paths.bootstrap().exists()) {
            return launch;
        }
        if !said && begun.elapsed() > PATIENCE {
            said = true;
            voice.info(format_args!(
                "waits for {}, which hawser.service makes",
                paths.bootstrap().display()
            ));
        }
        sleep(LOOK).await;
    }
}

/// Returns only what has kept it from doing so.
fn become_envoy(ready: &Ready, unit: &Unit, paths: &Paths, voice: Voice) -> Error {
    let Ready { binary, version, chosen, launch } = ready;
    if let Err(error) = as_many_files_as_may_be() {
        voice.warn(format_args!("the number of open files stays as it is: {error}"));
    }
    let said = match log_process(paths) {
        Ok(said) => said,
        Err(source) => return Error::Log { source },
    };
    let errors = match said.try_clone() {
        Ok(errors) => errors,
        Err(source) => return Error::Log { source },
    };
    voice.info(format_args!("starts envoy {version}, {}", binary.display()));
    let started = Started {
        pid: std::process::id(),
        at: unit::now(),
        uptime: unit::uptime(),
        binary: binary.clone(),
        version: version.clone(),
        refused: chosen.refused.clone(),
        launch: Launch { arguments: chosen.arguments.clone(), ..launch.clone() },
    };
    if let Err(error) = unit.note_started(&started) {
        return error;
    }
    let mut command = Command::new(binary);
    command.args(&chosen.arguments).stdin(Stdio::null()).stdout(said).stderr(errors);
    Error::Start { path: binary.clone(), source: command.exec() }
}

/// Starts what takes what Envoy says, and returns where to say it.
fn log_process(paths: &Paths) -> io::Result<PipeWriter> {
    let (from, to) = io::pipe()?;
    // Room for what comes while the other end is busy. Less will do.
    fcntl(&to, FcntlArg::F_SETPIPE_SZ(ROOM)).ok();
    let mut command = Command::new(SELF);
    command.args(["envoy", "log", "--of", &std::process::id().to_string(), "--root"]);
    command.arg(paths.root()).stdin(from).spawn()?;
    Ok(to)
}

fn as_many_files_as_may_be() -> nix::Result<()> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Under systemd both are the same, and it may not be asked for.
    if now < most { setrlimit(Resource::RLIMIT_NOFILE, most, most) } else { Ok(()) }
}

/// Whether this process may bind addresses that are not the machine's.
fn may_be_transparent() -> bool {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits & NET_ADMIN != 0)
}

const SELF: &str = "/proc/self/exe";
const NET_ADMIN: u64 = 1 << 12;
const ROOM: i32 = 1 << 20;
const LOOK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(5);
