//! Keeps one Envoy alive, where no service manager does it.
//!
//! - Envoy is started at once and again whenever it ends, after a wait that grows while it does
//!   not stay up. Only a binary that cannot be started the first time is an error.
//! - On stop it is drained, then told to end, then made to. [`run`] returns when it is gone.
//! - Envoy is the head of a process group of its own: a Ctrl-C at a terminal reaches the agent
//!   alone, which then drains; and what Envoy is told also reaches the children of a wrapper.
//! - Envoy ends with the agent, also when [`run`] is dropped half way. The exception is an agent
//!   that dies by SIGKILL: then Envoy goes on serving what it last knew, until the next agent ends
//!   it and starts its own. In a systemd unit that cannot happen, because the unit's whole control
//!   group ends with the agent.

mod ending;
mod restarts;
#[cfg(test)]
mod tests;

use std::{ffi::OsString, io, net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use hawser_rt::{Backoff, Chain};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Error, admin::Admin, drain, leftover};
pub use ending::Ending;
use restarts::Restarts;

/// Which Envoy to keep alive, and how it ends.
#[derive(Debug)]
pub struct Options {
    /// The Envoy binary.
    pub binary: PathBuf,
    /// Its command line, see [`crate::arguments`].
    pub arguments: Vec<OsString>,
    /// Its admin interface, see [`crate::bootstrap::admin_address`].
    pub admin: SocketAddr,
    /// `terminationDrainDuration`: how long connections may take to end by themselves. Zero for
    /// no draining at all.
    pub drain: Duration,
    /// Ports of listeners whose connections nobody waits for.
    pub own_ports: Vec<u16>,
    /// How long Envoy may take to end once it has been told to.
    pub patience: Duration,
    /// How long to wait before it is started again.
    pub backoff: Backoff,
    /// Where its life can be followed.
    pub state: watch::Sender<EnvoyState>,
}

/// Envoy's life so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvoyState {
    /// What it is doing.
    pub phase: Phase,
    /// How often it was to be started again.
    pub restarts: u64,
    /// How it ended the last time.
    pub ended: Option<Ending>,
}

/// What Envoy is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not started yet.
    #[default]
    Starting,
    /// There is a process; [`Admin::readiness`] knows whether it serves.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It has ended and will be started again.
    Restarting {
        /// After this long a wait.
        retry_in: Duration,
    },
    /// It is ending because the agent does.
    Stopping {
        /// Its process id.
        pid: u32,
    },
    /// It has ended for good.
    Stopped,
}

/// Keeps Envoy alive until `stop`.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), Error> {
    leftover::end(&options.arguments, options.patience).await;
    if taken(options.admin).await {
        return Err(Error::Occupied { address: options.admin });
    }
    let mut command = Command::new(&options.binary);
    command.args(&options.arguments).process_group(0).kill_on_drop(true).stdin(Stdio::null());
    let mut envoy = command.spawn();
    if let Err(source) = envoy {
        return Err(unstartable(options.binary, source));
    }
    let mut restarts = Restarts::new(options.backoff.clone());
    loop {
        let ended = match envoy {
            Ok(envoy) => live(envoy, &options, &mut restarts, &stop).await?,
            Err(error) => Some(Ending::NotStarted(error.to_string())),
        };
        let Some(ended) = ended else {
            return Ok(());
        };
        let retry_in = restarts.wait(fastrand::f64());
        // One that keeps failing is news once.
        if restarts.in_a_row() == 1 {
            warn!(%ended, ?retry_in, "envoy ended");
        } else {
            debug!(%ended, ?retry_in, attempt = restarts.in_a_row(), "envoy ended again");
        }
        options.state.send_modify(|state| {
            state.phase = Phase::Restarting { retry_in };
            state.restarts += 1;
            state.ended = Some(ended);
        });
        tokio::select! {
            () = sleep(retry_in) => {}
            () = stop.cancelled() => {
                options.state.send_modify(|state| state.phase = Phase::Stopped);
                return Ok(());
            }
        }
        // A binary that has gone may be on its way back: a package is being upgraded.
        envoy = command.spawn();
    }
}

