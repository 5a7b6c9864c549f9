//! A round: the checks that were asked for, one after the other, and what each has seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::{Check, Finding, Group, Outcome, Patient, groups};

/// Which checks, and how far they may go.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Names of checks and of groups; all of them if there are none.
    pub(crate) only: Vec<String>,
    /// Nobody is asked over the network.
    pub(crate) offline: bool,
}

/// What a check has seen.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seen {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) asks: &'static str,
    #[serde(flatten)]
    pub(crate) finding: Finding,
}

/// How many came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) ok: usize,
    pub(crate) warning: usize,
    pub(crate) failed: usize,
    pub(crate) unknown: usize,
}

/// All that was seen. Fields are added, and never change their meaning.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) version: &'static str,
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// Whether all of it could be seen.
    pub(crate) root: bool,
    pub(crate) summary: Summary,
    /// What to do first, if there is anything to do.
    pub(crate) first: Option<String>,
    pub(crate) checks: Vec<Seen>,
}

/// How long a check may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// A check that takes longer is given up.
    limit: Duration,
    /// From here on it is said what is waited for.
    slow: Duration,
}

/// Who wants to know how it goes on.
pub(crate) trait Watcher {
    /// A check takes its time.
    fn slow(&mut self, check: &Check);
    /// A group is done.
    fn group(&mut self, name: &str, seen: &[Seen]);
}

/// Nobody.
impl Watcher for () {
    fn slow(&mut self, _check: &Check) {}
    fn group(&mut self, _name: &str, _seen: &[Seen]) {}
}

impl Selection {
    /// The name that is no check and no group, if there is one.
    pub(crate) fn unknown_name(&self) -> Option<&str> {
        let known = |only: &&String| {
            let mut all = groups().into_iter();
            all.any(|group| {
                group.name == *only || group.checks.iter().any(|check| check.name == *only)
            })
        };
        self.only.iter().find(|only| !known(only)).map(String::as_str)
    }

    /// What is looked at: what was asked for, and what that needs.
    fn names(&self, groups: &[Group]) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::new();
        // What is needed stands before what needs it.
        for group in groups.iter().rev() {
            for check in group.checks.iter().rev() {
                let said = |only: &String| only == check.name || only == group.name;
                if self.only.is_empty() || self.only.iter().any(said) || names.contains(check.name)
                {
                    names.insert(check.name);
                    names.extend(check.needs);
                }
            }
        }
        names
    }
}

/// Looks at everything that is selected.
pub(crate) async fn go(
    patient: &Patient,
    selection: &Selection,
    watcher: &mut impl Watcher,
) -> Report {
    of(&groups(), patient, selection, PATIENCE, watcher).await
}

async fn of(
    groups: &[Group],
    patient: &Patient,
    selection: &Selection,
    patience: Patience,
    watcher: &mut impl Watcher,
) -> Report {
    let names = selection.names(groups);
    let offline = selection.offline;
    let mut round = Round { patient, offline, patience, stopped: BTreeMap::new() };
    let mut checks: Vec<Seen> = Vec::new();
    for group in groups {
        let before = checks.len();
        for check in group.checks {
            if !names.contains(check.name) || (patient.preflight && check.joined) {
                continue;
            }
            let finding = patient.told(round.look(check, watcher).await);
            checks.push(Seen { name: check.name, group: group.name, asks: check.asks, finding });
        }
        let seen = checks.get(before..).unwrap_or_default();
        if !seen.is_empty() {
            watcher.group(group.name, seen);
        }
    }
    let since = patient.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Report {
        version: crate::VERSION,
        time: since.as_secs(),
        root: patient.is_root,
        summary: Summary::of(&checks),
        first: first(&checks),
        checks,
    }
}

struct Round<'a> {
    patient: &'a Patient,
    offline: bool,
    patience: Patience,
    /// Checks that say nothing of others, and why: they failed, or could not look.
    stopped: BTreeMap<&'static str, String>,
}

impl Round<'_> {
    async fn look(&mut self, check: &Check, watcher: &mut impl Watcher) -> Finding {
        let hindered = self.hindered(check);
        let finding = match hindered {
            Some(ref why) => Finding::unknown(format!("{HINDERED}{why}")),
            None => self.within_limit(check, watcher).await,
        };
        let why = match finding.result {
            Outcome::Ok | Outcome::Warning => return finding,
            Outcome::Failed => format!("{} failed", check.name),
            // What is at the bottom of it is what people want to know.
            Outcome::Unknown => hindered.unwrap_or_else(|| format!("{} is not known", check.name)),
        };
        self.stopped.insert(check.name, why);
        finding
    }

    fn hindered(&self, check: &Check) -> Option<String> {
        if check.joined && !self.patient.is_of_a_mesh() {
            let why = self.stopped.get("joined").cloned();
            return Some(why.unwrap_or_else(|| "this machine has not joined".to_owned()));
        }
        let failed = check.needs.iter().find_map(|need| self.stopped.get(need)).cloned();
        failed.or_else(|| (check.network && self.offline).then(|| "--offline".to_owned()))
    }

    async fn within_limit(&self, check: &Check, watcher: &mut impl Watcher) -> Finding {
        let Patience { limit, slow } = self.patience;
        let look = timeout(limit, (check.look)(self.patient));
        tokio::pin!(look);
        // Cancel safe: the look goes on after it was found slow.
        let done = tokio::select! {
            done = &mut look => done,
            () = sleep(slow) => {
                watcher.slow(check);
                look.await
            }
        };
        done.unwrap_or_else(|_| Finding::unknown(format!("did not answer in {limit:?}")))
    }
}

impl Seen {
    /// Why it was not even looked at, if it was not.
    pub(crate) fn hindered(&self) -> Option<&str> {
        let unknown = self.finding.result == Outcome::Unknown;
        self.finding.evidence.strip_prefix(HINDERED).filter(|_| unknown)
    }
}

impl Summary {
    fn of(checks: &[Seen]) -> Self {
        let mut summary = Self::default();
        for seen in checks {
            *match seen.finding.result {
                Outcome::Ok => &mut summary.ok,
                Outcome::Warning => &mut summary.warning,
                Outcome::Failed => &mut summary.failed,
                Outcome::Unknown => &mut summary.unknown,
            } += 1;
        }
        summary
    }
}

/// What failed first is what others fail of.
fn first(checks: &[Seen]) -> Option<String> {
    let of = |result| checks.iter().find(move |seen| seen.finding.result == result);
    of(Outcome::Failed).or_else(|| of(Outcome::Warning))?.finding.remedy.clone()
}

const HINDERED: &str = "not looked at: ";
const PATIENCE: Patience =
    Patience { limit: Duration::from_secs(10), slow: Duration::from_millis(500) };

#[cfg(test)]
mod tests;
