//! What is missing before programs can rely on the mesh: the identity, names, Envoy, and the rules
//! that lead traffic to it. Stricter than what systemd waits for at the start of the agent.

use std::time::SystemTime;

use hawser_envoy::{admin::Admin, readiness::Verdict};
use hawser_rt::Chain;
use serde::{Deserialize, Serialize};

use super::{Facts, units::UnitsStatus, web::PATIENCE};
use crate::config::intercept::Intercept;

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// `identity`, `dns`, `envoy`, `rules`, or another gate.
    pub part: String,
    /// Why, or what is known of it.
    pub why: String,
}

impl Facts {
    /// All that is missing at this moment; nothing where programs can rely on the mesh.
    ///
    /// Envoy is waited for where the agent leads its life or where its unit has been started, rules
    /// where there is something to redirect.
    pub async fn lacks(&self, now: SystemTime) -> Vec<Lack> {
        let mut lacks: Vec<Lack> =
            self.gates.closed().into_iter().map(|gate| self.closed(gate)).collect();
        let identity = self.identity.identity.borrow().clone();
        if identity.is_some_and(|identity| !identity.valid_at(now)) {
            let trouble = self.identity.progress.borrow().trouble();
            let why = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
            lacks.push(Lack::of("identity", format!("the certificate has expired{why}")));
        }
        let Some(mesh) = &self.mesh else { return lacks };
        let units = UnitsStatus::read(&self.paths);
        let wanted = self.wanted();
        if wanted.envoy {
            let said = units.envoy.as_ref().and_then(|unit| unit.missing());
            let admin = Admin::new(mesh.admin).with_limit(PATIENCE);
            let why = match admin.readiness().await {
                Ok(Verdict::Ready) => None,
                Ok(Verdict::NotReady(reason)) => Some(said.unwrap_or_else(|| reason.to_string())),
                Err(error) => Some(said.unwrap_or_else(|| Chain(&error).to_string())),
            };
            lacks.extend(why.map(|why| Lack::of("envoy", why)));
        }
        if wanted.rules {
            let why = match &units.intercept {
                Some(unit) => unit.missing(),
                None => Some("hawser-intercept.service has not told of any".to_owned()),
            };
            lacks.extend(why.map(|why| Lack::of("rules", why)));
        }
        lacks
    }

    fn closed(&self, gate: &str) -> Lack {
        let why = match gate {
            "identity" => {
                let trouble = self.identity.progress.borrow().trouble();
                trouble.unwrap_or_else(|| "there is no certificate yet".to_owned())
            }
            "dns" => "names are not answered yet".to_owned(),
            "domains" => "systemd-resolved is not told yet".to_owned(),
            _ => "it is not there yet".to_owned(),
        };
        Lack::of(gate, why)
    }
}

/// Whether there is anything to redirect.
pub(crate) fn redirects(intercept: &Intercept) -> bool {
    let Intercept { enabled, inbound, outbound, dns, .. } = intercept;
    let nothing = inbound.ports.is_nothing()
        && outbound.networks.is_nothing()
        && outbound.ports.is_empty()
        && !dns;
    *enabled && !nothing
}

impl Lack {
    fn of(part: &str, why: String) -> Self {
        Self { part: part.to_owned(), why }
    }
}
