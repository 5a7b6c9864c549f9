//! The file itself, and what the running agent makes of it.

use std::io::ErrorKind;

use hawser_services::{Services, file};

use crate::{
    config::services::Services as Settings,
    doctor::{Finding, Patient},
};

/// What the file says; or what there is to say instead.
pub(super) fn read(patient: &Patient) -> Result<Services, Finding> {
    let (settings, config) = match &patient.config {
        Ok(config) => match &config.services {
            Some(settings) => (settings, config),
            None => return Err(Finding::ok("there is no file of services here")),
        },
        Err(_) => return Err(Finding::unknown("no settings")),
    };
    let texts = file::texts(&settings.file);
    let read = texts.and_then(|texts| file::parse(&texts, config.node.id.trust_domain()));
    read.map_err(|problems| {
        let found: Vec<String> = problems.0.iter().take(MOST).map(ToString::to_string).collect();
        let more = problems.0.len().saturating_sub(found.len());
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let finding = Finding::failed(
            format!("{}{more}", found.join("; ")),
            "mend what is named, until `hawser check` is content",
        );
        match patient.snapshot.as_ref().and_then(|snapshot| snapshot.services.as_ref()) {
            Some(_) => finding.because("the agent goes on with what it had before"),
            None => finding,
        }
    })
}

/// Every problem at once, as `hawser check` has them.
pub(super) fn in_order(patient: &Patient) -> Finding {
    match read(patient) {
        Err(finding) => finding,
        Ok(services) => Finding::ok(format!(
            "{} services through {} gateways in {}",
            services.services.len(),
            services.gateways.len(),
            settings(patient).map_or_else(String::new, |it| it.file.display().to_string()),
        )),
    }
}

/// The agent has read it, and uses that.
pub(super) fn in_use(patient: &Patient) -> Finding {
    let Some(settings) = settings(patient) else {
        return Finding::ok("there is no file of services here");
    };
    let Some(snapshot) = &patient.snapshot else {
        return match &patient.silence {
            Some(error) if error.kind() == ErrorKind::PermissionDenied => {
                Finding::unknown(patient.unseen("what the agent says", error))
            }
            _ => Finding::unknown("no agent runs here to say"),
        };
    };
    let Some(services) = &snapshot.services else {
        let evidence = format!("the agent does not use {}", settings.file.display());
        return Finding::failed(evidence, "`systemctl restart hawser`")
            .because("it was not there when the agent was started");
    };
    if services.file != settings.file.display().to_string() {
        let evidence =
            format!("the agent uses {}, and not {}", services.file, settings.file.display());
        return Finding::failed(evidence, "`systemctl restart hawser`")
            .because("services.file has changed since the agent was started");
    }
    if let Some(first) = services.problems.first() {
        let used = if services.kept { "what was kept from before" } else { "what it said before" };
        return Finding::failed(
            format!("{used} is in use: {first}"),
            "mend what is named, until `hawser check` is content; it is read again by itself",
        )
        .because("none of a file that is wrong anywhere is used");
    }
    let standing = if services.is_alone() { ", standalone" } else { ", beside istiod" };
    let conflicts = match (services.conflict_count, services.wins.as_str()) {
        (0, _) => String::new(),
        (many, "mesh") => format!("; {many} names come from istiod too, which wins"),
        (many, _) => format!("; {many} names come from istiod too, and the file wins"),
    };
    Finding::ok(format!("{} of {}{standing}{conflicts}", services.services, services.file))
}

fn settings(patient: &Patient) -> Option<&Settings> {
    patient.config.as_ref().ok()?.services.as_ref()
}

/// So many problems are told; `hawser check` tells all.
const MOST: usize = 4;
