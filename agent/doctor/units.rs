//! Units of systemd, as systemd tells of them.

use super::{Finding, Patient};

/// A unit, as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// What it is called; another than was asked for, if that is another name of it.
    pub(super) id: String,
    /// Whether there is such a unit.
    pub(super) loaded: bool,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub(super) active: String,
    /// In which way it is that.
    pub(super) sub: String,
    /// How it ended last: `success`, `exit-code`, `signal`, `watchdog`, `oom-kill`, …
    pub(super) result: String,
    /// With which number its process ended, or by which signal.
    pub(super) status: i32,
    /// How often systemd has started it again by itself.
    pub(super) restarts: u64,
    /// Since when it is active, in seconds of the machine's uptime.
    pub(super) since: u64,
    /// Its process.
    pub(super) pid: u32,
}

/// Which unit it is about, and what to say of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    /// Its name.
    pub(super) unit: &'static str,
    /// What an end with 78 means, and what to do about it.
    pub(super) refused: (&'static str, &'static str),
}

/// What systemd says of a unit; an error if it cannot be asked.
pub(super) async fn show(patient: &Patient, unit: &str) -> Result<Unit, String> {
    if !patient.file("/run/systemd/system").is_dir() {
        return Err("systemd does not run here".to_owned());
    }
    let said = patient.run("systemctl", &["show", "--property", PROPERTIES, unit]).await?;
    Ok(parse(&said))
}

fn parse(said: &str) -> Unit {
    let mut unit = Unit::default();
    for (key, value) in said.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "Id" => value.clone_into(&mut unit.id),
            "LoadState" => unit.loaded = value != "not-found",
            "ActiveState" => value.clone_into(&mut unit.active),
            "SubState" => value.clone_into(&mut unit.sub),
            "Result" => value.clone_into(&mut unit.result),
            "ExecMainStatus" => unit.status = value.parse().unwrap_or(0),
            "NRestarts" => unit.restarts = value.parse().unwrap_or(0),
            "MainPID" => unit.pid = value.parse().unwrap_or(0),
            "ActiveEnterTimestampMonotonic" => {
                unit.since = value.parse::<u64>().unwrap_or(0) / 1_000_000;
            }
            _ => {}
        }
    }
    unit
}

/// What is to be thought of a unit that is to run.
pub(super) fn judge(unit: &Unit, said: Said) -> Finding {
    let Said { unit: name, .. } = said;
    if !unit.loaded {
        return Finding::warning(
            format!("systemd knows no {name}"),
            "install the package again: without the unit nothing starts it at boot",
        );
    }
    let Unit { active, sub, restarts, .. } = unit;
    match (active.as_str(), sub.as_str()) {
        ("active" | "reloading", _) => Finding::ok(format!("{name} is {active} ({sub})")),
        ("activating", "auto-restart" | "auto-restart-queued") => {
            let evidence = format!(
                "{name} is started again and again, {restarts} times so far; {}",
                ended(unit)
            );
            explained(Finding::failed(evidence, remedy(unit, said)), unit, said)
        }
        ("activating", _) => Finding::warning(
            format!("{name} is being started ({sub})"),
            format!("wait, or see what it waits for: `journalctl -u {name} -n 20`"),
        ),
        ("deactivating", _) => Finding::warning(
            format!("{name} is being stopped ({sub})"),
            format!("`systemctl start {name}` when it has stopped"),
        ),
        ("failed", _) => {
            let evidence = format!("{name} has failed: {}", ended(unit));
            explained(Finding::failed(evidence, remedy(unit, said)), unit, said)
        }
        _ => Finding::failed(
            format!("{name} is {active}: nobody has started it, or somebody has stopped it"),
            format!("`systemctl start {name}`"),
        ),
    }
}

/// How it ended last, in words.
fn ended(unit: &Unit) -> String {
    let Unit { result, status, .. } = unit;
    match result.as_str() {
        "exit-code" => format!("it ended with {status}"),
        "signal" => format!("it was killed by signal {status}"),
        "core-dump" => format!("it crashed by signal {status}"),
        "oom-kill" => "the kernel killed it, out of memory".to_owned(),
        "watchdog" => "it gave no sign of life, and the watchdog killed it".to_owned(),
        "timeout" => "it was not up in time".to_owned(),
        "start-limit-hit" => "it was started too often in too short a time".to_owned(),
        "success" => "it ended by itself".to_owned(),
        other => format!("result {other}"),
    }
}

