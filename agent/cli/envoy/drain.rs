//! `hawser envoy drain`: lets connections end, before Envoy is told to.

use std::time::Duration;

use clap::Args;
use hawser_envoy::{
    admin::Admin,
    drain::{Options, Step, What},
    launch::Launch,
    unit::Unit,
};
use hawser_rt::{Chain, Notifier};

use super::{
    super::drain::course,
    Context, Exit, Voice, known, runtime,
    wait::{keep, look},
};
use crate::drain::Told;

/// Take this machine out of the mesh and let Envoy's connections end
///
/// istiod is told that the machine is not well, Envoy's clients that they should go elsewhere, and
/// then connections are waited for, up to envoy.drain. It is over when Envoy is started again.
#[derive(Debug, Args)]
pub(super) struct Drain {
    /// Do not wait for connections longer than this; else envoy.drain
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
}

/// Who hears of it.
struct Listeners {
    voice: Voice,
    manager: Notifier,
}

impl Drain {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let environment = &context.environment;
        // Systemd says how it ended if it has: there is nothing left to drain.
        if environment.get("EXIT_CODE").is_some() {
            return Exit::Ok;
        }
        let voice = Voice::of(environment);
        let launch = match known(&context.paths) {
            Ok(launch) => launch,
            Err(exit) => return exit,
        };
        let unit = Unit::under(context.paths.root());
        let pid = environment.get("MAINPID").and_then(|pid| pid.parse().ok());
        if let Some(Err(error)) = pid.map(|pid| unit.note_asked(pid)) {
            voice.warn(Chain(&error));
        }
        let manager = Notifier::new(environment.get("NOTIFY_SOCKET").map(Into::into), None);
        let manager = match manager {
            Ok(manager) => manager,
            Err(error) => {
                voice.warn(Chain(&error));
                return Exit::Failed;
            }
        };
        let limit = self.limit.map_or(launch.drain, Duration::from_secs);
        match runtime() {
            Ok(runtime) => {
                let listeners = Listeners { voice, manager };
                runtime.block_on(drained(context, &launch, limit, &unit, &listeners));
                Exit::Ok
            }
            Err(exit) => exit,
        }
    }
}

/// Tells the agent, which tells the mesh if it can.
fn tell(context: &Context) -> Told {
    course::begin(context).unwrap_or_else(|error| {
        let reason = Some(format!("no answer from the agent: {error}"));
        Told { told: false, reason, deaf: None, inbound: Vec::new() }
    })
}

async fn drained(
    context: &Context,
    launch: &Launch,
    limit: Duration,
    unit: &Unit,
    Listeners { voice, manager }: &Listeners,
) {
    let admin = Admin::new(launch.admin);
    if let Err(error) = admin.ready().await {
        return voice.info(format_args!("drain: envoy does not answer: {}", Chain(&error)));
    }
    let told = tell(context);
    if look(launch).await.is_ok() {
        keep(unit, *voice);
    }
    let say = |line: String| {
        voice.info(format_args!("drain: {line}"));
        manager.status(&format!("drains: {line}"));
    };
    if told.told {
        let wait = launch.drain_wait;
        let whom = told.reason.as_deref().unwrap_or("the mesh is told");
        say(format!("{whom}, it has {} s to hear of it", wait.as_secs_f64()));
        manager.extend(wait + SLACK);
        course::heard(&told, wait).await;
    } else {
        let reason = told.reason.as_deref().unwrap_or_default();
        say(format!("the mesh cannot be told, nothing is waited for: {reason}"));
    }
    if limit.is_zero() {
        return;
    }
    manager.extend(limit + SLACK);
    let what = What::Everything { own_ports: launch.own_ports.clone() };
    let options = Options { admin, limit, what };
    match course::drained(context, &options, |step| say(step.to_string())).await {
        Ok(step @ (Step::Empty | Step::Gone | Step::Waits { .. })) => say(step.to_string()),
        Ok(step @ Step::Late { .. }) => {
            voice.warn(format_args!("drain: {step}; envoy.drain says how long is waited"));
        }
        Err(error) => voice.warn(format_args!("drain: envoy is not drained: {}", Chain(&error))),
    }
}

/// What the rest may take.
const SLACK: Duration = Duration::from_secs(30);
