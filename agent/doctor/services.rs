//! Checks of the file of services: whether it is in order and in use, and whether its gateways lead to
//! whom it says.
//!
//! Gateways are called as Envoy calls them, with this machine's certificate. A service that speaks
//! HTTP is asked `OPTIONS /`, which changes nothing; a service that speaks anything else is told
//! nothing.

mod call;
mod file;
mod judged;
mod survey;

use super::Check;

pub(super) use self::survey::Seen;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "services-file",
        asks: "Is the file of services in order?",
        needs: &["configuration"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { file::in_order(patient) }),
    },
    Check {
        name: "services-in-use",
        asks: "Does the running agent use it as it is?",
        needs: &["configuration"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { file::in_use(patient) }),
    },
    Check {
        name: "services-gateways",
        asks: "Do its gateways take connections?",
        needs: &["services-file"],
        network: true,
        joined: false,
        look: |patient| Box::pin(judged::reached(patient)),
    },
    Check {
        name: "services-sni",
        asks: "Do its gateways know its services?",
        needs: &["services-gateways"],
        network: true,
        joined: false,
        look: |patient| Box::pin(judged::known(patient)),
    },
    Check {
        name: "services-roots",
        asks: "Are its services certified by roots of this machine?",
        needs: &["services-sni"],
        network: true,
        joined: false,
        look: |patient| Box::pin(judged::rooted(patient)),
    },
    Check {
        name: "services-peers",
        asks: "Are its services who it says?",
        needs: &["services-sni"],
        network: true,
        joined: false,
        look: |patient| Box::pin(judged::expected(patient)),
    },
    Check {
        name: "services-believed",
        asks: "Do its services believe the certificate of this machine?",
        needs: &["services-sni"],
        network: true,
        joined: true,
        look: |patient| Box::pin(judged::believed(patient)),
    },
    Check {
        name: "services-authorized",
        asks: "Do its services let this machine in?",
        needs: &["services-believed"],
        network: true,
        joined: true,
        look: |patient| Box::pin(judged::admitted(patient)),
    },
];
