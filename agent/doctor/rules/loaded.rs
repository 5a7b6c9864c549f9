//! Our own rules: the program that loads them, who looks after them, and what is in the kernel.

use std::time::SystemTime;

use hawser_intercept::{
    Error,
    apply::Places,
    guard::Phase,
    nft::Nft,
    plan::{Gate, Plan},
    report::Report,
    view::{Sights, View},
};
use hawser_rt::{Chain, Cidr};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::{
    super::{
        Finding, Patient,
        agent::some,
        units::{self, Said as Of},
    },
    settings,
};
use crate::{
    cli::{ask::Said, span::span},
    config::Config,
    options,
};

/// The program.
pub(super) async fn program(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    if let Err(error) = Nft::find(&patient.root) {
        return Finding::failed(Chain(&error).to_string(), install(patient, "nftables"));
    }
    match patient.run("nft", &["--version"]).await {
        Ok(version) => Finding::ok(version.trim().to_owned()),
        Err(error) => Finding::failed(error, install(patient, "nftables")),
    }
}

/// The command that installs a package here.
fn install(patient: &Patient, package: &str) -> String {
    let managers = [
        ("/usr/bin/apt-get", "apt-get install"),
        ("/usr/bin/dnf", "dnf install"),
        ("/usr/bin/yum", "yum install"),
        ("/usr/bin/zypper", "zypper install"),
        ("/usr/bin/apk", "apk add"),
    ];
    let here = managers.iter().find(|(path, _)| patient.file(path).exists());
    match here {
        Some((_, command)) => format!("`{command} {package}`"),
        None => format!("install the package {package}"),
    }
}

const UNIT: Of = Of {
    unit: "hawser-intercept",
    refused: (
        "nftables is missing, or the settings are wrong",
        "`hawser doctor --only nft`, `hawser check`",
    ),
};

/// Who looks after the rules.
pub(super) async fn unit(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    match units::show(patient, "hawser-intercept.service").await {
        Ok(unit) => units::judge(&unit, UNIT),
        // Somebody may run it by hand.
        Err(_) if report(patient).is_ok_and(|report| report.is_some()) => {
            Finding::ok("`hawser intercept guard` runs without systemd")
        }
        Err(error) => Finding::unknown(error),
    }
}

fn report(patient: &Patient) -> Result<Option<Report>, Error> {
    Report::read(&Places::new(patient.paths.intercept_run()))
}

/// What it says of itself.
pub(super) fn gates(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let report = match report(patient) {
        Ok(Some(report)) => report,
        Ok(None) => {
            let at = patient.paths.intercept_run();
            return Finding::failed(
                format!("nobody looks after the rules: nothing in {}", at.display()),
                "`systemctl start hawser-intercept`",
            );
        }
        Err(error) => return Finding::unknown(Chain(&error).to_string()),
    };
    let said = format!("hawser-intercept.service {report}");
    let age = seconds(patient).saturating_sub(report.at);
    if age > SILENT {
        return Finding::failed(
            format!("hawser-intercept.service has said nothing for {age} s"),
            "`systemctl restart hawser-intercept`: rules stay meanwhile",
        );
    }
    if let Some(trouble) = &report.trouble {
        return Finding::failed(
            format!("{said}: {trouble}"),
            "`journalctl -u hawser-intercept -n 20`; then `hawser intercept apply`",
        );
    }
    if report.trial.is_some() {
        return Finding::warning(said, "`hawser intercept confirm` keeps them")
            .because("the rules are on trial, and go by themselves");
    }
    let restart = "`hawser doctor --only envoy`; `systemctl restart hawser-envoy`";
    match report.phase {
        Phase::Redirecting => redirecting(config, &report, said),
        Phase::Off => Finding::failed(said, "`hawser intercept apply`")
            .because("hawser-intercept.service has read settings by which nothing is redirected"),
        Phase::Idle => Finding::warning(said, "`hawser intercept plan` says why")
            .because(some(&report.warnings)),
        Phase::Waiting => Finding::failed(said, restart)
            .because("rules go in when Envoy listens on its ports, and it does not yet"),
        Phase::Holding => Finding::failed(said, restart)
            .because("Envoy has gone, and intercept.on_failure says to hold connections"),
        Phase::Lifted => Finding::failed(said, restart)
            .because("Envoy has gone: what passes now is neither encrypted nor authorized"),
        Phase::Reverted => Finding::warning(said, "`hawser intercept apply` begins again"),
    }
}

