//! Why an Envoy ended, in words, and what to do about it (pure).
//!
//! By what the service manager says of the process, and by what Envoy said last.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::log::level::{self, Level};

/// Of which kind an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It was told to.
    AsTold,
    /// By itself and without an error: over its admin interface, or by a signal to it alone.
    Quit,
    /// It was never started.
    NotStarted,
    /// There was no memory left.
    OutOfMemory,
    /// There were no file descriptors left.
    TooManyFiles,
    /// Somebody else has a port that it needs.
    PortTaken,
    /// It would not take its bootstrap.
    Configuration,
    /// It did not end when it was told to, and was made to.
    Stuck,
    /// It was killed, by whomever.
    Killed,
    /// It has a defect.
    Crashed,
    /// With an error that is of no other kind.
    Failed,
}

/// What is known of the end of a process.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `$SERVICE_RESULT`.
    pub result: &'a str,
    /// `$EXIT_CODE`: `exited`, `killed` or `dumped`.
    pub code: &'a str,
    /// `$EXIT_STATUS`: a number, or the name of a signal.
    pub status: &'a str,
    /// Whether Envoy had been started at all.
    pub started: bool,
    /// Whether it had been told to end.
    pub asked: bool,
    /// What it said last, the oldest line first.
    pub lines: &'a [String],
}

/// Why it ended, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Of which kind the end is.
    pub kind: Kind,
    /// What has happened.
    pub what: String,
    /// What to do; empty if there is nothing.
    pub remedy: &'static str,
}

/// Judges an end.
pub fn judge(facts: Facts<'_>) -> Verdict {
    let kind = kind(facts);
    let Facts { code, status, .. } = facts;
    let words = words(facts.lines).map(shortened);
    let said = |what: &str| match &words {
        Some(words) => format!("{what}: {words}"),
        None => what.to_owned(),
    };
    let what = match kind {
        Kind::AsTold => "it was told to".to_owned(),
        Kind::Quit if code == "killed" => format!("somebody sent it SIG{status}"),
        Kind::Quit => "it was told to quit over its admin interface, or by SIGTERM".to_owned(),
        Kind::NotStarted => format!("it was not started ({code} {status})"),
        Kind::OutOfMemory => "the machine or the unit was out of memory".to_owned(),
        Kind::TooManyFiles => said("it was out of file descriptors"),
        Kind::PortTaken => said("a port that it needs is taken"),
        Kind::Configuration => said("it would not take its bootstrap"),
        Kind::Stuck => "it did not end when it was told to, and was killed".to_owned(),
        Kind::Killed => format!("killed by SIG{status}"),
        Kind::Crashed => said(&format!("crashed with SIG{status}")),
        Kind::Failed => said(&format!("exited with {status}")),
    };
    Verdict { kind, what, remedy: remedy(kind) }
}

fn kind(facts: Facts<'_>) -> Kind {
    let Facts { result, code, status, started, asked, lines } = facts;
    let says = |phrases: &[&str]| {
        let lines = lines.iter().filter(|line| !level::is_access(line.as_bytes()));
        let mut told = lines.filter(|line| level::of(line).is_none_or(Level::is_trouble));
        told.any(|line| phrases.iter().any(|phrase| line.contains(phrase)))
    };
    match (result, code, status) {
        ("oom-kill", ..) => Kind::OutOfMemory,
        ("timeout", ..) if asked => Kind::Stuck,
        ("success", ..) if asked => Kind::AsTold,
        ("success", "killed", _) if !started => Kind::AsTold,
        _ if !started => Kind::NotStarted,
        ("success", ..) => Kind::Quit,
        _ if says(&NO_MEMORY) => Kind::OutOfMemory,
        _ if says(&NO_FILES) => Kind::TooManyFiles,
        (_, "exited", _) if says(&TAKEN) => Kind::PortTaken,
        (_, "exited", _) if says(&REFUSED) => Kind::Configuration,
        (_, "dumped", _) => Kind::Crashed,
        (_, "killed", signal) if CRASHES.contains(&signal) => Kind::Crashed,
        (_, "killed", _) => Kind::Killed,
        _ => Kind::Failed,
    }
}

fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::AsTold => "",
        Kind::Quit => "`systemctl stop hawser-envoy` ends it for good",
        Kind::NotStarted => "what was said before tells why",
        Kind::OutOfMemory => {
            "see `journalctl -k -g oom`; give the machine memory, or raise MemoryMax of the unit; \
             fewer connections (envoy.concurrency, a Sidecar resource) take less"
        }
        Kind::TooManyFiles => {
            "raise LimitNOFILE of hawser-envoy.service; each connection takes two"
        }
        Kind::PortTaken => "`ss -ltnp` says who has it; stop that, or choose another port",
        Kind::Configuration => {
            "`envoy --mode validate -c /run/hawser-envoy/envoy.json` says it again; look at \
             envoy.* of `hawser config` and at mesh.yaml"
        }
        Kind::Stuck => "connections that last longer are cut; raise envoy.drain",
        Kind::Killed => {
            "if nobody here has sent it, `journalctl -k` may say that the kernel has: out of memory"
        }
        Kind::Crashed => {
            "a defect of Envoy: try another version; `coredumpctl info envoy` has more where \
             cores are kept"
        }
        Kind::Failed => "`journalctl -u hawser-envoy` has what it said",
    }
}

/// The line that says most: the last that is critical, else the last error; never one of a trace.
fn words(lines: &[String]) -> Option<&str> {
    let of = |wanted: Level| {
        let mut lines = lines.iter().rev().map(String::as_str);
        lines.find(|line| {
            level::of(line) == Some(wanted) && !TRACES.iter().any(|t| line.contains(t))
        })
    };
    of(Level::Critical).or_else(|| of(Level::Error)).map(level::message)
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// How long to wait before a start, after so many soon ends in a row: nothing at first, then a
/// second, doubled until it is half a minute.
pub fn wait(in_a_row: u32) -> Duration {
    let Some(doubled) = in_a_row.checked_sub(2) else { return Duration::ZERO };
    LONGEST_WAIT.min(Duration::from_secs(1 << doubled.min(6)))
}

/// How many soon ends in a row there are with this one.
pub fn in_a_row(before: u32, kind: Kind, up: Duration) -> u32 {
    match kind {
        Kind::AsTold => 0,
        _ if up >= SETTLED => 0,
        _ => before.saturating_add(1),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsTold => "as told",
            Self::Quit => "quit",
            Self::NotStarted => "not started",
            Self::OutOfMemory => "out of memory",
            Self::TooManyFiles => "too many open files",
            Self::PortTaken => "port taken",
            Self::Configuration => "wrong configuration",
            Self::Stuck => "stuck",
            Self::Killed => "killed",
            Self::Crashed => "crashed",
            Self::Failed => "failed",
        })
    }
}

/// How long an Envoy has to stay up to begin a new row.
const SETTLED: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const LONGEST: usize = 400;
const NO_MEMORY: [&str; 3] = ["std::bad_alloc", "Cannot allocate memory", "Unable to allocate"];
const NO_FILES: [&str; 2] = ["Too many open files", "EMFILE"];
const TAKEN: [&str; 1] = ["Address already in use"];
const REFUSED: [&str; 2] = ["initializing config", "PARSE ERROR"];
const CRASHES: [&str; 7] = ["SEGV", "ABRT", "BUS", "ILL", "FPE", "TRAP", "SYS"];
/// Loggers of Envoy that print where it was.
const TRACES: [&str; 2] = ["[backtrace]", "[envoy_bug]"];

#[cfg(test)]
mod tests;
