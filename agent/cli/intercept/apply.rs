//! `hawser intercept apply` and `confirm`: rules by hand, for good or on trial.

use std::time::Duration;

use clap::Args;
use hawser_audit::RULES_APPLIED;
use hawser_intercept::{
    apply::{self, Places},
    gates::{self, Gates, Open},
    guard::{Phase, Surroundings as _},
    report::Report,
    trial::{self, Trial},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{sleep, timeout};

use super::{
    Wrong,
    around::{Around, Planned},
    nft, places, runtime,
};
use crate::{
    cli::{Context, Exit, complain, say},
    config::parse,
    log::note,
};

/// Load the rules that the settings mean now
///
/// In one transaction; connections that are open stay as they are. With hawser-intercept.service it
/// is that one which reads the settings again. Doing it twice is doing it once.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Only for this time, unless `hawser intercept confirm` comes: then nothing is redirected any
    /// more, by itself, even if the machine cannot be reached and nothing of hawser runs
    #[arg(long, value_name = "TIME", value_parser = time)]
    confirm: Option<Duration>,
}

/// Keep the rules that are on trial
#[derive(Debug, Args)]
pub(super) struct Confirm {}

fn time(text: &str) -> Result<Duration, String> {
    let time = parse::some_time(text).filter(|time| *time <= LONGEST);
    time.ok_or_else(|| "expected a time of at most a day, such as 60s or 5m".to_owned())
}

impl Apply {
    pub(super) fn run(&self, context: &Context) -> Result<Exit, Wrong> {
        let places = places(context);
        let around = Around::of(context);
        // Wrong settings are told here, not in the journal of somebody else.
        let planned = runtime()?.block_on(around.planned())?;
        for warning in planned.warnings() {
            complain(format_args!("hawser: {warning}"));
        }
        runtime()?.block_on(async {
            match places.unguarded()? {
                None => self.by_guard(&places).await,
                Some(_alone) => {
                    let exit = self.by_hand(&places, &around, &planned).await?;
                    if exit == Exit::Ok {
                        note(context.paths.root(), RULES_APPLIED, "rules applied by hand", &[]);
                    }
                    Ok(exit)
                }
            }
        })
    }

    /// The guard reads the settings again, and respects a trial.
    async fn by_guard(&self, places: &Places) -> Result<Exit, Wrong> {
        let before = Report::read(places)?;
        match self.confirm {
            Some(time) => drop(Trial::begin(places, time)?),
            None => Trial::forget(places)?,
        }
        let Some(before) = before else { return Ok(unheard()) };
        let pid = Pid::from_raw(before.pid.cast_signed());
        if let Err(error) = kill(pid, Signal::SIGHUP) {
            return Err(Wrong::Other(anyhow::Error::new(error).context("tell the guard")));
        }
        let done = |report: &Report| {
            report.read > before.read && report.trial.is_some() == self.confirm.is_some()
        };
        let Some(report) = reported(places, done).await else { return Ok(unheard()) };
        say(format_args!("hawser-intercept.service {report}"));
        if let Some(trouble) = &report.trouble {
            complain(format_args!("hawser: {trouble}"));
            return Ok(Exit::Failed);
        }
        if report.phase == Phase::Waiting {
            say("rules go in when Envoy listens: `systemctl status hawser-envoy`");
        }
        self.told();
        Ok(Exit::Ok)
    }