fn redirecting(config: &Config, report: &Report, said: String) -> Finding {
    let questions = options::intercept(config).dns.is_some();
    if questions && !report.gates.dns {
        return Finding::warning(format!("{said}, and not names"), "`hawser doctor --only dns`")
            .because("the agent does not answer DNS, so programs ask their own resolvers");
    }
    if !report.warnings.is_empty() {
        return Finding::warning(
            format!("{said}, but: {}", some(&report.warnings)),
            "mend that setting: `hawser intercept plan` says it again",
        )
        .because("what is said in the settings is not what happens");
    }
    Finding::ok(said)
}

/// What the agent says at `/intercept`.
#[derive(Deserialize)]
struct Told {
    vips: Vec<String>,
}

/// The rules in the kernel beside those that are meant.
pub(super) async fn same(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    if !patient.is_root {
        return Finding::unknown("run as root to see the rules in the kernel");
    }
    match compared(patient, config).await {
        Ok(finding) => finding,
        Err(error) => Finding::unknown(Chain(&error).to_string()),
    }
}

async fn compared(patient: &Patient, config: &Config) -> Result<Finding, Error> {
    let listing = Nft::find(&patient.root)?.table().await?;
    let places = Places::new(patient.paths.intercept_run());
    let apply = "`hawser intercept diff` shows the difference, `hawser intercept apply` loads what is meant";
    let Some(listing) = listing else {
        // Before Envoy has listened there are none, which is somebody else's trouble.
        let waits = report(patient)?.is_some_and(|report| report.phase == Phase::Waiting);
        if waits {
            return Ok(Finding::unknown("none are loaded before Envoy listens"));
        }
        return Ok(Finding::failed("there is no table inet hawser in the kernel", apply).because(
            "somebody has removed it (`nft flush ruleset`, a firewall that was reloaded)",
        ));
    };
    if places.is_changed(&listing)? {
        return Ok(Finding::failed("table inet hawser is not as hawser has loaded it", apply)
            .because(
                "somebody has changed it; hawser-intercept.service puts that right when it sees it",
            ));
    }
    let Some(vips) = vips(patient).await else {
        return Ok(Finding::unknown("the agent does not say which addresses the mesh has"));
    };
    let settings = options::intercept::settings(config.clone());
    let sights = Sights {
        resolv_conf: patient.file("/etc/resolv.conf"),
        proc: patient.file("/proc/self/net"),
    };
    let view = View::look(&sights, vips)?;
    let machine = view.of((settings.machine)(), &settings.options);
    let (plan, _) = Plan::new(&settings.options, &machine);
    let gates: Vec<_> = plan.gates().iter().map(|gate: &Gate| gate.set()).collect();
    if places.loaded()?.as_deref() != Some(plan.ruleset()) {
        return Ok(Finding::warning("the loaded rules are not what the settings mean now", apply)
            .because("settings were changed, or what they name on this machine"));
    }
    Ok(Finding::ok(format!("table inet hawser is as planned, for {}", gates.join(", "))))
}

/// Addresses that exist on this machine alone.
async fn vips(patient: &Patient) -> Option<Vec<Cidr>> {
    let socket = patient.paths.admin_socket();
    let asked = spawn_blocking(move || {
        let said = Said::ask(&socket, "/intercept").ok().filter(|said| said.status == 200)?;
        let told: Told = serde_json::from_str(&said.text().ok()?).ok()?;
        told.vips.iter().map(|vip| vip.parse().ok()).collect()
    });
    asked.await.ok().flatten()
}

/// Whether somebody else has had his hands in them.
pub(super) fn drift(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    let Ok(Some(report)) = report(patient) else {
        return Finding::unknown("nobody looks after the rules");
    };
    let Some(drift) = &report.drift else {
        return Finding::ok("they were never found changed");
    };
    let age = seconds(patient).saturating_sub(drift.at);
    let ago = span(age.cast_signed());
    let said = format!("put back {} times, last {ago} ago: {}", report.repairs, drift.what);
    if age > RECENT {
        return Finding::ok(said);
    }
    Finding::warning(said, "`journalctl -u hawser-intercept -n 20` says when; see what ran then")
        .because("a firewall that is loaded anew (`nft flush ruleset`) takes the rules of all others along")
}

fn seconds(patient: &Patient) -> u64 {
    let since = patient.now.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Twice as long as the guard is ever silent.
const SILENT: u64 = 60;
/// How long ago something is news.
const RECENT: u64 = 3600;
