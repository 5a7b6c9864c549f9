//! Whether the machine is ready, asked anew each time: what was so once may not be so any more.

use std::time::SystemTime;

use hawser_envoy::{admin::Admin, readiness::Verdict};
use hawser_rt::Chain;

use super::super::{Facts, web::PATIENCE};

/// Ready is an agent that has an identity which holds, names if it answers any, files if it is to
/// keep some, and an Envoy that has its configuration and serves it. Else, why not.
pub(super) async fn ready(facts: &Facts) -> Result<(), String> {
    let waits_for = facts.gates.closed();
    if !waits_for.is_empty() {
        return Err(format!("the agent waits for {}", waits_for.join(", ")));
    }
    let identity = facts.identity.identity.borrow().clone();
    if identity.is_some_and(|identity| !identity.valid_at(SystemTime::now())) {
        let trouble = facts.identity.progress.borrow().trouble();
        let why = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
        return Err(format!("the certificate has expired{why}"));
    }
    let exported = facts.identity.exported.as_ref().map(|exported| exported.borrow().clone());
    if let Some(exported) = exported.filter(|exported| exported.at.is_none()) {
        let why = exported.wrong.unwrap_or_else(|| "they are not there yet".to_owned());
        return Err(format!("the files of export.directory: {why}"));
    }
    let Some(mesh) = &facts.mesh else { return Ok(()) };
    if let Some(reason) = mesh.maintenance.reason() {
        return Err(reason);
    }
    if let Some(reason) = mesh.drain.reason() {
        return Err(reason.to_owned());
    }
    if mesh.dns.is_some() && mesh.names.borrow().is_none() {
        return Err("istiod has sent no names yet, and none are kept from before".to_owned());
    }
    match Admin::new(mesh.admin).with_limit(PATIENCE).readiness().await {
        Ok(Verdict::Ready) => Ok(()),
        Ok(Verdict::NotReady(reason)) => Err(reason.to_string()),
        Err(error) => Err(Chain(&error).to_string()),
    }
}
