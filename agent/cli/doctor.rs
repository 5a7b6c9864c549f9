//! `hawser doctor`: what is wrong with this machine, and what to do.

mod screen;

use std::path::{Path, PathBuf};

use clap::Args;
use hawser_rt::Chain;

use self::screen::Screen;
use super::{Context, Exit, ask, complain, complain_of, say};
use crate::{
    bundle::Bundle,
    config::problem::Problems,
    doctor::{
        Check, Group, Patient, groups,
        round::{self, Report, Selection},
    },
    install::Staged,
};

/// Look for what is wrong with this machine, and say what to do
///
/// Looks at clock, disk and kernel, credentials, the way to istiod, the file of services and what is
/// behind its gateways, the running agent, names, traffic rules, Envoy and gateways, in an order in
/// which the first thing that is wrong is the one to mend; that one is the last line. Whatever is
/// wrong is shown with what was seen, why, and what to do. Nothing is changed. What only root sees is
/// named, and is no fault.
///
/// Services of the file are called through their gateways with this machine's certificate, a dozen of
/// them at most; those that speak HTTP are asked `OPTIONS /`, which changes nothing, others nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    /// Ask nobody over the network
    #[arg(long)]
    offline: bool,
    /// Look at a machine before it joins, with the directory or tar that it is to join with
    #[arg(long, value_name = "BUNDLE", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "the flag, and what it may be given")]
    preflight: Option<Option<PathBuf>>,
    /// Only these checks or groups of checks, and what they need
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Show what is in order too
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
    /// Name the checks and what each asks, and look at nothing
    #[arg(long)]
    list: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(&self, context: &Context) -> Exit {
        if self.list {
            self.list();
            return Exit::Ok;
        }
        let selection = Selection { only: self.only.clone(), offline: self.offline };
        if let Some(name) = selection.unknown_name() {
            complain(format_args!(
                "hawser: {name} is no check and no group; `hawser doctor --list` names them"
            ));
            return Exit::Usage;
        }
        let visit = match Visit::of(context, self.preflight.as_ref()) {
            Ok(visit) => visit,
            Err(exit) => return exit,
        };
        let mut screen = Screen::of(context, self.verbose, self.json);
        let report = match visit.report(&selection, &mut screen) {
            Ok(report) => report,
            Err(error) => {
                complain(format_args!("hawser: start a runtime: {error}"));
                return Exit::Failed;
            }
        };
        if self.json {
            say(json(&report));
        } else {
            screen.end(&report);
        }
        if report.summary.failed == 0 { Exit::Ok } else { Exit::Failed }
    }

    fn list(&self) {
        let groups = groups();
        let all = groups.iter().flat_map(|group| group.checks.iter().map(move |one| (group, one)));
        if self.json {
            let row = |(group, check): (&Group, &Check)| serde_json::json!({ "name": check.name, "group": group.name, "asks": check.asks });
            say(json(&serde_json::json!({ "checks": all.map(row).collect::<Vec<_>>() })));
            return;
        }
        for (group, check) in all {
            say(format_args!("{:<12} {:<24} {}", group.name, check.name, check.asks));
        }
    }
}

/// All that a round needs. The files of a tar that is not installed are put aside for it.
pub(super) struct Visit {
    patient: Patient,
    /// Where the files of a bundle are; gone with it.
    _staged: Option<Staged>,
}

impl Visit {
    /// To a machine as it is, or before it joins.
    pub(super) fn of(context: &Context, preflight: Option<&Option<PathBuf>>) -> Result<Self, Exit> {
        let place = preflight.and_then(Option::as_ref);
        let staged = place.map(|place| unpacked(place, context)).transpose()?;
        let mut paths = context.paths.clone();
        if let Some(staged) = &staged {
            paths = paths.with_bundle(staged.dir());
        }
        let said = ask::tried(&paths);
        let mut patient = Patient::seen(paths, &context.environment, &context.flags, said);
        patient.preflight = preflight.is_some();
        let dir = |staged: &Staged| staged.dir().to_owned();
        patient.called = staged.as_ref().map(dir).zip(place.cloned());
        Ok(Self { patient, _staged: staged })
    }

    /// What is seen on it.
    pub(super) fn report(
        &self,
        selection: &Selection,
        watcher: &mut impl round::Watcher,
    ) -> std::io::Result<Report> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(round::go(&self.patient, selection, watcher));
        runtime.shutdown_background();
        Ok(report)
    }
}

/// Puts the files of a bundle aside, so that they are read like those that are installed.
fn unpacked(place: &Path, context: &Context) -> Result<Staged, Exit> {
    let told = |problems: Problems| complain_of(&problems);
    let bundle = Bundle::read(place).map_err(told)?;
    Staged::aside(&bundle, &context.paths).map_err(|error| {
        complain(format_args!("hawser: {}", Chain(&error)));
        Exit::Failed
    })
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
const EXAMPLES: &str = "Exit codes: 0 nothing has failed (there may be warnings), 1 something has, \
                        64 wrong usage, 78 the bundle is none.\n\n\
                        Examples:\n  \
                        hawser doctor                      what is wrong here\n  \
                        hawser doctor --preflight bundle/  before joining\n  \
                        hawser doctor --only istiod -v     the way to istiod, all of it\n  \
                        hawser doctor --json               for scripts: an object with `checks`";
