//! `hawser doctor`: what may be wrong with this machine, looked at in an order in which the first
//! thing that is wrong is the one to mend.
//!
//! A check looks, and says what it saw; it changes nothing. What it cannot see (as not root, offline,
//! before the machine has joined) it says so, and that is no fault; what does not apply here is in
//! order, and says that. A group of checks is a file with a table `CHECKS`; `groups` is their order.
//! `patient` is the machine that is looked at, `round` looks.

mod agent;
mod credentials;
mod dns;
mod envoy;
mod gateways;
mod istiod;
mod machine;
pub(crate) mod patient;
mod ports;
pub(crate) mod round;
mod rules;
mod services;
mod units;

use std::{future::Future, pin::Pin};

use serde::Serialize;

pub(crate) use self::patient::Patient;

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Nothing is wrong.
    Ok,
    /// It works, and will not always or not everywhere.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be seen, or does not apply here.
    Unknown,
}

/// What a check has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What came of it.
    pub(crate) result: Outcome,
    /// What was seen, with the values.
    pub(crate) evidence: String,
    /// Why that is so, if it is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// What to do: a command where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Finding {
    fn new(result: Outcome, evidence: impl Into<String>) -> Self {
        Self { result, evidence: evidence.into(), cause: None, remedy: None }
    }

    pub(crate) fn ok(evidence: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, evidence)
    }

    pub(crate) fn unknown(evidence: impl Into<String>) -> Self {
        Self::new(Outcome::Unknown, evidence)
    }

    pub(crate) fn warning(evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(Outcome::Warning, evidence) }
    }

    pub(crate) fn failed(evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(Outcome::Failed, evidence) }
    }

    pub(crate) fn because(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }
}

/// One thing that is looked at.
pub(crate) struct Check {
    /// Its name, for scripts: it never changes.
    pub(crate) name: &'static str,
    /// What is asked, as people would ask.
    pub(crate) asks: &'static str,
    /// Checks that have to have gone well, or looking would say the same again.
    pub(crate) needs: &'static [&'static str],
    /// Whether it asks somebody over the network: not with `--offline`.
    pub(crate) network: bool,
    /// Whether only a machine that has joined has it: not before that, and not with `--preflight`.
    pub(crate) joined: bool,
    pub(crate) look: for<'a> fn(&'a Patient) -> Looking<'a>,
}

/// A look that goes on.
pub(crate) type Looking<'a> = Pin<Box<dyn Future<Output = Finding> + Send + 'a>>;

/// Checks of one part of the machine.
pub(crate) struct Group {
    /// What people call that part.
    pub(crate) name: &'static str,
    /// In their order.
    pub(crate) checks: &'static [Check],
}

/// All of them, in the order in which they are looked at.
pub(crate) fn groups() -> [Group; 9] {
    [
        Group { name: "machine", checks: machine::CHECKS },
        Group { name: "credentials", checks: credentials::CHECKS },
        Group { name: "istiod", checks: istiod::CHECKS },
        Group { name: "services", checks: services::CHECKS },
        Group { name: "agent", checks: agent::CHECKS },
        Group { name: "dns", checks: dns::CHECKS },
        Group { name: "rules", checks: rules::CHECKS },
        Group { name: "envoy", checks: envoy::CHECKS },
        Group { name: "gateways", checks: gateways::CHECKS },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own_and_needs_only_what_was_looked_at_before() {
        let mut before = BTreeSet::new();
        for group in groups() {
            for check in group.checks {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(check.name.chars().all(plain), "{}", check.name);
                for need in check.needs {
                    assert!(before.contains(need), "{} needs {need}", check.name);
                }
                assert!(before.insert(check.name), "{} is there twice", check.name);
                assert!(group.name != check.name, "{} is a group", check.name);
                assert!(check.asks.ends_with('?'), "{}: {:?}", check.name, check.asks);
            }
        }
    }
}
