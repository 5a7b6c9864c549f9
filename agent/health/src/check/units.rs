//! Units of systemd that have to be active.
//!
//! systemctl is asked, as the agent's own user: it goes over the bus of the system, which tells
//! whoever asks how a unit is.

use std::time::Duration;

use hawser_rt::{
    Chain, Command,
    command::{Error, Limits},
};

use super::exec;
use crate::Units;

pub(super) async fn check(units: &Units, time: Duration) -> Result<(), String> {
    let found = exec::find(PROGRAM).await;
    let program = found.ok_or_else(|| format!("units: {PROGRAM} is not on this machine"))?;
    let mut arguments: Vec<String> = ARGUMENTS.into_iter().map(str::to_owned).collect();
    arguments.extend_from_slice(units.names());
    let failed = |error: Error| match error {
        Error::ProgramFailed { said, .. } => format!("systemd does not say how units are{said}"),
        Error::ProgramTimeout { limit, said, .. } => {
            format!("systemd has not said within {limit:?} how units are{said}")
        }
        error => Chain(&error).to_string(),
    };
    let command = Command::new(program, arguments).map_err(failed)?;
    let output = command.run(&[], Limits { time, output: MOST_OUTPUT }).await.map_err(failed)?;
    judge(units.names(), &String::from_utf8_lossy(&output))
}

/// What systemctl's lines mean for the units that were asked for: a block for each, in their order,
/// with an empty line between them.
///
/// One that reloads goes on serving meanwhile. One that is starting does not serve yet, and one that
/// is started again and again is most of the time just that.
fn judge(names: &[String], output: &str) -> Result<(), String> {
    let mut blocks = output.split("\n\n");
    let wrong: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let block = blocks.next().unwrap_or_default();
            let value = |key: &str| {
                let mut pairs = block.lines().filter_map(|line| line.split_once('='));
                pairs.find(|(name, _)| *name == key).map_or("", |(_, value)| value.trim())
            };
            match (value("LoadState"), value("ActiveState"), value("SubState")) {
                (_, "active" | "reloading" | "refreshing", _) => None,
                ("not-found", ..) => Some(format!("{name} is not on this machine")),
                ("masked", ..) => Some(format!("{name} is masked")),
                (_, "failed", _) => Some(format!("{name} has failed ({})", value("Result"))),
                (_, "activating", "auto-restart") => Some(format!(
                    "{name} has ended ({}) and is to be started again",
                    value("Result")
                )),
                (_, "activating", sub) => Some(format!("{name} is starting ({sub})")),
                (_, "deactivating", sub) => Some(format!("{name} is stopping ({sub})")),
                (_, "inactive", _) => Some(format!("{name} is not running")),
                (_, "", _) => Some(format!("systemd does not say how {name} is")),
                (_, state, _) => Some(format!("{name} is {state}")),
            }
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

const PROGRAM: &str = "systemctl";
const ARGUMENTS: [&str; 4] =
    ["show", "--no-pager", "--property=LoadState,ActiveState,SubState,Result", "--"];
const MOST_OUTPUT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(load: &str, active: &str, sub: &str, result: &str) -> String {
        format!("Result={result}\nLoadState={load}\nActiveState={active}\nSubState={sub}\n")
    }

    #[test]
    fn a_unit_is_well_while_it_is_active() {
        let cases = [
            (("loaded", "active", "running", "success"), ""),
            (("loaded", "active", "exited", "success"), ""),
            (("not-found", "active", "running", "success"), ""),
            (("loaded", "reloading", "reload", "success"), ""),
            (("loaded", "refreshing", "refresh", "success"), ""),
            (("loaded", "activating", "start-pre", "success"), "a is starting (start-pre)"),
            (
                ("loaded", "activating", "auto-restart", "exit-code"),
                "a has ended (exit-code) and is to be started again",
            ),
            (("loaded", "deactivating", "stop-sigterm", "success"), "a is stopping (stop-sigterm)"),
            (("loaded", "failed", "failed", "oom-kill"), "a has failed (oom-kill)"),
            (("loaded", "inactive", "dead", "success"), "a is not running"),
            (("not-found", "inactive", "dead", "success"), "a is not on this machine"),
            (("masked", "inactive", "dead", "success"), "a is masked"),
            (("loaded", "maintenance", "x", "success"), "a is maintenance"),
        ];
        for ((load, active, sub, result), expected) in cases {
            let judged = judge(&["a".to_owned()], &block(load, active, sub, result));
            assert_eq!(judged.err().unwrap_or_default(), expected, "{active} {sub}");
        }
    }

    #[test]
    fn all_units_have_to_be_and_each_that_is_not_is_named() {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let active = block("loaded", "active", "running", "success");
        let failed = block("loaded", "failed", "failed", "signal");
        assert_eq!(judge(&names, &[active.as_str(); 3].join("\n")), Ok(()));
        let judged = judge(&names, &[failed.as_str(), &active].join("\n"));
        let expected = "a has failed (signal); systemd does not say how c is";
        assert_eq!(judged, Err(expected.to_owned()));
        for odd in ["", "\n\n\n", "ActiveState", "=\n=\n"] {
            assert!(judge(&names, odd).is_err(), "{odd:?}");
        }
    }
}
