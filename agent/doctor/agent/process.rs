//! The process: who else is there, whether it runs, answers, stays up, and is the one installed.

use std::{fs, io::ErrorKind, os::unix::fs::FileTypeExt as _};

use super::{
    super::{
        Finding, Patient,
        ports::{self, Over},
        units::{self, Said},
    },
    restart, silent, start,
};

/// Istio's own agent wants the same ports, sockets and rules.
pub(super) async fn other_agent(patient: &Patient) -> Finding {
    // Under systemd it may be another name of ours.
    let unit = units::show(patient, "istio.service").await.ok();
    let unit = unit.filter(|unit| unit.loaded && unit.id != "hawser.service");
    let runs = unit.as_ref().is_some_and(|unit| unit.active == "active");
    let process = pilot_agent(patient);
    let seen = match (runs, &process) {
        (true, _) => "istio.service is active".to_owned(),
        (false, Some(process)) => format!("{process} runs"),
        (false, None) => return Finding::ok("no agent of Istio's runs"),
    };
    if runs && !patient.is_of_a_mesh() {
        // Starting ours stops it.
        return Finding::ok(format!("{seen}; it is stopped when hawser is started"));
    }
    let remedy = match runs {
        true => "`systemctl disable --now istio`, then `systemctl restart hawser`",
        false => "stop it where it was started; then `systemctl restart hawser`",
    };
    Finding::failed(seen, remedy)
        .because("two agents take ports, sockets and rules from each other")
}

/// One that was started by hand; not ours under that name.
fn pilot_agent(patient: &Patient) -> Option<ports::Process> {
    let processes = fs::read_dir(patient.file("/proc")).ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| {
        let program = fs::read_link(patient.file(&format!("/proc/{pid}/exe")));
        let ours = program.is_ok_and(|program| program.ends_with("hawser"));
        ports::name(patient, *pid) == "pilot-agent" && !ours
    })?;
    Some(ports::Process { pid, name: ports::name(patient, pid) })
}

/// Where `/healthz/ready` is asked for.
pub(super) fn port(patient: &Patient) -> Finding {
    let Ok(config) = &patient.config else {
        return Finding::unknown("the settings are wrong, so the port is not known");
    };
    let address = config.status;
    let Some(all) = ports::listeners(patient, Over::Tcp) else {
        return Finding::unknown("the kernel does not show who listens");
    };
    let there = ports::at(&all, address);
    if there.is_empty() {
        return match &patient.snapshot {
            // It may be another's network that the agent is in.
            Some(_) => Finding::unknown(format!("nobody listens on {address} as seen from here")),
            None => Finding::ok(format!("{address} is free")),
        };
    }
    let holders = ports::holders(patient, &there);
    let agent = patient.snapshot.as_ref().map(|snapshot| snapshot.pid);
    if holders.iter().any(|process| Some(process.pid) == agent || process.name == "hawser") {
        return Finding::ok(format!("the agent listens on {address}"));
    }
    if ports::leaves(patient, &holders) {
        return Finding::ok(format!("Istio's agent has {address}, and leaves when hawser starts"));
    }
    if holders.is_empty() && agent.is_some() {
        return Finding::ok(format!("user {} listens on {address}", uid(&there)));
    }
    if let Some(unseen) = ports::unseen(patient, &holders, &address.to_string()) {
        return unseen;
    }
    let who = ports::told(patient, &there);
    Finding::failed(
        format!("{who} has {address}"),
        format!("stop it, or `status.listen` in {}", patient.paths.toml().display()),
    )
    .because("the agent does not start where another has its port")
}

fn uid(sockets: &[&ports::Listener]) -> u32 {
    sockets.first().map(|socket| socket.uid).unwrap_or_default()
}

const UNIT: Said = Said {
    unit: "hawser",
    refused: ("its settings are wrong, or the machine has not joined", "`hawser check` says what"),
};

