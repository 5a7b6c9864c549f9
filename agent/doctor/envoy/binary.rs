//! The program, its unit, how it ended, and the bootstrap that it is started with.

use std::path::PathBuf;

use hawser_envoy::{
    choose,
    ending::Kind,
    find,
    unit::{self, Ended, Unit},
};
use hawser_rt::Chain;

use super::{
    super::{
        Finding, Patient,
        units::{self, Said},
    },
    is_led, launch, pid, settings, started,
};
use crate::cli::span::span;

/// The one that would be started.
fn place(patient: &Patient) -> Result<PathBuf, hawser_envoy::Error> {
    let named = launch(patient).and_then(|launch| launch.binary);
    let named = named.or_else(|| patient.config.as_ref().ok()?.envoy.binary.clone());
    find::find(&patient.root, named.as_deref(), None)
}

pub(super) fn found(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    if is_led(patient) {
        return Finding::ok("the agent starts it itself");
    }
    match place(patient) {
        Ok(path) => Finding::ok(path.display().to_string()),
        Err(error @ hawser_envoy::Error::NotExecutable { .. }) => {
            let path = match &error {
                hawser_envoy::Error::NotExecutable { path } => path.display().to_string(),
                _ => String::new(),
            };
            Finding::failed(error.to_string(), format!("`chmod +x {path}`"))
        }
        Err(error) => Finding::failed(
            error.to_string(),
            "put one at /usr/local/bin/envoy, or name it with envoy.binary; then \
             `systemctl restart hawser-envoy`",
        ),
    }
}

pub(super) async fn version(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    if is_led(patient) {
        return Finding::ok("the agent starts it itself");
    }
    let path = match place(patient) {
        Ok(path) => path,
        Err(error) => return Finding::unknown(error.to_string()),
    };
    let at = path.display();
    let version = match find::version(&path).await {
        Ok(version) => version,
        Err(error) => {
            return Finding::failed(
                format!("{at} --version: {}", Chain(&error)),
                "install an Envoy that is built for this machine's processor and C library",
            );
        }
    };
    if order(&version.number) < OLDEST {
        let (major, minor) = OLDEST;
        return Finding::warning(
            format!("{at} is Envoy {version}"),
            format!("install Envoy {major}.{minor} or later"),
        )
        .because("Envoy of that age gets no fixes any more, and may not know what istiod sends");
    }
    let runs = started(patient).filter(|_| pid(patient).is_some());
    if let Some(runs) = runs.filter(|runs| runs.version != version.to_string()) {
        return Finding::warning(
            format!("Envoy {} runs, and {at} is {version}", runs.version),
            "`systemctl restart hawser-envoy`: it drains first",
        )
        .because("another was installed while it ran");
    }
    Finding::ok(format!("Envoy {version}"))
}

fn order(number: &str) -> (u32, u32) {
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

const UNIT: Said = Said {
    unit: "hawser-envoy",
    refused: (
        "there is no Envoy that could be started, or it lacks a capability",
        "`hawser doctor --only envoy-binary,tproxy`",
    ),
};

pub(super) async fn unit(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    if is_led(patient) {
        return Finding::ok("the agent starts Envoy itself");
    }
    match units::show(patient, "hawser-envoy.service").await {
        Ok(unit) => units::judge(&unit, UNIT),
        Err(error) => Finding::unknown(error),
    }
}

/// How the last one ended that was not told to.
pub(super) fn ending(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    if let Some(envoy) = patient.snapshot.as_ref().and_then(|snapshot| snapshot.envoy.as_ref())
        && is_led(patient)
        && envoy.restarts > 0
    {
        return Finding::warning(
            format!("the agent has started Envoy again {} times", envoy.restarts),
            "what the agent has printed says why",
        );
    }
    let unit = Unit::under(patient.paths.root());
    let runs = pid(patient).is_some();
    if let Some((kind, what)) = unit.unstarted().filter(|_| !runs) {
        return Finding::failed(
            format!("Envoy could not be started ({kind}): {what}"),
            "mend that, then `systemctl restart hawser-envoy`",
        );
    }
    let Some(Ended { kind, what, remedy, at, in_a_row, unasked, .. }) = unit.ended() else {
        return Finding::ok("none has ended by itself since the machine was switched on");
    };
    if kind == Kind::AsTold {
        return Finding::ok(format!(
            "the last one ended as it was told; {unasked} have by themselves"
        ));
    }
    let age = unit::now().saturating_sub(at);
    let ago = span(age.cast_signed());
    let said = format!("Envoy ended {ago} ago ({kind}): {what}; {unasked} times by itself so far");
    let remedy = match remedy.is_empty() {
        true => "`journalctl -u hawser-envoy -n 50`".to_owned(),
        false => remedy,
    };
    match (runs, age) {
        (true, RECENT..) => Finding::ok(said),
        (true, _) => Finding::warning(said, remedy),
        (false, _) => Finding::failed(said, remedy)
            .because(format!("{in_a_row} in a row have ended soon after their start")),
    }
}

/// What it is started with.
pub(super) async fn bootstrap(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    let newest = patient.paths.bootstrap();
    let at = newest.display();
    if let Err(error) = std::fs::metadata(&newest) {
        return match error.kind() {
            std::io::ErrorKind::NotFound => {
                Finding::failed(format!("{at} is not there"), "`systemctl restart hawser`")
                    .because("the agent makes it when it starts")
            }
            _ => Finding::unknown(patient.unseen(&at.to_string(), &error)),
        };
    }
    let unit = Unit::under(patient.paths.root());
    let started = started(patient).filter(|_| pid(patient).is_some());
    if let Some(refused) = started.as_ref().and_then(|started| started.refused.clone()) {
        return Finding::warning(
            "Envoy was started with the last bootstrap that it was ready with, not with the newest",
            format!(
                "`envoy --mode validate -c {at}` says it again; look at envoy.* of `hawser config`"
            ),
        )
        .because(refused);
    }
    let Some(launch) = launch(patient) else {
        return Finding::unknown("how Envoy is to be started cannot be read");
    };
    if started.is_some() {
        if unit.is_current(&newest, &launch) {
            return Finding::ok("Envoy runs with the newest");
        }
        return Finding::warning(
            "Envoy runs with an older bootstrap than the agent has made",
            "`systemctl restart hawser-envoy`: it drains first",
        )
        .because("settings of Envoy were changed, and it was not started anew");
    }
    if is_led(patient) {
        return Finding::ok(format!("{at} is there"));
    }
    validated(patient, launch.arguments, &newest).await
}

/// Whether one that does not run would take it.
async fn validated(patient: &Patient, arguments: Vec<String>, newest: &std::path::Path) -> Finding {
    let binary = match place(patient) {
        Ok(binary) => binary,
        Err(error) => return Finding::unknown(error.to_string()),
    };
    // The unit's copy may be of another day.
    let copy = Unit::under(patient.paths.root()).bootstrap().display().to_string();
    let newest = newest.display().to_string();
    let arguments: Vec<String> =
        arguments.into_iter().map(|one| if one == copy { newest.clone() } else { one }).collect();
    match choose::validate(&binary, &arguments).await {
        Ok(()) => Finding::ok(format!("Envoy takes {newest}")),
        Err(said) => Finding::failed(
            format!("Envoy refuses {newest}"),
            format!("`envoy --mode validate -c {newest}`; look at envoy.* of `hawser config` and at mesh.yaml"),
        )
        .because(said),
    }
}

/// Older ones were given up by their makers long before this was written.
const OLDEST: (u32, u32) = (1, 30);
/// How long ago an end is history, in seconds.
const RECENT: u64 = 3600;