/// Waits for the end of `envoy` and says how it came, or makes it end and says nothing.
async fn live(
    mut envoy: Child,
    options: &Options,
    restarts: &mut Restarts,
    stop: &CancellationToken,
) -> Result<Option<Ending>, Error> {
    let pid = envoy.id().unwrap_or_default();
    info!(pid, path = %options.binary.display(), "envoy started");
    options.state.send_modify(|state| state.phase = Phase::Running { pid });
    let mut settled = std::pin::pin!(sleep(SETTLED));
    loop {
        // Waiting for the child can be taken up again where it was left. In this order, what came
        // first counts first.
        tokio::select! {
            biased;
            () = &mut settled, if restarts.in_a_row() > 0 => {
                info!(pid, attempt = restarts.in_a_row(), "envoy stays up");
                restarts.forget();
            }
            status = envoy.wait() => return Ok(Some(ending(status)?)),
            () = stop.cancelled() => break,
        }
    }
    options.state.send_modify(|state| state.phase = Phase::Stopping { pid });
    let ended = finish(envoy, options).await?;
    info!(pid, %ended, "envoy stopped");
    options.state.send_modify(|state| {
        state.phase = Phase::Stopped;
        state.ended = Some(ended);
    });
    Ok(None)
}

/// Lets Envoy's connections end, then Envoy.
async fn finish(mut envoy: Child, options: &Options) -> Result<Ending, Error> {
    if !options.drain.is_zero() {
        let drained = drain::Options {
            admin: Admin::new(options.admin),
            limit: options.drain,
            what: drain::What::Everything { own_ports: options.own_ports.clone() },
        };
        let drained = async { drain::drain(&drained, |step| info!(%step, "envoy drains")).await };
        tokio::select! {
            status = envoy.wait() => return ending(status),
            drained = drained => match drained {
                Ok(step) => info!(%step, "envoy drained"),
                // One that does not hear has nothing to wait for.
                Err(error) => debug!(error = %Chain(&error), "envoy not drained"),
            },
        }
    }
    signal(&envoy, Signal::SIGTERM)?;
    if let Ok(status) = timeout(options.patience, envoy.wait()).await {
        return Ok(ending(status)?.by_the_agent());
    }
    warn!(took = ?options.patience, "envoy does not end and is killed");
    signal(&envoy, Signal::SIGKILL)?;
    Ok(ending(envoy.wait().await)?.by_the_agent())
}

fn signal(envoy: &Child, signal: Signal) -> Result<(), Error> {
    let pid = envoy.id().and_then(|pid| i32::try_from(pid).ok());
    let Some(pid) = pid else {
        return Ok(());
    };
    match killpg(Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
        Err(source) => Err(Error::Signal { signal: signal.as_str(), source }),
    }
}

fn ending(status: io::Result<std::process::ExitStatus>) -> Result<Ending, Error> {
    status.map(Ending::from).map_err(|source| Error::Wait { source })
}

/// Whether somebody listens where Envoy's admin interface is to be.
async fn taken(admin: SocketAddr) -> bool {
    matches!(timeout(DRAIN_ANSWER, TcpStream::connect(admin)).await, Ok(Ok(_)))
}

pub(crate) fn unstartable(path: PathBuf, source: io::Error) -> Error {
    match source.kind() {
        // Also said of a binary whose loader is not there.
        io::ErrorKind::NotFound if !path.exists() => Error::Missing { path },
        io::ErrorKind::PermissionDenied => Error::NotExecutable { path },
        _ => Error::Start { path, source },
    }
}

/// How long an Envoy has to stay up before its next end is news, and not one more of a row.
const SETTLED: Duration = Duration::from_secs(30);
/// How long Envoy may take to answer on its way out.
const DRAIN_ANSWER: Duration = Duration::from_secs(2);
