//! `hawser envoy wait`: returns when Envoy serves, or says why it does not yet.

use std::time::Duration;

use clap::Args;
use hawser_envoy::{
    admin::Admin,
    launch::Launch,
    readiness::Verdict,
    unit::{self, Unit},
};
use hawser_rt::Chain;
use nix::{sys::signal::kill, unistd::Pid};
use tokio::time::{Instant, sleep};

use super::{super::ask::Said, Context, Exit, Voice, runtime};

/// Wait until Envoy serves
///
/// An Envoy that waits for istiod is no failure: after a while this says why Envoy is not ready, and
/// ends all the same. A bootstrap that Envoy has become ready with is kept.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    limit: u64,
}

impl Wait {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let voice = Voice::of(&context.environment);
        // There is a new Envoy: the old one's end is over, for the mesh too. Without an agent
        // there is nobody who thinks otherwise.
        drop(Said::post(&context.paths.admin_socket(), "/undrain"));
        let unit = Unit::under(context.paths.root());
        match runtime() {
            Ok(runtime) => {
                let main = context.environment.get("MAINPID").and_then(|pid| pid.parse().ok());
                runtime.block_on(self.wait(&unit, main, voice));
            }
            Err(exit) => return exit,
        }
        Exit::Ok
    }

    /// `main` is what systemd has started; without it there is nothing to wait for, and systemd
    /// waits for us.
    async fn wait(&self, unit: &Unit, main: Option<u32>, voice: Voice) {
        let late = Instant::now() + Duration::from_secs(self.limit);
        loop {
            let reason = match unit.started() {
                // It may be the one before: the next has yet to say that it is there.
                Some(started) if !lives(started.pid) => "it does not run".to_owned(),
                Some(started) => match look(&started.launch).await {
                    Ok(()) => {
                        let took = unit::uptime().saturating_sub(started.uptime).as_secs_f64();
                        voice.info(format_args!("envoy is ready, {took:.1} s after its start"));
                        return keep(unit, voice);
                    }
                    Err(reason) => reason,
                },
                None => "it has not been started yet".to_owned(),
            };
            if main.is_some_and(|main| !lives(main)) {
                return voice.warn("envoy has ended before it was ready");
            }
            if Instant::now() >= late {
                return voice.warn(format_args!("envoy is not ready yet: {reason}"));
            }
            sleep(LOOK).await;
        }
    }
}

/// Whether Envoy is ready, or why not.
pub(super) async fn look(launch: &Launch) -> Result<(), String> {
    match Admin::new(launch.admin).readiness().await {
        Ok(Verdict::Ready) => Ok(()),
        Ok(Verdict::NotReady(reason)) => Err(reason.to_string()),
        Err(error) => Err(Chain(&error).to_string()),
    }
}

/// Keeps what it was ready with.
pub(super) fn keep(unit: &Unit, voice: Voice) {
    if let Err(error) = unit.keep_good() {
        voice.warn(format_args!("its bootstrap is not kept: {}", Chain(&error)));
    }
}

fn lives(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None).is_ok())
}

const LOOK: Duration = Duration::from_millis(200);
