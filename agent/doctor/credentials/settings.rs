//! Whether the machine has joined, and whether what was said amounts to something.

use std::{fs, io::ErrorKind};

use crate::{
    check,
    doctor::{Finding, Patient},
};

/// There is something of a bundle.
pub(super) fn joined(patient: &Patient) -> Finding {
    let place = patient.paths.bundle();
    let place = place.display();
    match (patient.sources.joined, &patient.called, patient.preflight) {
        (_, Some((_, called)), _) => Finding::ok(format!("{} is looked at", called.display())),
        _ if patient.is_alone() => Finding::ok("standalone: no istiod, and a file of services"),
        (true, ..) if patient.paths.bundle().is_dir() => {
            Finding::ok(format!("it has joined with what is in {place}"))
        }
        (true, ..) => Finding::ok("it has joined with the files of istio-sidecar"),
        (false, _, true) => {
            Finding::unknown("no bundle was named: `hawser doctor --preflight BUNDLE`")
        }
        (false, _, false) => match fs::read_dir(patient.paths.bundle()) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Finding::unknown(patient.unseen(&place.to_string(), &error))
            }
            _ => Finding::failed(
                format!("there is nothing in {place}"),
                "`hawser doctor --preflight BUNDLE`, then `hawser join BUNDLE`",
            )
            .because("this machine has not joined a mesh"),
        },
    }
}

/// Every problem at once, as `hawser check` has them.
pub(super) fn in_order(patient: &Patient) -> Finding {
    let problems = match &patient.config {
        Ok(config) => check::usable(config),
        Err(problems) => problems.0.clone(),
    };
    if problems.is_empty() {
        return Finding::ok("the settings are in order");
    }
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Finding::failed(told.join("; "), "mend what is named, until `hawser check` is content")
}
