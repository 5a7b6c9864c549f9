//! Envoy, and the rules that lead traffic to it.

use super::{
    super::page::{Hue, Page},
    ago, count,
};
use crate::status::Snapshot;

/// What is redirected, how often, and whether others have changed it.
pub(super) fn rules(page: &mut Page, of: &Snapshot) {
    let Some(report) = &of.units.intercept else {
        if of.wanted.rules {
            page.row("rules", Hue::Bad, "none: hawser-intercept.service has told of no rules");
        }
        return;
    };
    let hits: u64 = report.hits.iter().map(|hit| hit.packets).sum();
    let hits = match report.hits.is_empty() {
        true => String::new(),
        false => format!("; {}", count(hits, "hit")),
    };
    let (hue, text) = match report.missing() {
        Some(missing) => (Hue::Bad, missing),
        None => (Hue::Plain, format!("{report} for {}", ago(of.at, report.since))),
    };
    page.fit("rules", hue, &text, &hits);
    if report.repairs > 0 {
        let times = count(report.repairs, "time");
        let last =
            report.drift.as_ref().map(|drift| format!(", last {} ago", ago(of.at, drift.at)));
        let last = last.unwrap_or_default();
        page.row("", Hue::Warning, &format!("somebody changed them: put back {times}{last}"));
    }
    for warning in report.warnings.iter().take(FEW) {
        page.row("", Hue::Warning, warning);
    }
}

/// Envoy's state and version.
pub(super) fn envoy(page: &mut Page, of: &Snapshot) {
    let Some(envoy) = &of.envoy else { return };
    let unit = of.units.envoy.as_ref();
    let says = envoy.says.as_ref();
    let version = says.and_then(|says| says.version.as_ref());
    let version = version.or(unit.and_then(|unit| unit.version.as_ref()));
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    let pid = envoy.pid.or(unit.and_then(|unit| unit.pid));
    let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let since = unit.and_then(|unit| unit.since.filter(|_| unit.pid.is_some()));
    let up = since.map(|since| format!(", up {}", ago(of.at, since))).unwrap_or_default();
    let ends = envoy.restarts.max(unit.map_or(0, |unit| unit.unasked));
    let ends = match ends {
        0 => String::new(),
        many => format!(", ended by itself {}", count(many, "time")),
    };
    let (hue, word) = match says {
        Some(says) if says.ready => (Hue::Good, "live"),
        Some(says) => match says.server.as_deref() {
            Some("DRAINING") => (Hue::Warning, "draining"),
            Some("LIVE") => (Hue::Warning, "live, not ready"),
            Some(_) => (Hue::Warning, "starting"),
            None if pid.is_empty() => (Hue::Bad, "does not run"),
            None => (Hue::Bad, "does not answer"),
        },
        None => (Hue::Faint, "none here"),
    };
    page.row("envoy", hue, &format!("{word}{version}{up}{pid}{ends}"));
    for line in unit.map(|unit| unit.ended_lately()).into_iter().flatten() {
        page.row("", Hue::Warning, &line);
    }
    if of.wanted.envoy && says.is_some_and(|says| says.ready) && of.secrets.accepted == 0 {
        page.row("", Hue::Faint, "it has not asked for a certificate yet");
    }
}

const FEW: usize = 2;
