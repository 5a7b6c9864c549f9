//! What the unit hawser-envoy has left.

use hawser_envoy::unit::{self, Ended, Started, Unit};
use hawser_rt::metrics::Registry;
use nix::{sys::signal::kill, unistd::Pid};
use serde::{Deserialize, Serialize};

use crate::config::paths::Paths;

/// How it is with the unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Envoy's process; null while there is none.
    pub pid: Option<u32>,
    /// What it says of itself.
    pub version: Option<String>,
    /// When it was started, in seconds since 1970.
    pub since: Option<u64>,
    /// Why it was started with the last bootstrap that it was ready with, and not with the newest.
    pub refused: Option<String>,
    /// How the one before it ended, if that was not as it was told.
    pub ended: Option<EndedStatus>,
    /// How often it has ended without having been told to, since the machine was switched on.
    pub unasked: u64,
}

/// How an Envoy ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedStatus {
    /// Of which kind it was.
    pub kind: String,
    /// What has happened.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// What it has left; none if it has not run here.
pub fn read(paths: &Paths) -> Option<Status> {
    let unit = Unit::under(paths.root());
    let (started, ended) = (unit.started(), unit.ended());
    (started.is_some() || ended.is_some()).then(|| status(started, ended, lives))
}

/// What of it is counted.
pub fn register(paths: &Paths, metrics: &Registry) {
    let unit = Unit::under(paths.root());
    let read = unit.clone();
    metrics.computed(
        "hawser_envoy_unasked_ends",
        "How often Envoy has ended without having been told to, since the machine was switched on.",
        &[],
        #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
        move || read.ended().map(|ended| ended.unasked as f64),
    );
    metrics.computed(
        "hawser_envoy_last_good",
        "Whether Envoy was started with the last bootstrap that it was ready with, and not with the newest.",
        &[],
        move || unit.started().map(|started| f64::from(u8::from(started.refused.is_some()))),
    );
}

fn status(started: Option<Started>, ended: Option<Ended>, lives: impl Fn(u32) -> bool) -> Status {
    let started = started.filter(|started| lives(started.pid));
    let unasked = ended.as_ref().map_or(0, |ended| ended.unasked);
    let ended = ended.filter(|ended| ended.kind != hawser_envoy::ending::Kind::AsTold);
    let ended = ended.map(|Ended { kind, what, remedy, at, .. }| EndedStatus {
        kind: kind.to_string(),
        what,
        remedy,
        at,
    });
    let Some(Started { pid, at, version, refused, .. }) = started else {
        return Status { ended, unasked, ..Status::default() };
    };
    Status { pid: Some(pid), version: Some(version), since: Some(at), refused, ended, unasked }
}

fn lives(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None).is_ok())
}

impl Status {
    /// What is missing there, in a short sentence; none if nothing is.
    pub fn missing(&self) -> Option<String> {
        match (&self.pid, &self.ended) {
            (Some(_), _) => None,
            (None, Some(EndedStatus { kind, what, .. })) => {
                Some(format!("envoy does not run: it ended ({kind}): {what}"))
            }
            (None, None) => Some("envoy does not run".to_owned()),
        }
    }

    /// How the one before it ended, if that was lately and led to this one.
    pub fn ended_lately(&self) -> Option<String> {
        let EndedStatus { kind, what, remedy, at } = self.ended.as_ref()?;
        let soon = self.since.is_some_and(|since| since.saturating_sub(*at) < RECENT);
        let lately = unit::now().saturating_sub(*at) < SHOWN;
        (self.pid.is_some() && soon && lately)
            .then(|| format!("the one before it ended ({kind}): {what}; {remedy}"))
    }
}

/// How soon after an end a start has to come to be of interest because of it.
const RECENT: u64 = 600;
/// How long an end is shown, in seconds.
const SHOWN: u64 = 86_400;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hawser_envoy::ending::Kind;

    use super::*;

    fn started() -> Started {
        Started {
            pid: 7,
            at: unit::now(),
            uptime: Duration::ZERO,
            binary: "/usr/bin/envoy".into(),
            version: "1.40.0".into(),
            refused: Some("no such field".into()),
            launch: serde_json::from_value(serde_json::json!({
                "binary": null, "arguments": [], "admin": "127.0.0.1:1", "own_ports": [],
                "drain_wait": {"secs": 0, "nanos": 0}, "drain": {"secs": 0, "nanos": 0},
                "log": "journal", "transparent": false,
            }))
            .unwrap(),
        }
    }

    fn ended(kind: Kind) -> Ended {
        let (what, remedy) = ("killed by SIGKILL".into(), "look".into());
        Ended { kind, what, remedy, at: unit::now(), up: 1, in_a_row: 1, unasked: 3 }
    }

    #[test]
    fn an_envoy_that_does_not_run_is_missing_with_how_it_ended() {
        let gone = status(Some(started()), Some(ended(Kind::Killed)), |_| false);
        let missing = "envoy does not run: it ended (killed): killed by SIGKILL";
        assert_eq!(gone.missing().as_deref(), Some(missing));
        assert_eq!(gone.ended_lately(), None);
        let stopped = status(None, Some(ended(Kind::AsTold)), |_| true);
        assert_eq!(stopped.missing().as_deref(), Some("envoy does not run"));
    }

    #[test]
    fn one_that_runs_tells_of_the_one_before_it() {
        let runs = status(Some(started()), Some(ended(Kind::Killed)), |_| true);
        assert_eq!((runs.missing(), runs.unasked), (None, 3));
        let said = "the one before it ended (killed): killed by SIGKILL; look";
        assert_eq!(runs.ended_lately().as_deref(), Some(said));
    }
}
