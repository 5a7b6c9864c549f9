//! What Envoy's unit keeps: of this boot in its runtime directory, for the next one in its state
//! directory.
//!
//! Each file is written by one of the unit's commands and read by the others and the agent; one that
//! is missing or damaged is as one that was never written.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, ending::Kind, launch::Launch};

/// The directories of Envoy's unit.
#[derive(Debug, Clone)]
pub struct Unit {
    run: PathBuf,
    state: PathBuf,
}

/// An Envoy that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its process.
    pub pid: u32,
    /// When, in seconds since 1970.
    pub at: u64,
    /// When, since the machine was switched on: what is reckoned with.
    pub uptime: Duration,
    /// Which one.
    pub binary: PathBuf,
    /// What it says of itself.
    pub version: String,
    /// Why it was not started with the newest bootstrap, if it was with the last good one.
    pub refused: Option<String>,
    /// How it was started and how it ends; the agent may say otherwise by now.
    pub launch: Launch,
}

/// How the last Envoy ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Of which kind it was.
    pub kind: Kind,
    /// What has happened.
    pub what: String,
    /// What to do, if there is anything.
    pub remedy: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// How long it had been up, in seconds.
    pub up: u64,
    /// How many in a row have ended soon after their start.
    pub in_a_row: u32,
    /// How often it has ended without having been told to, since the machine was switched on.
    pub unasked: u64,
}

/// What Envoy said last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWords {
    /// Of which process.
    pub pid: u32,
    /// Lines of its own log, the oldest first.
    pub lines: Vec<String>,
    /// How many lines were lost because nobody took them.
    pub dropped: u64,
}

/// A bootstrap that Envoy was ready with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// The command line that went with it.
    pub arguments: Vec<String>,
    /// The Envoy.
    pub version: String,
    /// The document.
    pub bootstrap: String,
}

impl Unit {
    /// In the layout below `root`.
    pub fn under(root: &Path) -> Self {
        Self { run: root.join("run/hawser-envoy"), state: root.join("var/lib/hawser-envoy") }
    }

    /// Where the bootstrap is that Envoy is started with: a copy, so that what the agent writes
    /// meanwhile is nobody's trouble.
    pub fn bootstrap(&self) -> PathBuf {
        self.run.join("envoy.json")
    }

    /// Makes the directories where no service manager has.
    pub fn make(&self) -> Result<(), Error> {
        for path in [&self.run, &self.state] {
            let made = std::fs::create_dir_all(path);
            made.map_err(|source| Error::Directory { path: path.clone(), source })?;
        }
        Ok(())
    }

    /// The Envoy that was started last, if one was.
    pub fn started(&self) -> Option<Started> {
        read(&self.run.join(STARTED))
    }

    /// Notes that one is started.
    pub fn note_started(&self, started: &Started) -> Result<(), Error> {
        write(&self.run.join(STARTED), started)
    }

    /// Forgets it: nothing was started yet.
    pub fn forget_started(&self) {
        for name in [STARTED, UNSTARTED] {
            // Missing is what is wanted.
            drop(std::fs::remove_file(self.run.join(name)));
        }
    }

    /// Why none could be started.
    pub fn unstarted(&self) -> Option<(Kind, String)> {
        read(&self.run.join(UNSTARTED))
    }

    /// Notes why none could be.
    pub fn note_unstarted(&self, kind: Kind, what: &str) -> Result<(), Error> {
        write(&self.run.join(UNSTARTED), &(kind, what))
    }

    /// How the last one ended.
    pub fn ended(&self) -> Option<Ended> {
        read(&self.run.join(ENDED))
    }

    /// Notes how one has ended.
    pub fn note_ended(&self, ended: &Ended) -> Result<(), Error> {
        write(&self.run.join(ENDED), ended)
    }

    /// Whether this process was told to end.
    pub fn asked(&self, pid: u32) -> bool {
        read::<u32>(&self.run.join(ASKED)) == Some(pid)
    }

    /// Notes that it is.
    pub fn note_asked(&self, pid: u32) -> Result<(), Error> {
        write(&self.run.join(ASKED), &pid)
    }

    /// What Envoy said last.
    pub fn last_words(&self) -> Option<LastWords> {
        read(&self.run.join(LAST_WORDS))
    }

    /// Notes what it said.
    pub fn note_last_words(&self, words: &LastWords) -> Result<(), Error> {
        write(&self.run.join(LAST_WORDS), words)
    }

    /// The bootstrap that Envoy was last ready with.
    pub fn good(&self) -> Option<Good> {
        read(&self.state.join(GOOD))
    }

