//! The roots: by them istiod is believed.

use std::time::Duration;

use hawser_istiod::token::Span;
use hawser_pki::{Bundle, Identity};
use hawser_rt::Chain;

use super::certificate::Kept;
use crate::{
    check::{self, Files},
    doctor::{Finding, Patient},
};

/// Every file that is to hold roots, with what it holds.
fn files(patient: &Patient) -> Vec<(String, Result<Bundle, String>)> {
    let Ok(config) = &patient.config else { return Vec::new() };
    let roots = Files::of(config).roots.into_iter();
    roots.map(|path| (path.display().to_string(), check::root_file(&path))).collect()
}

/// Whether the agent knows others, which came with certificates.
fn learned(patient: &Patient) -> bool {
    patient.snapshot.as_ref().is_some_and(|snapshot| snapshot.identity.roots.count > 0)
}

/// Each of the files has one at least.
pub(super) fn readable(patient: &Patient) -> Finding {
    let files = files(patient);
    for (path, read) in &files {
        let Err(wrong) = read else { continue };
        let evidence = format!("{path}: {wrong}");
        return match learned(patient) {
            true => Finding::warning(evidence, AGAIN)
                .because("the agent goes by the roots that came with its certificate"),
            false => Finding::failed(evidence, AGAIN),
        };
    }
    match files.is_empty() {
        true => Finding::ok("the roots are the system's, or come with the pair"),
        false => Finding::ok(format!("there are roots in {}", list(&files))),
    }
}

fn list(files: &[(String, Result<Bundle, String>)]) -> String {
    files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(" and ")
}

/// One at least has not expired, and none does soon.
pub(super) fn fresh(patient: &Patient) -> Finding {
    for (path, roots) in files(patient) {
        let Ok(roots) = roots else { continue };
        let Some(good) = roots.unexpired_at(patient.now) else {
            let past = roots.first_expiry().and_then(|end| patient.now.duration_since(end).ok());
            return Finding::failed(
                format!("{path} expired {} ago", Span(past.unwrap_or_default())),
                AGAIN,
            )
            .because("the mesh has another root by now, or this machine's clock is ahead");
        };
        let end = good.first_expiry();
        let left = end.and_then(|end| end.duration_since(patient.now).ok()).unwrap_or_default();
        if left < SOON && good.len() == 1 {
            return Finding::warning(format!("{path} is valid for {} more", Span(left)), AGAIN)
                .because("the mesh has to rotate its root before that");
        }
    }
    Finding::ok("the roots are valid")
}

/// The machine's own certificate leads to them: if not, the mesh has rotated its root since.
pub(super) fn cover(patient: &Patient) -> Finding {
    let Kept::Pair(pair) = Kept::of(patient) else {
        return Finding::ok("there is no certificate here to try them with");
    };
    for (path, roots) in files(patient) {
        let Ok(roots) = roots else { continue };
        if let Err(error) = Identity::leads(&pair.chain, &roots) {
            return Finding::warning(format!("{path}: {}", Chain(&error)), AGAIN).because(
                "the mesh has rotated its root since this file was written: a machine that loses \
                 its state could not join with it",
            );
        }
    }
    Finding::ok("the certificate leads to the roots on disk")
}

/// In this time somebody has to do something.
const SOON: Duration = Duration::from_secs(30 * 86_400);
const AGAIN: &str = "`istioctl x workload entry configure` writes a bundle with the mesh's present \
                     root; `hawser join BUNDLE` with it";
