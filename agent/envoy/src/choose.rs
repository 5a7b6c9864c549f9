//! Which bootstrap an Envoy is started with: the newest, unless Envoy refuses it and there is one that
//! it was ready with.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use crate::{
    Error,
    ending::Kind,
    launch::Launch,
    log::level::{self, Level},
    unit::{Ended, Good, Unit, text},
};

/// What an Envoy is started with; its bootstrap is where the unit has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its command line.
    pub arguments: Vec<String>,
    /// Why it is the last good bootstrap and not the newest.
    pub refused: Option<String>,
}

/// Chooses, and puts the bootstrap in its place. `newest` is the one that the agent has made,
/// `version` what the Envoy says of itself.
pub async fn choose(
    unit: &Unit,
    binary: &Path,
    version: &str,
    launch: &Launch,
    newest: &Path,
) -> Result<Chosen, Error> {
    let read = text(newest);
    let newest = read.map_err(|source| Error::Bootstrap { path: newest.to_owned(), source })?;
    let newest = Good {
        arguments: launch.arguments.clone(),
        version: version.to_owned(),
        bootstrap: newest,
    };
    put(unit, &newest)?;
    let good = unit.good();
    // What it was ready with, it takes again.
    if good.as_ref() == Some(&newest) {
        return Ok(Chosen { arguments: newest.arguments, refused: None });
    }
    let verdict = validate(binary, &newest.arguments).await;
    let Some(good) = good else {
        // It may run yet, if it is not refused outright: there is nothing else to try.
        return match verdict {
            Ok(()) => Ok(Chosen { arguments: newest.arguments, refused: None }),
            Err(said) => Err(Error::Refused { said }),
        };
    };
    let again = || unit.ended().and_then(|ended| ends_again(&ended));
    let Some(refused) = verdict.err().or_else(again) else {
        return Ok(Chosen { arguments: newest.arguments, refused: None });
    };
    put(unit, &good)?;
    Ok(Chosen { arguments: good.arguments, refused: Some(refused) })
}

/// What one that is taken and then ends Envoy time and again is refused for.
fn ends_again(ended: &Ended) -> Option<String> {
    let by_itself = matches!(ended.kind, Kind::Crashed | Kind::Configuration | Kind::Failed);
    let again = by_itself && ended.in_a_row >= ENOUGH;
    again.then(|| format!("{} starts in a row have failed with it: {}", ended.in_a_row, ended.what))
}

fn put(unit: &Unit, good: &Good) -> Result<(), Error> {
    let path = unit.bootstrap();
    let written = hawser_state::write_file(&path, 0o640, good.bootstrap.as_bytes());
    written.map_err(|source| Error::Copy { path, source })
}

/// Whether an Envoy would start with these arguments; what it says if not. One that has no verdict
/// in time is let try.
pub async fn validate(binary: &Path, arguments: &[String]) -> Result<(), String> {
    let mut command = Command::new(binary);
    command.args(arguments).args(["--mode", "validate"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let Ok(Ok(output)) = timeout(LIMIT, command.output()).await else { return Ok(()) };
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(reason(&said).unwrap_or_else(|| format!("envoy --mode validate: {}", output.status)))
}

/// The line that says why, in a length that fits a journal.
fn reason(said: &str) -> Option<String> {
    let loud = |line: &&str| level::of(line) == Some(Level::Critical);
    let line = said.lines().find(loud).or_else(|| said.lines().rfind(|line| !line.is_empty()))?;
    Some(level::message(line).chars().take(LONGEST).collect())
}

/// Starts in a row that say that a bootstrap is no good.
const ENOUGH: u32 = 3;
const LIMIT: Duration = Duration::from_secs(30);
const LONGEST: usize = 400;

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::OpenOptionsExt as _, path::PathBuf};

    use super::*;
    use crate::unit::Started;

    struct Place {
        dir: tempfile::TempDir,
        unit: Unit,
        envoy: PathBuf,
    }

    /// An Envoy that refuses whatever has `bad` in it.
    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let unit = Unit::under(dir.path());
        unit.make().unwrap();
        let envoy = dir.path().join("envoy");
        let script = "#!/bin/sh\ngrep -q bad \"$2\" || exit 0\n\
                      echo \"[2026-11-21 14:27:15.856][1][critical][main] [a.cc:1] no such field\" >&2\nexit 1\n";
        let mut file = std::fs::OpenOptions::new();
        let mut file = file.write(true).create(true).mode(0o755).open(&envoy).unwrap();
        std::io::Write::write_all(&mut file, script.as_bytes()).unwrap();
        Place { dir, unit, envoy }
    }

    impl Place {
        async fn choose(&self, bootstrap: &str, mark: &str) -> Result<Chosen, Error> {
            let newest = self.dir.path().join("newest.json");
            hawser_state::write_file(&newest, 0o600, bootstrap.as_bytes()).unwrap();
            let place = self.unit.bootstrap().to_string_lossy().into_owned();
            let launch = Launch::tests(&["-c", &place, mark]);
            choose(&self.unit, &self.envoy, "1.40.0", &launch, &newest).await
        }

        fn there(&self) -> String {
            text(&self.unit.bootstrap()).unwrap()
        }

        fn was_ready(&self, chosen: &Chosen) {
            let started = Started {
                pid: 1,
                at: 0,
                uptime: Duration::ZERO,
                binary: self.envoy.clone(),
                version: "1.40.0".into(),
                refused: chosen.refused.clone(),
                launch: Launch { arguments: chosen.arguments.clone(), ..Launch::tests(&[]) },
            };
            self.unit.note_started(&started).unwrap();
            self.unit.keep_good().unwrap();
        }

        fn ended(&self, kind: Kind, in_a_row: u32) {
            let what = "crashed".to_owned();
            let ended =
                Ended { kind, what, remedy: String::new(), at: 0, up: 1, in_a_row, unasked: 1 };
            self.unit.note_ended(&ended).unwrap();
        }
    }

    #[tokio::test]
    async fn what_envoy_refuses_is_replaced_by_what_it_was_ready_with() {
        let place = place();
        let nothing_good = place.choose("bad", "a").await.unwrap_err();
        assert!(nothing_good.to_string().ends_with("no such field"), "{nothing_good}");

        let first = place.choose("fine", "a").await.unwrap();
        assert_eq!((first.refused.as_deref(), place.there().as_str()), (None, "fine"));
        place.was_ready(&first);

        let second = place.choose("bad", "b").await.unwrap();
        assert_eq!(second.refused.as_deref(), Some("no such field"));
        assert_eq!(second.arguments, first.arguments, "those that went with it");
        assert_eq!(place.there(), "fine");
        place.was_ready(&second);

        let third = place.choose("better", "b").await.unwrap();
        assert_eq!((third.refused.as_deref(), place.there().as_str()), (None, "better"));
    }

    #[tokio::test]
    async fn what_ends_envoy_again_and_again_is_replaced_too() {
        let place = place();
        let first = place.choose("fine", "a").await.unwrap();
        place.was_ready(&first);
        place.ended(Kind::Crashed, 2);
        assert_eq!(place.choose("new", "a").await.unwrap().refused, None);

        place.ended(Kind::Crashed, 3);
        let chosen = place.choose("new", "a").await.unwrap();
        assert!(chosen.refused.unwrap().contains("3 starts in a row"));
        assert_eq!(place.there(), "fine");

        place.ended(Kind::Killed, 9);
        assert_eq!(place.choose("new", "a").await.unwrap().refused, None, "not its fault");
    }
}
