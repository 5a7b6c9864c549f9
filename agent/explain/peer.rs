//! Who has to answer, and as whom this machine is known to them.

use serde_json::json;

use super::{Kind, Step, cluster::Way};

/// The certificate of this machine, as far as known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Whether the agent has told.
    pub known: bool,
    /// Who this machine is.
    pub spiffe_id: Option<String>,
    /// How long it is valid yet; below zero if it is not any more.
    pub expires_in: Option<i64>,
}

/// The step for one way to talk.
pub fn step(way: &Way, own: &Own) -> Step {
    let Way::Sealed(seal) = way else {
        return Step::new(Kind::Peer, "in plain text: nobody shows a certificate")
            .facts(way.json());
    };
    let what = match (seal.mutual, seal.names.as_slice()) {
        (true, _) => "mutual TLS",
        (false, _) => "TLS, without a certificate of this machine",
    };
    let mut step = Step::new(Kind::Peer, what).facts(way.json());
    step = match seal.names.as_slice() {
        [] if seal.verified => step.and("whoever the roots vouch for may answer"),
        [] => step.and("whoever answers is believed"),
        [one] => step.and(format!("who answers has to be {one}")),
        some => {
            let shown = some.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
            let more = some.len().saturating_sub(MOST);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            step.and(format!("who answers has to be one of {shown}{more}"))
        }
    };
    let said = [("SNI", seal.sni.clone()), ("ALPN", seal.alpn.join(", "))];
    let said: Vec<String> = said
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if !said.is_empty() {
        step = step.and(said.join(", "));
    }
    if seal.mutual { shown(step, own) } else { step }
}

/// What this machine shows.
fn shown(step: Step, own: &Own) -> Step {
    if !own.known {
        return step;
    }
    let id = own.spiffe_id.as_deref().unwrap_or("nobody");
    match own.expires_in {
        None => step.breaks("this machine has no certificate to show", "hawser status"),
        Some(left) if left <= 0 => step
            .and(format!("this machine shows {id}"))
            .breaks("the certificate of this machine has expired", "hawser identity renew"),
        Some(_) => step.and(format!("this machine shows {id}")),
    }
}

/// The facts about the machine's own certificate, for programs.
pub fn json(own: &Own) -> serde_json::Value {
    json!({ "known": own.known, "spiffe_id": own.spiffe_id, "expires_in": own.expires_in })
}

const MOST: usize = 4;