    /// Whether what runs was started with what the agent says now. Where nothing runs, it was.
    pub fn is_current(&self, newest: &Path, launch: &Launch) -> bool {
        let Some(started) = self.started() else { return true };
        let (Ok(ours), Ok(newest)) = (text(&self.bootstrap()), text(newest)) else { return true };
        ours == newest && started.launch.arguments == launch.arguments
    }

    /// Keeps what runs as what Envoy was last ready with, unless it is kept already.
    pub fn keep_good(&self) -> Result<bool, Error> {
        let Some(started) = self.started() else { return Ok(false) };
        let path = self.bootstrap();
        let bootstrap = text(&path).map_err(|source| Error::Bootstrap { path, source })?;
        let arguments = started.launch.arguments;
        let good = Good { arguments, version: started.version, bootstrap };
        // One that was started with the last good one has nothing newer to keep.
        if started.refused.is_some() || self.good().as_ref() == Some(&good) {
            return Ok(false);
        }
        write(&self.state.join(GOOD), &good).map(|()| true)
    }
}

/// How long the machine is up: a clock that nobody sets, and that runs on while it sleeps.
pub fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// Now, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A value from a file of ours, if that holds one.
pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_str(&text(path).ok()?).ok()
}

/// A text that has no business being large.
pub(crate) fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let failed = |source: hawser_rt::BoxError| Error::Note { path: path.to_owned(), source };
    let mut document = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    document.push(b'\n');
    hawser_state::write_file(path, 0o640, &document).map_err(|error| failed(error.into()))
}

const STARTED: &str = "started.json";
const UNSTARTED: &str = "unstarted.json";
const ENDED: &str = "ended.json";
const ASKED: &str = "asked.json";
const LAST_WORDS: &str = "last-words.json";
const GOOD: &str = "good.json";
const LARGEST: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> (tempfile::TempDir, Unit) {
        let root = tempfile::tempdir().unwrap();
        let unit = Unit::under(root.path());
        unit.make().unwrap();
        (root, unit)
    }

    fn started(refused: Option<&str>) -> Started {
        Started {
            pid: 7,
            at: 1,
            uptime: Duration::from_secs(5),
            binary: "/usr/bin/envoy".into(),
            version: "1.40.0".into(),
            refused: refused.map(Into::into),
            launch: Launch::tests(&["-c"]),
        }
    }

    #[test]
    fn what_is_noted_is_found_again_and_what_is_damaged_was_never_written() {
        let (root, unit) = unit();
        assert_eq!(unit.started(), None);

        unit.note_started(&started(None)).unwrap();
        unit.note_asked(7).unwrap();

        assert_eq!(unit.started(), Some(started(None)));
        assert!(unit.asked(7) && !unit.asked(8));
        hawser_state::write_file(&root.path().join("run/hawser-envoy/started.json"), 0o600, b"{")
            .unwrap();
        assert_eq!(unit.started(), None);
    }

    #[test]
    fn only_a_bootstrap_that_was_not_a_substitute_is_kept_and_only_once() {
        let (_root, unit) = unit();
        hawser_state::write_file(&unit.bootstrap(), 0o600, b"{\"new\": 1}").unwrap();
        assert!(!unit.keep_good().unwrap(), "nothing was started");

        unit.note_started(&started(Some("no such type"))).unwrap();
        assert!(!unit.keep_good().unwrap());
        assert_eq!(unit.good(), None);

        unit.note_started(&started(None)).unwrap();
        assert!(unit.keep_good().unwrap());
        assert!(!unit.keep_good().unwrap());
        assert_eq!(unit.good().unwrap().bootstrap, "{\"new\": 1}");
    }

    #[test]
    fn what_runs_is_current_until_the_agent_says_otherwise() {
        let (root, unit) = unit();
        let newest = root.path().join("newest.json");
        let says = |text: &str| hawser_state::write_file(&newest, 0o600, text.as_bytes()).unwrap();
        says("{}");
        assert!(unit.is_current(&newest, &Launch::tests(&["-c"])), "nothing runs");

        hawser_state::write_file(&unit.bootstrap(), 0o600, b"{}").unwrap();
        unit.note_started(&started(None)).unwrap();
        assert!(unit.is_current(&newest, &Launch::tests(&["-c"])));
        assert!(!unit.is_current(&newest, &Launch::tests(&["-c", "-l"])));
        says("{\"another\": 1}");
        assert!(!unit.is_current(&newest, &Launch::tests(&["-c"])));
    }
}
