//! `hawser drain`: the machine out of the mesh, with what is open left to end.

pub(super) mod course;

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use clap::Args;
use hawser_envoy::{
    admin::Admin,
    drain::{Options, Step, What},
};
use hawser_rt::Chain;
use serde_json::json;
use tokio::time::Instant;

use super::{Context, Exit, ask, complain, envoy, say, status::wait::patience};
use crate::{drain::Told, install::service::Service};

/// Take the machine out of the mesh, and let what is open end
///
/// istiod is told that this machine is not well, the mesh gets the time to hear of it
/// (envoy.drain_wait), and then Envoy asks whoever has a connection to this machine to go elsewhere.
/// It goes on listening: who comes all the same is served. What programs of this machine have open
/// to others is left alone. Each step is told with the time that has passed.
#[derive(Debug, Args)]
#[command(after_help = "\
Without istiod, a load balancer that asks /healthz/ready is who is told: before a group of forwarders, \
this is the command of its hook for machines that go.\n\n\
It ends when another Envoy is started, which --undo does. A restart of the agent and a reboot end it \
too; `hawser maintenance on` is what outlasts them.\n\n\
Exit codes: 0 done (with --wait: no connection is left), 1 the mesh cannot be told and goes on \
sending traffic here, 3 no answer from the agent or from Envoy, 75 the time is up and connections \
are left.\n\n\
Examples:\n  hawser drain --wait --limit 5m && systemctl stop shop\n  hawser drain --undo")]
pub(super) struct Drain {
    /// Wait until the last connection to this machine has ended
    #[arg(long)]
    wait: bool,
    /// Do not wait for connections longer than this; else envoy.drain
    #[arg(long, value_name = "TIME", value_parser = patience, requires = "wait")]
    limit: Option<Duration>,
    /// Bring the machine back: Envoy is started again, and istiod told
    #[arg(long, conflicts_with_all = ["wait", "limit"])]
    undo: bool,
    /// As JSON, an object a line: after (seconds), step, connections, text
    #[arg(long)]
    json: bool,
}

impl Drain {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let timeline = Timeline { begun: Instant::now(), json: self.json };
        if self.undo {
            return undo(context, &timeline);
        }
        let told = match course::begin(context) {
            Ok(told) => told,
            Err(error) => return refused(context, &error),
        };
        let launch = match envoy::known(&context.paths) {
            Ok(launch) => launch,
            Err(exit) => return exit,
        };
        let limit = match self.wait {
            true => self.limit.unwrap_or(launch.drain),
            false => Duration::ZERO,
        };
        let what = What::Inbound { ports: told.inbound.clone() };
        let options = Options { admin: Admin::new(launch.admin), limit, what };
        match envoy::runtime() {
            Ok(runtime) => runtime.block_on(async {
                timeline.told(&told, launch.drain_wait);
                course::heard(&told, launch.drain_wait).await;
                self.drain(context, &options, &told, &timeline).await
            }),
            Err(exit) => exit,
        }
    }

    async fn drain(
        &self,
        context: &Context,
        options: &Options,
        told: &Told,
        timeline: &Timeline,
    ) -> Exit {
        let step = course::drained(context, options, |step| timeline.step(step)).await;
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                complain(format_args!("hawser: Envoy is not drained: {}", Chain(&error)));
                complain("hawser: is it running? `systemctl status hawser-envoy`, `hawser status`");
                return Exit::Down;
            }
        };
        match step {
            Step::Late { connections } if !self.wait => timeline.begun(connections),
            step => timeline.step(step),
        }
        match step {
            _ if !told.told => Exit::Failed,
            Step::Late { .. } if self.wait => Exit::NotNow,
            _ => Exit::Ok,
        }
    }
}

/// Envoy goes on asking its clients to go elsewhere until there is another.
fn undo(context: &Context, timeline: &Timeline) -> Exit {
    if let Some(service) = Service::find(&context.paths).filter(|_| context.paths.is_system()) {
        timeline.say("restart", None, "hawser-envoy.service is started again");
        if let Err(error) = service.renew_envoy() {
            complain(format_args!("hawser: {}", Chain(&error)));
            complain("hawser: `journalctl -u hawser-envoy -n 50` says why");
            return Exit::Failed;
        }
    }
    if let Err(error) = course::end(context) {
        return refused(context, &error);
    }
    timeline.say("undone", None, "this machine is not drained any more");
    if !context.paths.is_system() {
        timeline.say(
            "hint",
            None,
            "an Envoy that was drained is done with when it is started again",
        );
    }
    Exit::Ok
}

/// The agent does not do it, in its own words, or does not answer.
fn refused(context: &Context, error: &io::Error) -> Exit {
    if error.kind() != ErrorKind::Other {
        return ask::no_answer(&context.paths, error);
    }
    complain(format_args!("hawser: {error}"));
    Exit::Failed
}

/// What happens, each with the time that has passed.
struct Timeline {
    begun: Instant,
    json: bool,
}

impl Timeline {
    fn told(&self, told: &Told, wait: Duration) {
        match &told.reason {
            None => {
                let wait = wait.as_secs_f64();
                let text = format!("istiod is told, and the mesh has {wait} s to hear of it");
                self.say("told", None, &text);
            }
            Some(reason) if told.told => {
                let text = format!("{reason}; it has {} s to hear of it", wait.as_secs_f64());
                self.say("told", None, &text);
            }
            Some(reason) => {
                let text = format!("istiod is not told, the mesh sends traffic here: {reason}");
                self.say("not-told", None, &text);
            }
        }
    }

    fn step(&self, step: Step) {
        let open = |connections| format!("{} open", Step::count(connections));
        match step {
            Step::Waits { connections, .. } => self.say("open", connections, &open(connections)),
            Step::Empty => self.say("empty", Some(0), "no connections to this machine"),
            Step::Late { connections } => {
                let text = format!("the time is up, {}", open(connections));
                self.say("late", connections, &text);
            }
            Step::Gone => self.say("gone", None, "Envoy has ended"),
        }
    }

    fn begun(&self, connections: Option<u64>) {
        let text = format!("Envoy drains, {} open", Step::count(connections));
        self.say("open", connections, &text);
    }

    fn say(&self, step: &str, connections: Option<u64>, text: &str) {
        let after = self.begun.elapsed().as_secs_f64();
        if self.json {
            let after = (after * 1_000.0).round() / 1_000.0;
            let line =
                json!({"after": after, "step": step, "connections": connections, "text": text});
            say(line);
        } else {
            say(format_args!("{:<9} {text}", format!("+{after:.1} s")));
        }
    }
}
