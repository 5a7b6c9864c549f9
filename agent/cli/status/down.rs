//! What there is to say when nobody answers: what systemd knows of the service, how the last agent
//! ended, and what to do.

#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};

use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::{
    page::{Hue, Look, Page},
    screen,
};
use crate::{
    cli::span::span,
    config::paths::{Paths, ROOT_CERT},
    install::service::{Service, State as Unit},
    status::{
        State,
        advice::Trouble,
        past::{EndingStatus, Past},
    },
};

/// An agent that does not answer.
#[derive(Debug, Serialize)]
pub(super) struct Down {
    /// Of the program that was asked; no agent says its own.
    version: &'static str,
    state: State,
    at: u64,
    /// Since when, as far as that is known. Seconds since 1970, as all times.
    since: Option<u64>,
    /// Who does not answer, and how.
    socket: String,
    error: String,
    /// What systemd says; null where it has no such unit.
    unit: Option<UnitStatus>,
    /// How the last agent ended, in its own words.
    ended: Option<EndingStatus>,
    troubles: Vec<Trouble>,
}

/// The unit of the agent, in systemd's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct UnitStatus {
    active: String,
    sub: String,
    enabled: String,
    result: String,
    /// `exited`, `killed` or `dumped`, and with which number.
    code: Option<&'static str>,
    status: i32,
    restarts: u64,
}

/// Where the agent would be.
#[derive(Debug, Clone, Default)]
struct Place {
    /// The root, if it is not that of the machine.
    root: Option<String>,
    joined: bool,
    /// Whether the one who does not answer is there.
    hangs: bool,
}

impl Down {
    /// What is known at this moment.
    pub(super) fn look(paths: &Paths, error: &io::Error, at: u64) -> Self {
        let state = Service::find(paths).filter(|it| it.booted).and_then(|it| it.state().ok());
        let unit = state.as_ref().map(UnitStatus::of);
        let ended = Past::last(paths);
        let place = Place {
            root: (!paths.is_system()).then(|| paths.root().display().to_string()),
            joined: paths.bundle_file(ROOT_CERT).exists(),
            hangs: !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused),
        };
        let since = state.as_ref().and_then(|state| since(state, at));
        let mut down = Self {
            version: crate::VERSION,
            state: State::Down,
            at,
            since: since.or(ended.as_ref().and_then(|ended| ended.at)),
            socket: paths.admin_socket().display().to_string(),
            error: error.to_string(),
            unit,
            ended,
            troubles: Vec::new(),
        };
        down.troubles.push(down.trouble(&place));
        down
    }

    /// The same, for somebody who has seen it go.
    pub(super) fn seen_since(&mut self, seen: u64) {
        self.since.get_or_insert(seen);
    }

    pub(super) fn screen(&self, look: Look, most: usize) -> Vec<String> {
        let mut page = Page::new(look);
        let since = self.since.map(|since| {
            let (when, ago) = (crate::life::utc(since), self.at.saturating_sub(since));
            format!(" since {when}, for {}", span(ago.cast_signed()))
        });
        let (word, hue) = screen::state(self.state);
        page.row("hawser", hue, &format!("{word}{}", since.unwrap_or_default()));
        page.fit("", Hue::Faint, &self.socket, &format!(": {}", self.error));
        if let Some(unit) = &self.unit {
            page.row("systemd", Hue::Plain, &unit.sentence());
        }
        if let Some(EndingStatus { how, at, .. }) = &self.ended {
            let ago =
                at.map(|at| format!(", {} ago", span(self.at.saturating_sub(at).cast_signed())));
            page.fit("ended", Hue::Plain, how, &ago.unwrap_or_default());
        }
        screen::wrong(&mut page, self.at, &self.troubles);
        page.lines(most)
    }

    /// Why, and what to do.
    fn trouble(&self, place: &Place) -> Trouble {
        let (code, what, next) = match (&self.unit, place) {
            (Some(unit), _) if !unit.at_rest() => unit.running(place.hangs),
            (_, Place { hangs: true, .. }) => {
                ("silent", "an agent is there, and does not answer".to_owned(), JOURNAL.to_owned())
            }
            (_, Place { joined: false, root: None, .. }) => {
                ("not-joined", NOT_JOINED.to_owned(), "hawser join BUNDLE".to_owned())
            }
            (_, Place { joined: false, root: Some(root), .. }) => {
                ("not-joined", NOT_JOINED.to_owned(), format!("hawser join BUNDLE --root {root}"))
            }
            (Some(unit), _) => unit.resting(),
            (None, Place { root: Some(root), .. }) => {
                ("not-running", NOT_RUNNING.to_owned(), format!("hawser run --root {root}"))
            }
            (None, _) => ("not-running", NOT_RUNNING.to_owned(), "hawser run".to_owned()),
        };
        let (code, part) = (code.to_owned(), "agent".to_owned());
        Trouble { code, part, what, since: None, next }
    }
}

