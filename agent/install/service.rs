//! The units of this machine, as systemd knows them.
//!
//! systemd is spoken to through `systemctl`, which is there wherever systemd is, works in a tree
//! that is not booted, and says what fails in words that people find on the web.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::config::paths::Paths;

/// systemd of this machine, where there is one and it has our unit.
#[derive(Debug)]
pub struct Service {
    systemctl: PathBuf,
    /// Whether it runs, and not just waits on a disk for the next boot.
    pub booted: bool,
}

/// How the unit of the agent is, in systemd's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// `active`, `activating`, `inactive`, `failed`, …
    pub active: String,
    /// The same in more detail: `running`, `auto-restart`, …
    pub sub: String,
    /// `enabled`, `disabled`, …
    pub enabled: String,
    /// Why it has ended, if it has.
    pub result: String,
    /// Whether its process exited (1), was killed (2) or dumped a core (3).
    pub code: String,
    /// With which number.
    pub status: String,
    /// How often systemd has started it again.
    pub restarts: String,
    /// When it stopped, in microseconds of the monotonic clock.
    pub left: String,
}

/// systemd could not be told.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("run {}", path.display())]
    Run { path: PathBuf, source: io::Error },
    #[error("`systemctl {command}` failed: {said}")]
    Refused { command: String, said: String, silent: bool },
}

impl Service {
    /// None where files are under a root of their own, where there is no systemd, and where the
    /// package with its units is not installed.
    pub fn find(paths: &Paths) -> Option<Self> {
        if !paths.is_system() {
            return None;
        }
        let mut places = PLACES.iter().map(Path::new);
        let systemctl = places.find(|path| path.exists())?.to_owned();
        let service = Self { systemctl, booted: Path::new(BOOTED).is_dir() };
        let unit = |directory: &&str| Path::new(directory).join(AGENT).exists();
        UNITS.iter().any(unit).then_some(service)
    }

    /// How the unit is; nothing is known where systemd does not run.
    pub fn state(&self) -> Result<State, Error> {
        let fields = "--property=ActiveState,SubState,UnitFileState,Result,ExecMainCode,\
                      ExecMainStatus,NRestarts,InactiveEnterTimestampMonotonic";
        Ok(State::of(&self.told(&["show", fields, AGENT])?))
    }

    /// Whether a unit beside the agent is still being started or stopped.
    pub fn is_busy(&self) -> bool {
        let said = self.told(&["show", "--property=Job", ENVOY, INTERCEPT]);
        let jobs = said.unwrap_or_default();
        let mut jobs = jobs.lines().filter_map(|line| line.strip_prefix("Job="));
        jobs.any(|job| !["", "0"].contains(&job))
    }

    /// Has the agent started at every boot, and Istio's own no more. That one is stopped only if
    /// ours starts `now`.
    pub fn enable(&self, now: bool) -> Result<(), Error> {
        let path = PathBuf::from(TAKE_OVER);
        if path.exists() {
            let how = if now || !self.booted { "--replace" } else { "--next-boot" };
            let run = Command::new(&path).arg(how).stdin(Stdio::null()).status();
            run.map_err(|source| Error::Run { path, source })?;
        }
        self.told(&["enable", "--quiet", AGENT]).map(drop)
    }

