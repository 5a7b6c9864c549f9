//! What the running agent hears from istiod, and is known there as.

use std::io::ErrorKind;

use super::steps::STANDALONE;
use crate::doctor::{Finding, Patient};

/// The agent's own stream is answered.
pub(super) fn heard(patient: &Patient) -> Finding {
    if patient.is_alone() {
        return Finding::ok(STANDALONE);
    }
    let Some(snapshot) = &patient.snapshot else { return no_agent(patient) };
    let Some(istiod) = &snapshot.istiod else {
        return Finding::ok("this machine keeps certificates alone");
    };
    match (istiod.connected, &istiod.trouble) {
        (true, _) => Finding::ok(format!("{} answers", istiod.address)),
        (false, trouble) => {
            let finding = Finding::failed(
                format!("the agent does not hear from {}", istiod.address),
                "what failed above, else `journalctl -u hawser -n 50`",
            );
            finding.because(trouble.as_deref().unwrap_or("it tries to connect"))
        }
    }
}

/// istiod has been asked to register this machine, on a stream that it answers.
pub(super) fn registered(patient: &Patient) -> Finding {
    if patient.is_alone() {
        return Finding::ok(STANDALONE);
    }
    let Some(snapshot) = &patient.snapshot else { return no_agent(patient) };
    let Some(registration) = &snapshot.registration else {
        return Finding::ok("this machine keeps certificates alone");
    };
    let word = |text: &Option<String>| text.clone().unwrap_or_default();
    let namespace = word(&registration.namespace);
    let Some(group) = &registration.group else {
        return Finding::ok("it does not ask to be registered: a WorkloadEntry is made by hand");
    };
    if registration.since.is_some() {
        let address = word(&registration.address);
        return Finding::ok(format!("as {group} in {namespace}, at {address}"));
    }
    let trouble = snapshot.relay.as_ref().and_then(|relay| relay.trouble.clone());
    let streams = snapshot.relay.as_ref().map_or(0, |relay| relay.streams);
    match (trouble, streams) {
        (Some(trouble), _) => Finding::failed(
            format!("istiod does not register this machine as {group} in {namespace}"),
            format!(
                "`kubectl -n {namespace} get workloadgroup {group}`, and a bundle that is made for \
                 it: `hawser join BUNDLE`"
            ),
        )
        .because(trouble),
        (None, 0) => Finding::warning(
            format!("nobody has asked istiod to register this machine as {group} in {namespace}"),
            "`systemctl start hawser-envoy`: it is Envoy's stream that registers",
        ),
        (None, _) => Finding::warning(
            format!("istiod has not answered yet: {group} in {namespace}"),
            "`hawser status --wait-ready`",
        ),
    }
}

fn no_agent(patient: &Patient) -> Finding {
    match &patient.silence {
        Some(error) if error.kind() == ErrorKind::PermissionDenied => {
            Finding::unknown(patient.unseen("what the agent says", error))
        }
        _ => Finding::unknown("no agent runs here to say"),
    }
}