fn explained(finding: Finding, unit: &Unit, said: Said) -> Finding {
    match (unit.result.as_str(), unit.status) {
        ("exit-code", REFUSED) => finding.because(said.refused.0),
        ("exit-code", CREDENTIALS) => {
            finding.because("systemd could not open a credential that the unit is to get")
        }
        ("oom-kill", _) => finding.because("the machine, or MemoryMax= of the unit, was full"),
        _ => finding,
    }
}

fn remedy(unit: &Unit, Said { unit: name, refused }: Said) -> String {
    match (unit.result.as_str(), unit.status) {
        ("exit-code", REFUSED) => format!("{}, then `systemctl restart {name}`", refused.1),
        ("exit-code", CREDENTIALS) => {
            format!("as root `hawser identity seal`, then `systemctl restart {name}`")
        }
        ("oom-kill", _) => "see `journalctl -k -g oom`; give the machine memory".to_owned(),
        ("start-limit-hit", _) => {
            format!(
                "`journalctl -u {name} -n 50` says why; then `systemctl reset-failed {name}; systemctl start {name}`"
            )
        }
        _ => format!("`journalctl -u {name} -n 50` says why; then `systemctl restart {name}`"),
    }
}

const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,NRestarts,MainPID,\
                          ActiveEnterTimestampMonotonic";
/// Wrong configuration: systemd does not try again.
const REFUSED: i32 = 78;
/// EXIT_CREDENTIALS of systemd.
const CREDENTIALS: i32 = 243;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    const SAID: Said = Said { unit: "hawser", refused: ("settings are wrong", "`hawser check`") };

    fn judged(said: &str) -> Finding {
        judge(&parse(said), SAID)
    }

    #[test]
    fn a_unit_is_judged_by_its_state_and_by_how_it_ended() {
        let table = [
            ("ActiveState=active\nSubState=running\nResult=success", Outcome::Ok, "active", ""),
            (
                "ActiveState=inactive\nSubState=dead",
                Outcome::Failed,
                "is inactive",
                "systemctl start",
            ),
            (
                "ActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=78",
                Outcome::Failed,
                "ended with 78",
                "`hawser check`",
            ),
            (
                "ActiveState=activating\nSubState=auto-restart\nNRestarts=7\nResult=signal\nExecMainStatus=11",
                Outcome::Failed,
                "7 times so far; it was killed by signal 11",
                "journalctl -u hawser",
            ),
            (
                "ActiveState=failed\nSubState=failed\nResult=start-limit-hit",
                Outcome::Failed,
                "too often",
                "reset-failed hawser",
            ),
            (
                "ActiveState=activating\nSubState=start",
                Outcome::Warning,
                "being started",
                "journalctl",
            ),
            (
                "LoadState=not-found\nActiveState=inactive",
                Outcome::Warning,
                "knows no hawser",
                "install",
            ),
        ];
        for (said, result, evidence, remedy) in table {
            let said = format!("LoadState=loaded\n{said}");
            let finding = judged(&said);
            assert_eq!(finding.result, result, "{said}: {finding:?}");
            assert!(finding.evidence.contains(evidence), "{finding:?}");
            assert!(finding.remedy.clone().unwrap_or_default().contains(remedy), "{finding:?}");
        }
        let wrong =
            judged("LoadState=loaded\nActiveState=failed\nResult=exit-code\nExecMainStatus=78");
        assert_eq!(wrong.cause.as_deref(), Some("settings are wrong"));
    }

    #[test]
    fn what_systemd_prints_is_read_by_its_keys() {
        let unit = parse(
            "Id=hawser.service\nLoadState=loaded\nNRestarts=3\nMainPID=812\n\
             ActiveEnterTimestampMonotonic=61000000\nnonsense\n",
        );
        assert_eq!((unit.id.as_str(), unit.loaded), ("hawser.service", true));
        assert_eq!((unit.restarts, unit.pid, unit.since), (3, 812, 61));
    }
}
