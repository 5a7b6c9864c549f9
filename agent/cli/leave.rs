//! `hawser leave`: what `join` has done is undone.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use clap::Args;
use hawser_audit::LEFT;
use hawser_rt::Chain;

use super::{Context, Exit, ask, complain, intercept::clear, say};
use crate::{
    config::{Config, paths, services, source},
    install::{
        removal::{self, Thing},
        service::{self, Service},
    },
    log::note,
};

/// Leave the mesh: stop, and take away what was joined
///
/// Envoy drains, packet rules are cleared, and the services are stopped and disabled. What this
/// machine has kept (its certificate above all) stays for another join, unless it is purged.
/// Istio's own files are left alone.
#[derive(Debug, Args)]
pub(super) struct Leave {
    /// Take away state and certificates too
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// What is to be done.
struct Plan {
    service: Option<Service>,
    /// Units that run.
    stop: Vec<String>,
    /// Units that start at a boot.
    disable: Vec<String>,
    remove: Vec<Thing>,
    keep: Vec<Thing>,
}

impl Leave {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let plan = match self.planned(context) {
            Ok(plan) => plan,
            Err(error) => {
                complain(format_args!("hawser: {}", Chain(&error)));
                return Exit::Failed;
            }
        };
        if plan.is_empty() {
            say("this machine has not joined a mesh: nothing to do");
            foreign(context);
            return Exit::Ok;
        }
        plan.show();
        if !self.yes {
            match agreed() {
                Some(true) => {}
                Some(false) => {
                    say("nothing was changed");
                    return Exit::Ok;
                }
                None => {
                    complain("hawser: nobody to ask: `hawser leave --yes` does it");
                    return Exit::Usage;
                }
            }
        }
        match plan.carried_out(context) {
            Ok(()) => {
                say(if self.purge { "left, and nothing kept" } else { "left" });
                foreign(context);
                Exit::Ok
            }
            Err(error) => {
                complain(format_args!("hawser: {error}"));
                Exit::Failed
            }
        }
    }

    fn planned(&self, context: &Context) -> Result<Plan, service::Error> {
        let service = Service::find(&context.paths);
        let (mut stop, mut disable) = (Vec::new(), Vec::new());
        if let Some(service) = &service {
            if service.booted {
                stop = service.running()?;
            }
            disable = service.enabled()?;
        }
        let mut remove = removal::joined(&context.paths);
        let kept = removal::kept(&context.paths, &exports(context));
        let keep = if self.purge {
            remove.extend(kept);
            Vec::new()
        } else {
            kept
        };
        Ok(Plan { service, stop, disable, remove, keep })
    }
}

impl Plan {
    /// What is kept is no reason to do anything.
    fn is_empty(&self) -> bool {
        self.stop.is_empty() && self.disable.is_empty() && self.remove.is_empty()
    }

    fn show(&self) {
        let row = |name: &str, value: &str| say(format_args!("{name:<10} {value}"));
        if !self.stop.is_empty() {
            row("stops", &self.stop.join(" "));
        }
        if !self.disable.is_empty() {
            row("disables", &self.disable.join(" "));
        }
        for Thing { path, what } in &self.remove {
            row("removes", &format!("{}: {what}", path.display()));
        }
        for Thing { path, what } in &self.keep {
            row("keeps", &format!("{}: {what}; --purge removes it", path.display()));
        }
    }

    fn carried_out(&self, context: &Context) -> Result<(), String> {
        if let Some(service) = &self.service {
            let said = |error: service::Error| Chain(&error).to_string();
            service.stop(&self.stop).map_err(said)?;
            service.disable(&self.disable).map_err(said)?;
        }
        // One that was started by hand, or by another supervisor, would write it all anew.
        if let Some(running) = ask::quietly(&context.paths) {
            return Err(format!(
                "the agent still runs (pid {}): stop it, and say this again",
                running.pid
            ));
        }
        // Rules that were loaded by hand would have nobody behind them.
        if context.paths.is_system() && nix::unistd::geteuid().is_root() {
            clear::on_leaving(context)?;
        }
        removal::remove(&self.remove).map_err(|error| Chain(&error).to_string())?;
        removal::tidy(&context.paths);
        note(context.paths.root(), LEFT, "left the mesh", &[]);
        Ok(())
    }
}

/// Where certificates for other programs are: as configured, and as they may have been before.
fn exports(context: &Context) -> Vec<PathBuf> {
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    let config = Config::load(&context.paths, &sources).ok();
    let said = config.and_then(|config| config.export).map(|export| export.directory);
    let usual = context.paths.at(CERTIFICATES);
    let mut all = vec![usual];
    all.extend(said.filter(|said| !all.contains(said)));
    all
}

/// A machine on which Istio's own agent was is still one that has joined.
fn foreign(context: &Context) {
    let legacy = paths::BUNDLE.iter().filter(|(_, at)| !at.is_empty());
    let there = legacy.map(|(_, at)| context.paths.at(at)).find(|path| path.exists());
    if let Some(path) = there {
        say(format_args!(
            "note: {} is Istio's own, and is left alone; with it an agent that is started still \
             joins",
            path.display()
        ));
    }
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    if services::suffice(&context.paths, &sources.values) {
        say(
            "note: there is a file of services, with which this machine goes on without the mesh: \
             `systemctl enable --now hawser`",
        );
    }
}

/// What somebody at a terminal says; None where there is none.
fn agreed() -> Option<bool> {
    if !io::stdin().is_terminal() {
        return None;
    }
    drop(write!(io::stdout(), "Leave the mesh? [y/N] "));
    drop(io::stdout().flush());
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// The usual place of certificates for other programs.
const CERTIFICATES: &str = "etc/certs";
