//! What the guard says of itself: to systemd, to the journal when something turns, and to whoever
//! reads its file.

use std::time::Duration;

use hawser_audit::{GATES_CHANGED, RULES_APPLIED};
use hawser_rt::Throttle;
use tracing::{info, warn};

use super::run::Guard;
use super::{Phase, Surroundings};
use crate::report::{PERIOD, Report, seconds};
use crate::trial::Trial;
use crate::view;

impl<S: Surroundings> Guard<'_, S> {
    /// Says what is new.
    pub(super) fn tell(&mut self) {
        let phase = match (self.settings.enabled, self.trial) {
            (false, _) => Phase::Off,
            (true, _) if self.plan.gates().is_empty() => Phase::Idle,
            (true, Trial::Over) => Phase::Reverted,
            (true, _) => self.core.phase(),
        };
        let first = self.written.is_none();
        let before = self.written.as_ref().is_some_and(|report| report.gates.dns);
        if phase != self.phase || first {
            if phase != self.phase {
                self.since = seconds();
            }
            self.phase = phase;
            self.say();
        }
        let report = self.report();
        if report.gates.dns != before && self.settings.options.dns.is_some() {
            self.tell_of_questions(report.gates.dns);
        }
        let same = self.written.as_ref().is_some_and(|written| {
            report == Report { at: report.at, ..written.clone() } && report.at < written.at + PERIOD
        });
        if same {
            return;
        }
        self.notifier.status(&report.to_string());
        match report.write(&self.places) {
            Ok(()) => self.written = Some(report),
            Err(error) => self.fail(&error),
        }
    }

    /// A flood of questions may keep the agent from answering for a moment, again and again.
    fn tell_of_questions(&self, redirected: bool) {
        let message_id = GATES_CHANGED.id;
        match (redirected, self.core.phase()) {
            (true, _) => {
                if let Some(suppressed) = BACK.allow() {
                    info!(message_id, suppressed, "questions go to the agent");
                }
            }
            (false, Phase::Waiting) => {}
            (false, _) => {
                if let Some(suppressed) = AWAY.allow() {
                    warn!(
                        message_id,
                        suppressed,
                        "the agent does not answer, questions go where they went before"
                    );
                }
            }
        }
    }

    fn say(&self) {
        let ports = view::needed(&self.plan, &self.settings.options);
        let message_id = match self.phase {
            Phase::Redirecting => RULES_APPLIED.id,
            _ => GATES_CHANGED.id,
        };
        match self.phase {
            Phase::Off => info!(message_id, "interception is off"),
            Phase::Idle => info!(message_id, "there is nothing to redirect"),
            Phase::Waiting => info!(?ports, "waits for envoy to listen"),
            Phase::Redirecting => info!(message_id, ?ports, "traffic goes to envoy"),
            Phase::Holding => warn!(message_id, ?ports, "envoy does not listen, connections fail"),
            Phase::Lifted => warn!(message_id, ?ports, on_failure = ?self.settings.on_failure,
                "envoy does not listen, connections go past it"),
            Phase::Reverted => warn!(
                message_id,
                "the trial was not confirmed, nothing is redirected; \
                `hawser intercept apply` begins again"
            ),
        }
    }

    fn report(&self) -> Report {
        let mut warnings = self.warnings.clone();
        warnings.extend(self.refused.iter().map(|error| format!("settings are wrong: {error}")));
        let over = self.trial == Trial::Over;
        Report {
            pid: std::process::id(),
            phase: self.phase,
            since: self.since,
            at: seconds(),
            envoy: self.core.listens(),
            on_failure: self.settings.on_failure,
            gates: self.keep.opened().map(|_, open| *open && !over),
            trial: match self.trial {
                Trial::Until(until) => u64::try_from(until.as_millis()).ok(),
                Trial::None | Trial::Over => None,
            },
            repairs: self.keep.repairs,
            drift: self.keep.drift.clone(),
            read: self.read,
            warnings,
            trouble: self.trouble.clone(),
            hits: self.keep.hits.clone(),
        }
    }
}

static AWAY: Throttle = Throttle::new(MINUTE);
static BACK: Throttle = Throttle::new(MINUTE);
const MINUTE: Duration = Duration::from_secs(60);
