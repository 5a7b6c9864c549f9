//! The clock: everything else is judged by it.

use std::time::Duration;

use hawser_istiod::token::Span;

use crate::{
    bundle,
    doctor::{Finding, Patient},
};

/// What was made before now cannot be from the future.
pub(super) fn right(patient: &Patient) -> Finding {
    let bundle = patient.bundle();
    let behind = bundle.as_ref().and_then(|bundle| bundle::behind(bundle, patient.now));
    match behind.or_else(|| future_state(patient)) {
        Some(behind) => Finding::failed(behind, SET),
        None => Finding::ok("nothing here is from the future"),
    }
}

/// What the agent keeps was written by this clock: if that is later than now, it went back.
fn future_state(patient: &Patient) -> Option<String> {
    let entries = std::fs::read_dir(patient.paths.state()).ok()?.flatten().take(MOST);
    let written =
        |entry: std::fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let (last, path) = entries.filter_map(written).max()?;
    let behind = last.duration_since(patient.now).ok().filter(|behind| *behind > TOLERANCE)?;
    Some(format!(
        "it is at least {} behind: {} was written after now",
        Span(behind),
        path.display()
    ))
}

/// Somebody keeps it right.
pub(super) async fn kept(patient: &Patient) -> Finding {
    let properties = ["show", "--property=NTP", "--property=NTPSynchronized"];
    let said = match patient.run("timedatectl", &properties).await {
        Ok(said) => said,
        Err(why) => return Finding::unknown(why),
    };
    let is = |property: &str| {
        let mut lines = said.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == property).map(|(_, value)| value == "yes")
    };
    match (is("NTPSynchronized"), is("NTP")) {
        (Some(true), _) => Finding::ok("it is synchronized"),
        (Some(false), Some(true)) => Finding::warning(
            "it is not synchronized",
            "`timedatectl timesync-status` (or `chronyc tracking`) says why",
        )
        .because("a time service is on, and has not reached a time server"),
        (Some(false), _) => Finding::warning("it is not synchronized", SET)
            .because("no time service is on; certificates are judged by the clock"),
        (None, _) => Finding::unknown("timedatectl does not say whether it is synchronized"),
    }
}

/// The time as seconds that a clock may be off without harm.
const TOLERANCE: Duration = Duration::from_secs(120);
const MOST: usize = 64;
const SET: &str = "`timedatectl set-ntp true`, then `timedatectl` until it is synchronized";

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_state_from_the_future_is_a_clock_that_went_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("var/lib/hawser")).unwrap();
        let file = root.join("var/lib/hawser/identity");
        hawser_state::write_file(&file, 0o600, b"x").unwrap();
        let mut patient = Patient::bare(root);

        assert_eq!(right(&patient).result, crate::doctor::Outcome::Ok);

        patient.now = SystemTime::now() - Duration::from_secs(86_400 * 3 + 60);
        let finding = right(&patient);
        assert!(finding.evidence.starts_with("it is at least 3 days behind"), "{finding:?}");
    }
}