impl UnitStatus {
    fn of(state: &Unit) -> Self {
        let code = match state.code.as_str() {
            "1" => Some("exited"),
            "2" => Some("killed"),
            "3" => Some("dumped"),
            _ => None,
        };
        Self {
            active: state.active.clone(),
            sub: state.sub.clone(),
            enabled: state.enabled.clone(),
            result: state.result.clone(),
            code,
            status: state.status.parse().unwrap_or_default(),
            restarts: state.restarts.parse().unwrap_or_default(),
        }
    }

    /// Whether systemd does nothing with it.
    fn at_rest(&self) -> bool {
        ["inactive", "failed"].contains(&self.active.as_str())
    }

    fn sentence(&self) -> String {
        let mut text = format!("{} ({}), {}", self.active, self.sub, self.enabled);
        if let Some(end) = self.end() {
            text.push_str(&format!("; {end}"));
        }
        if self.restarts > 0 {
            text.push_str(&format!("; restarted {} times", self.restarts));
        }
        text
    }

    /// How its process has ended, if it has.
    fn end(&self) -> Option<String> {
        let status = self.status;
        Some(match self.code? {
            "exited" => format!("ended with exit code {status}"),
            "dumped" => format!("crashed by signal {status}"),
            code => format!("{code} by signal {status}"),
        })
    }

    /// It is to run.
    fn running(&self, hangs: bool) -> (&'static str, String, String) {
        match (self.active.as_str(), self.sub.as_str()) {
            ("activating", "auto-restart") => {
                let end = self.end().unwrap_or_else(|| "ended".to_owned());
                (
                    "restarting",
                    format!("the agent {end}; systemd starts it again"),
                    JOURNAL.to_owned(),
                )
            }
            ("activating", _) => ("starting", "systemd is starting it".to_owned(), WAIT.to_owned()),
            ("deactivating", _) => (
                "stopping",
                "systemd is stopping it".to_owned(),
                "systemctl status hawser".to_owned(),
            ),
            _ if hangs => {
                let next = "systemctl restart hawser # drops nothing".to_owned();
                ("silent", "the agent runs, and does not answer".to_owned(), next)
            }
            _ => {
                let what = "systemd says that it runs, and its socket is not there".to_owned();
                ("no-socket", what, "systemctl restart hawser # drops nothing".to_owned())
            }
        }
    }

    /// It is not to run, or cannot.
    fn resting(&self) -> (&'static str, String, String) {
        if self.enabled.starts_with("masked") {
            let next = "systemctl unmask hawser".to_owned();
            return ("masked", "hawser.service is masked".to_owned(), next);
        }
        if self.active == "inactive" {
            let (what, next) = match self.enabled.as_str() {
                "enabled" => ("it was stopped", "systemctl start hawser"),
                _ => {
                    ("it was stopped, and does not start at boot", "systemctl enable --now hawser")
                }
            };
            return ("stopped", what.to_owned(), next.to_owned());
        }
        let (what, next) = match (self.code, self.status, self.result.as_str()) {
            (Some("exited"), 78, _) => ("its configuration is wrong", "hawser check"),
            (Some("exited"), 64, _) => ("its command line is wrong", "systemctl cat hawser"),
            (Some("exited"), 75, _) => ("another agent runs here", JOURNAL),
            (_, _, "oom-kill") => ("it was killed: no memory was left", "journalctl -k -n 50"),
            (_, _, "watchdog") => ("it hung, and systemd killed it", JOURNAL),
            (_, _, "timeout") => ("it did not get ready in time", JOURNAL),
            (_, 243, _) => ("a credential does not open", "hawser identity seal"),
            _ => ("it failed", JOURNAL),
        };
        ("failed", what.to_owned(), next.to_owned())
    }
}

/// Since when a unit does not run.
fn since(state: &Unit, now: u64) -> Option<u64> {
    let left: u64 = state.left.parse().ok().filter(|left| *left > 0)?;
    let up = clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?;
    let up = u64::try_from(up.tv_sec()).ok()?;
    Some(now.saturating_sub(up.saturating_sub(left / 1_000_000)))
}

const JOURNAL: &str = "journalctl -u hawser -n 50";
const WAIT: &str = "hawser status --wait-ready";
const NOT_JOINED: &str = "this machine has not joined a mesh";
const NOT_RUNNING: &str = "the agent does not run";