    /// A start, or a restart, that has still to be waited for.
    pub fn start(&self, again: bool) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.systemctl);
        command.args([if again { "restart" } else { "start" }, AGENT]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // systemd goes on with it all the same.
        command.kill_on_drop(true);
        command
    }

    /// Envoy, and what sends traffic to it, go on as they were when the agent is restarted. What was
    /// joined anew is theirs too.
    pub fn follow(&self, envoy: bool) -> Result<(), Error> {
        self.told(&["--no-block", "try-reload-or-restart", INTERCEPT])?;
        if envoy {
            self.told(&["--no-block", "try-restart", ENVOY])?;
        }
        Ok(())
    }

    /// Another Envoy in the place of the one that runs, if one does; waited for.
    pub fn renew_envoy(&self) -> Result<(), Error> {
        self.told(&["try-restart", ENVOY]).map(drop)
    }

    /// Which of our units are loaded, and run or wait to.
    pub fn running(&self) -> Result<Vec<String>, Error> {
        let list = ["list-units", "--plain", "--no-legend", "--full", "hawser*"];
        let said = self.listed(&list)?;
        Ok(said
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|unit| ours(unit))
            .map(str::to_owned)
            .collect())
    }

    /// Which of our units start at a boot.
    pub fn enabled(&self) -> Result<Vec<String>, Error> {
        let list = ["list-unit-files", "--plain", "--no-legend", "--state=enabled", "hawser*"];
        let said = self.listed(&list)?;
        let mut units: Vec<String> = said
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|unit| ours(unit))
            .map(str::to_owned)
            .collect();
        // Those of a template are links, and the list knows the template alone.
        for directory in WANTS {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            units.extend(names.filter(|name| name.starts_with("hawser-") && name.contains('@')));
        }
        units.retain(|unit| !unit.ends_with("@.path") && !unit.ends_with("@.service"));
        Ok(units)
    }

    /// Stops units in the order in which they depend on each other, and waits for that.
    pub fn stop(&self, units: &[String]) -> Result<(), Error> {
        self.with("stop", units)
    }

    /// They are not started any more.
    pub fn disable(&self, units: &[String]) -> Result<(), Error> {
        self.with("disable", units)?;
        // One that has failed is forgotten as well.
        if self.booted {
            drop(self.told(&["reset-failed", "hawser*"]));
        }
        Ok(())
    }

    fn with(&self, verb: &str, units: &[String]) -> Result<(), Error> {
        if units.is_empty() {
            return Ok(());
        }
        let words: Vec<&str> = [verb].into_iter().chain(units.iter().map(String::as_str)).collect();
        self.told(&words).map(drop)
    }

    /// A list; where nothing is on it some versions fail without a word.
    fn listed(&self, words: &[&str]) -> Result<String, Error> {
        match self.told(words) {
            Err(Error::Refused { silent: true, .. }) => Ok(String::new()),
            said => said,
        }
    }

    fn told(&self, words: &[&str]) -> Result<String, Error> {
        let run = Command::new(&self.systemctl).args(words).stdin(Stdio::null()).output();
        let output = run.map_err(|source| Error::Run { path: self.systemctl.clone(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let (command, silent) = (words.join(" "), output.stderr.is_empty());
        Err(Error::Refused { command, said: complaint(&output), silent })
    }
}

impl State {
    /// By what `systemctl show` has printed.
    pub fn of(said: &str) -> Self {
        let field = |name: &str| {
            let mut lines = said.lines().filter_map(|line| line.split_once('='));
            let found = lines.find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        Self {
            active: field("ActiveState"),
            sub: field("SubState"),
            enabled: field("UnitFileState"),
            result: field("Result"),
            code: field("ExecMainCode"),
            status: field("ExecMainStatus"),
            restarts: field("NRestarts"),
            left: field("InactiveEnterTimestampMonotonic"),
        }
    }
}

/// What a program has complained of, on one line.
pub fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { output.status.to_string() } else { lines.join(" ") }
}

/// Whether a unit is ours, and does not only begin as ours do.
fn ours(unit: &str) -> bool {
    [AGENT, ENVOY, INTERCEPT].contains(&unit)
        || OTHERS.contains(&unit)
        || unit.starts_with("hawser-reload@")
}

/// The unit of the agent; what else there is comes and goes with it.
pub const AGENT: &str = "hawser.service";
/// Of the package: stops and disables the service of `istio-sidecar`, where that is.
const TAKE_OVER: &str = "/usr/libexec/hawser/take-over";
const ENVOY: &str = "hawser-envoy.service";
const INTERCEPT: &str = "hawser-intercept.service";
const OTHERS: [&str; 3] = ["hawser-ready.service", "hawser-resolved.service", "hawser.target"];
/// There while systemd is what has booted the machine.
const BOOTED: &str = "/run/systemd/system";
const PLACES: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];
/// Where units are, the strongest first.
pub(crate) const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const WANTS: [&str; 1] = ["/etc/systemd/system/multi-user.target.wants"];