/// Whether systemd has it running.
pub(super) async fn unit(patient: &Patient) -> Finding {
    let unit = match units::show(patient, "hawser.service").await {
        Ok(unit) => unit,
        Err(error) => return Finding::unknown(error),
    };
    if !unit.loaded && patient.snapshot.is_some() {
        return Finding::ok("an agent runs that systemd does not know of");
    }
    units::judge(&unit, UNIT)
}

/// Whether systemd had to start it again.
pub(super) async fn restarts(patient: &Patient) -> Finding {
    let unit = match units::show(patient, "hawser.service").await {
        Ok(unit) => unit,
        Err(error) => return Finding::unknown(error),
    };
    let up = uptime(patient).saturating_sub(unit.since);
    let said = format!("systemd has started it again {} times; up for {up} s", unit.restarts);
    if unit.restarts == 0 || up > SETTLED {
        return Finding::ok(said);
    }
    Finding::warning(said, "`journalctl -u hawser -p warning -n 50` says why")
        .because("it crashed, was killed, or gave no sign of life to the watchdog")
}

fn uptime(patient: &Patient) -> u64 {
    let text = patient.text("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(u64::MAX)
}

/// Whether somebody says something.
pub(super) fn answers(patient: &Patient) -> Finding {
    let path = patient.paths.admin_socket();
    let at = path.display();
    if let Some(snapshot) = &patient.snapshot {
        let (version, pid) = (&snapshot.version, snapshot.pid);
        return Finding::ok(format!("hawser {version} (pid {pid}) answers at {at}"));
    }
    let Some(error) = &patient.silence else { return silent() };
    let said = format!("no answer at {at}: {error}");
    match error.kind() {
        ErrorKind::PermissionDenied if !patient.is_root => {
            Finding::unknown(patient.unseen("what the agent says", error))
        }
        ErrorKind::NotFound => Finding::failed(said, start(patient))
            .because("no agent runs, or it has not come that far"),
        ErrorKind::ConnectionRefused if is_socket(patient) => Finding::failed(said, start(patient))
            .because("its agent was killed, and none came after it"),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Finding::failed(said, restart(patient))
            .because("the agent stands still; `journalctl -u hawser` may say since when"),
        _ => Finding::failed(said, restart(patient)),
    }
}

fn is_socket(patient: &Patient) -> bool {
    let found = fs::symlink_metadata(patient.paths.admin_socket());
    found.is_ok_and(|found| found.file_type().is_socket())
}

/// Whether it is this version.
pub(super) fn version(patient: &Patient) -> Finding {
    let Some(snapshot) = &patient.snapshot else { return silent() };
    let (runs, here) = (&snapshot.version, crate::VERSION);
    if runs != here {
        return Finding::warning(
            format!("hawser {runs} runs, and {here} is installed"),
            restart(patient),
        )
        .because("an upgrade takes effect when the agent is started anew");
    }
    let program = fs::read_link(patient.file(&format!("/proc/{}/exe", snapshot.pid)));
    let replaced = program.is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"));
    if replaced {
        return Finding::warning(
            format!("the program that pid {} runs was replaced", snapshot.pid),
            restart(patient),
        )
        .because("another build of the same version was installed");
    }
    Finding::ok(format!("hawser {runs}"))
}

/// Whether all gates are open.
pub(super) fn ready(patient: &Patient) -> Finding {
    let Some(snapshot) = &patient.snapshot else { return silent() };
    let waits = &snapshot.waits_for;
    if waits.is_empty() {
        return Finding::ok("it waits for nothing");
    }
    let said = format!("it waits for: {}", waits.join(", "));
    let first = waits.first().map(String::as_str).unwrap_or_default();
    let remedy = match first {
        "identity" => "`hawser identity show` says what is wrong with the certificate",
        "dns" => "`journalctl -u hawser -n 50` says why names are not answered",
        "domains" => "`systemctl status hawser-resolved systemd-resolved`",
        _ => "`hawser status` says why",
    };
    let finding = Finding::failed(said, remedy);
    match (first, &snapshot.identity.trouble) {
        ("identity", Some(trouble)) => finding.because(trouble.clone()),
        _ => finding,
    }
}

/// Up for so long, what was before is history.
const SETTLED: u64 = 3600;