    async fn by_hand(
        &self,
        places: &Places,
        around: &Around,
        planned: &Planned,
    ) -> Result<Exit, Wrong> {
        let Planned { settings, machine, view, plan, .. } = planned;
        let nft = nft()?;
        if !settings.enabled || plan.gates().is_empty() {
            apply::clear(&nft, places).await?;
            Trial::forget(places)?;
            say("the settings redirect nothing, and nothing is loaded");
            return Ok(Exit::Ok);
        }
        if !view.envoy_listens(plan, &settings.options, machine) {
            let ports = hawser_intercept::view::needed(plan, &settings.options);
            complain(format_args!(
                "hawser: Envoy does not listen on {ports:?}: what is redirected would be refused"
            ));
            complain(
                "hawser: start it first; `systemctl start hawser` does both, and waits for it",
            );
            return Ok(Exit::NotNow);
        }
        let answers = match &settings.options.dns {
            Some(dns) => all_answer(around, &dns.listen).await,
            None => true,
        };
        let how = self.confirm.map_or(Open::Lasting, Open::For);
        let open =
            Gates { outbound: how, inbound: how, dns: if answers { how } else { Open::Shut } };
        match self.confirm {
            Some(time) => drop(Trial::begin(places, time)?),
            None => Trial::forget(places)?,
        }
        apply::apply(&nft, plan, &open, places).await?;
        say("rules are loaded, and traffic goes to Envoy");
        if !answers {
            say("questions do not: the agent does not answer them");
        }
        self.told();
        say("nobody looks after them: hawser-intercept.service does, `systemctl start hawser`");
        Ok(Exit::Ok)
    }

    /// What happens next, and how it is undone.
    fn told(&self) {
        match self.confirm {
            Some(time) => {
                say(format_args!(
                    "on trial: in {time:?} nothing is redirected any more, whatever happens"
                ));
                say("next: see that the machine can be reached, then `hawser intercept confirm`");
            }
            None => {
                say("next: `hawser intercept show` says what is hit, `hawser intercept clear` \
                         takes it back");
            }
        }
    }
}

impl Confirm {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(&self, context: &Context) -> Result<Exit, Wrong> {
        let places = places(context);
        runtime()?.block_on(async {
            let trial = Trial::read(&places)?;
            match trial {
                Trial::None => {
                    say("nothing is on trial");
                    return Ok(Exit::Ok);
                }
                Trial::Over => return Ok(over()),
                Trial::Until(_) => {}
            }
            if places.unguarded()?.is_none() {
                Trial::forget(&places)?;
                let done = |report: &Report| report.trial.is_none();
                let Some(report) = reported(&places, done).await else { return Ok(unheard()) };
                say(format_args!("confirmed: hawser-intercept.service {report}"));
                return Ok(Exit::Ok);
            }
            let nft = nft()?;
            let listing = nft.table().await?.unwrap_or_default();
            let open = gates::listed(&listing);
            if trial.left(trial::now()).is_none() || open == Gates::default() {
                return Ok(over());
            }
            let lasting = |open: &Open| if open.is_open() { Open::Lasting } else { Open::Shut };
            apply::open(&nft, &open.map(|_, open| lasting(open)), &places).await?;
            Trial::forget(&places)?;
            say("confirmed: the rules stay until `hawser intercept clear`, or a reboot");
            Ok(Exit::Ok)
        })
    }
}

async fn all_answer(around: &Around, addresses: &[std::net::SocketAddr]) -> bool {
    for address in addresses {
        if !matches!(timeout(ANSWER, around.answers(*address)).await, Ok(true)) {
            return false;
        }
    }
    true
}

/// What the guard says when that is `done`; none, if it does not in time.
async fn reported(places: &Places, done: impl Fn(&Report) -> bool) -> Option<Report> {
    let seen = async {
        loop {
            if let Ok(Some(report)) = Report::read(places)
                && done(&report)
            {
                return report;
            }
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, seen).await.ok()
}

fn over() -> Exit {
    complain("hawser: the trial is over, and nothing is redirected any more");
    complain("hawser: `hawser intercept apply` begins again");
    Exit::Failed
}

fn unheard() -> Exit {
    complain("hawser: hawser-intercept.service runs and does not react");
    complain("hawser: `journalctl -u hawser-intercept`, `systemctl restart hawser-intercept`");
    Exit::Failed
}

const LONGEST: Duration = Duration::from_secs(86_400);
const ANSWER: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);
