//! Checks of the way to istiod, step by step: name, address, TLS, root, name in the certificate, HTTP/2,
//! and whether what this machine shows is believed.

mod admission;
mod agent;
mod steps;

use super::Check;

pub(super) use self::steps::Seen;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "istiod-resolves",
        asks: "Does the name of istiod lead to addresses?",
        needs: &["configuration"],
        network: true,
        joined: false,
        look: |patient| Box::pin(steps::resolves(patient)),
    },
    Check {
        name: "istiod-reachable",
        asks: "Does every address of istiod take connections?",
        needs: &["istiod-resolves"],
        network: true,
        joined: false,
        look: |patient| Box::pin(steps::reachable(patient)),
    },
    Check {
        name: "istiod-tls",
        asks: "Does it speak TLS?",
        needs: &["istiod-reachable"],
        network: true,
        joined: false,
        look: |patient| Box::pin(steps::encrypted(patient)),
    },
    Check {
        name: "istiod-clock",
        asks: "Is its certificate valid by the clock of this machine?",
        needs: &["istiod-tls"],
        network: true,
        joined: false,
        look: |patient| Box::pin(steps::in_time(patient)),
    },
    Check {
        name: "istiod-root",
        asks: "Does its certificate lead to the roots of this machine?",
        needs: &["istiod-tls", "roots", "root-expiry"],
        network: true,
        joined: false,
        look: |patient| Box::pin(steps::trusted(patient)),
    },
    Check {
        name: "istiod-san",
        asks: "Is its certificate for the name that is expected?",
        needs: &["istiod-tls"],
        network: true,
        joined: false,
        look: |patient| Box::pin(steps::named(patient)),
    },
    Check {
        name: "istiod-answers",
        asks: "Does it answer as istiod does?",
        needs: &["istiod-reachable", "istiod-clock", "istiod-root", "istiod-san"],
        network: true,
        joined: false,
        look: |patient| Box::pin(admission::answers(patient)),
    },
    Check {
        name: "authorization",
        asks: "Does istiod believe what this machine shows?",
        needs: &["istiod-answers"],
        network: true,
        joined: false,
        look: |patient| Box::pin(admission::believed(patient)),
    },
    Check {
        name: "istiod-stream",
        asks: "Does the running agent hear from istiod?",
        needs: &["configuration"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { agent::heard(patient) }),
    },
    Check {
        name: "registration",
        asks: "Does istiod know this machine as a workload?",
        needs: &["configuration"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { agent::registered(patient) }),
    },
];
