//! The agents before this one, since the service was started: how many, and how the last one ended.
//!
//! A file in the runtime directory, which systemd keeps over a restart and removes at a stop. One that
//! is missing or damaged is as one that was never written, and nothing fails for it.

use std::{fs::File, io::Read as _, path::PathBuf, time::SystemTime};

use serde::{Deserialize, Serialize};
use tracing::debug;

use super::seconds;
use crate::config::paths::Paths;

/// What this agent knows of those before it.
#[derive(Debug, Default)]
pub struct Past {
    /// Since when this one runs. Seconds since 1970.
    pub since: u64,
    restarts: u64,
    ended: Option<EndingStatus>,
    path: PathBuf,
}

/// The agents before this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastStatus {
    /// How many, since the service was started.
    pub restarts: u64,
    /// How the last of them ended.
    pub ended: Option<EndingStatus>,
}

/// How an agent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndingStatus {
    /// Null where it could not say so any more: it was killed.
    pub at: Option<u64>,
    /// In its own words.
    pub how: String,
    /// Whether it was told to.
    pub asked: bool,
}

/// What is kept from one agent to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    restarts: u64,
    ended: Option<EndingStatus>,
}

impl Past {
    /// An agent begins.
    pub fn begin(paths: &Paths, now: SystemTime) -> Self {
        let path = paths.run().join(NAME);
        let before: Option<Kept> = read(&path);
        let restarts = before.as_ref().map_or(0, |kept| kept.restarts.saturating_add(1));
        let killed = || EndingStatus { at: None, how: KILLED.to_owned(), asked: false };
        let ended = before.map(|kept| kept.ended.unwrap_or_else(killed));
        let past = Self { since: seconds(now), restarts, ended, path };
        past.write(None);
        past
    }

    /// How the last agent ended, where none runs any more.
    pub fn last(paths: &Paths) -> Option<EndingStatus> {
        let killed = || EndingStatus { at: None, how: KILLED.to_owned(), asked: false };
        read(&paths.run().join(NAME)).map(|kept| kept.ended.unwrap_or_else(killed))
    }

    /// It ends.
    pub fn end(&self, how: &str, asked: bool, now: SystemTime) {
        self.write(Some(EndingStatus { at: Some(seconds(now)), how: how.to_owned(), asked }));
    }

    pub(crate) fn status(&self) -> PastStatus {
        PastStatus { restarts: self.restarts, ended: self.ended.clone() }
    }

    fn write(&self, ended: Option<EndingStatus>) {
        let kept = Kept { restarts: self.restarts, ended };
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        if let Err(error) = hawser_state::write_file(&self.path, 0o600, &text) {
            debug!(path = %self.path.display(), %error, "the next agent will not know of this one");
        }
    }
}

fn read(path: &std::path::Path) -> Option<Kept> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

const NAME: &str = "past";
const KILLED: &str = "killed, or it crashed";
const LARGEST: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_agent_knows_how_many_were_before_it_and_how_the_last_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::under(dir.path());
        std::fs::create_dir_all(paths.run()).unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);

        let first = Past::begin(&paths, at(10));
        assert_eq!((first.since, first.status()), (10, PastStatus::default()));
        first.end("stopped", true, at(20));
        let second = Past::begin(&paths, at(30)).status();
        let ended = EndingStatus { at: Some(20), how: "stopped".to_owned(), asked: true };
        assert_eq!(second, PastStatus { restarts: 1, ended: Some(ended) });
        let third = Past::begin(&paths, at(40)).status();
        let ended = EndingStatus { at: None, how: KILLED.to_owned(), asked: false };
        assert_eq!(third, PastStatus { restarts: 2, ended: Some(ended) });

        hawser_state::write_file(&paths.run().join(NAME), 0o600, b"}").unwrap();
        assert_eq!(Past::begin(&paths, at(50)).status(), PastStatus::default());
    }
}
