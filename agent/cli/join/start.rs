//! The agent is started, and waited for; then: what to try next.

use std::{io, time::Duration};

use hawser_rt::{Chain, signal::Signals};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Join, complain, say};
use crate::{
    cli::{
        Context, Exit,
        ask::Said,
        envoy,
        status::wait::{self, Shown},
    },
    config::Config,
    install::service::{AGENT, Service, complaint},
    status::lacks::Lack,
};

/// How a start went.
enum Started {
    Ready,
    /// Not within the time; with what is missing, as far as the agent says it.
    Late(Vec<Lack>),
    Failed(String),
    Stopped(&'static str),
}

impl Join {
    /// Starts what was joined with, if that is wanted and there is something to do it with.
    /// `changed`: what runs has to read it anew.
    pub(super) fn start(&self, context: &Context, config: &Config, changed: bool) -> Exit {
        let Some(service) = Service::find(&context.paths) else {
            say(match context.paths.is_system() {
                true => "next: hawser run".to_owned(),
                false => format!("next: hawser run --root {}", context.paths.root().display()),
            });
            return Exit::Ok;
        };
        if let Err(error) = service.enable(!(self.no_start || self.offline)) {
            complain(format_args!("hawser: {}", Chain(&error)));
            return Exit::Failed;
        }
        if self.no_start || self.offline || !service.booted {
            say(format_args!("{AGENT} starts at the next boot"));
            if service.booted {
                say("next: systemctl start hawser");
            }
            return Exit::Ok;
        }
        // One that is only starting has read what was there before, too.
        let state = service.state();
        let runs = state.is_ok_and(|state| !["inactive", "failed"].contains(&&*state.active));
        match self.started(context, &service, runs && changed) {
            Ok(started) => told(context, config, self.wait, started),
            Err(error) => {
                complain(format_args!("hawser: start a runtime: {error}"));
                Exit::Failed
            }
        }
    }

    fn started(&self, context: &Context, service: &Service, again: bool) -> io::Result<Started> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let started = runtime.block_on(async {
            let mut signals = match Signals::install() {
                Ok(signals) => signals,
                Err(error) => return Started::Failed(Chain(&error).to_string()),
            };
            // Cancel safe: systemd goes on by itself.
            tokio::select! {
                started = brought_up(context, service, again, self.wait) => started,
                signal = signals.stop() => Started::Stopped(signal),
            }
        });
        runtime.shutdown_background();
        Ok(started)
    }
}

/// Has systemd start it, then asks the agent itself until nothing is missing.
async fn brought_up(context: &Context, service: &Service, again: bool, wait: Duration) -> Started {
    let deadline = Instant::now() + wait;
    let mut shown = Shown::default();
    shown.show(if again { "restarting" } else { "starting" });
    let started = match timeout_at(deadline, service.start(again).output()).await {
        Ok(Ok(output)) if output.status.success() => {
            if again && let Err(error) = service.follow(!envoy::is_current(&context.paths)) {
                complain(format_args!("hawser: {}", Chain(&error)));
            }
            ready(context, service, deadline, &mut shown).await
        }
        Ok(Ok(output)) => Started::Failed(complaint(&output)),
        Ok(Err(error)) => Started::Failed(format!("run systemctl: {error}")),
        Err(_late) => Started::Late(wait::lacks(&context.paths).unwrap_or_default()),
    };
    shown.clear();
    started
}

async fn ready(
    context: &Context,
    service: &Service,
    deadline: Instant,
    shown: &mut Shown,
) -> Started {
    loop {
        let lacks = wait::lacks(&context.paths);
        match &lacks {
            // What the agent does not know of yet may still be on its way up.
            Ok(lacks) if lacks.is_empty() && !service.is_busy() => return Started::Ready,
            Ok(lacks) if lacks.is_empty() => shown.show("waits for systemd"),
            Ok(lacks) => shown.show(&wait::told(lacks)),
            Err(_) => {
                if let Ok(state) = service.state()
                    && ["failed", "inactive"].contains(&state.active.as_str())
                {
                    let why = format!("it ended ({}, status {})", state.result, state.status);
                    return Started::Failed(why);
                }
            }
        }
        if Instant::now() >= deadline {
            return Started::Late(lacks.unwrap_or_default());
        }
        sleep(LOOK).await;
    }
}

fn told(context: &Context, config: &Config, wait: Duration, started: Started) -> Exit {
    match started {
        Started::Ready => {
            say("ready");
            say(format_args!("try: {}", next(context, config)));
            Exit::Ok
        }
        Started::Stopped(signal) => {
            complain(format_args!("hawser: stopped by {signal}; {AGENT} goes on starting"));
            Exit::Failed
        }
        Started::Failed(why) => {
            complain(format_args!("hawser: {AGENT} does not start: {why}"));
            complain("hawser: `journalctl -u hawser` says why");
            Exit::Failed
        }
        // A mesh may have nothing for Envoy yet; the machine is in it all the same.
        Started::Late(lacks) if !lacks.is_empty() && lacks.iter().all(is_traffic) => {
            say("the agent is ready, and traffic is not yet:");
            for Lack { part, why } in lacks {
                say(format_args!("  {part}: {why}"));
            }
            say("`hawser status --wait-ready` waits for all of it");
            say(format_args!("try: {}", next(context, config)));
            Exit::Ok
        }
        Started::Late(lacks) => {
            complain(format_args!("hawser: joined, but not ready within {wait:?}"));
            for Lack { part, why } in lacks {
                complain(format_args!("hawser: not ready: {part}: {why}"));
            }
            complain("hawser: it goes on trying; `hawser status`, `journalctl -u hawser`");
            Exit::NotNow
        }
    }
}

/// Whether it is something beside the agent.
fn is_traffic(lack: &Lack) -> bool {
    ["envoy", "rules"].contains(&lack.part.as_str())
}

/// A name that the mesh has, asked for as programs will.
fn next(context: &Context, config: &Config) -> String {
    if config.dns.is_none() {
        return "hawser status".to_owned();
    }
    match mesh_name(context) {
        Some(name) => format!("hawser dns query {name}"),
        None => "hawser status; `hawser dns table` lists the names of the mesh".to_owned(),
    }
}

/// Rather a service of somebody's than one of the cluster's own.
fn mesh_name(context: &Context) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Row {
        host: String,
    }
    let said = Said::ask(&context.paths.admin_socket(), "/dns/table").ok()?;
    let text = if said.status == 200 { said.text().ok()? } else { return None };
    let rows = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Row>(line.trim().trim_end_matches(',')).ok());
    let mut hosts: Vec<String> = rows.map(|row| row.host).collect();
    hosts.sort_by_key(|host| OWN.iter().any(|own| host.contains(own)));
    hosts.into_iter().find(|host| !host.starts_with('*'))
}

/// Namespaces in which nobody looks for their own.
const OWN: [&str; 3] = [".kube-system.", ".istio-system.", "kubernetes.default."];
const LOOK: Duration = Duration::from_millis(200);
