//! Checks of the running agent: that it runs, answers, and serves what it is there for.

mod flows;
mod process;
mod sockets;

use super::{Check, Finding, Patient};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "istio-agent",
        asks: "Does Istio's own agent run beside this one?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(process::other_agent(patient)),
    },
    Check {
        name: "agent-port",
        asks: "Is the status port the agent's, or free?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { process::port(patient) }),
    },
    Check {
        name: "agent-unit",
        asks: "Does systemd keep hawser.service running?",
        needs: &[],
        network: false,
        joined: true,
        look: |patient| Box::pin(process::unit(patient)),
    },
    Check {
        name: "agent-restarts",
        asks: "Does the agent stay up?",
        needs: &["agent-unit"],
        network: false,
        joined: true,
        look: |patient| Box::pin(process::restarts(patient)),
    },
    Check {
        name: "agent-answers",
        asks: "Does the agent answer at its admin socket?",
        needs: &[],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { process::answers(patient) }),
    },
    Check {
        name: "agent-version",
        asks: "Is the agent that runs the one that is installed?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { process::version(patient) }),
    },
    Check {
        name: "agent-ready",
        asks: "Is everything there that the agent waits for?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { process::ready(patient) }),
    },
    Check {
        name: "agent-sockets",
        asks: "Can Envoy connect to the agent's sockets?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(sockets::look(patient)),
    },
    Check {
        name: "agent-strangers",
        asks: "Has nobody tried the agent's sockets who may not?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { flows::strangers(patient) }),
    },
    Check {
        name: "sds-served",
        asks: "Does Envoy take its certificates?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { flows::secrets(patient) }),
    },
    Check {
        name: "xds-accepted",
        asks: "Does Envoy take its configuration?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { flows::accepted(patient) }),
    },
    Check {
        name: "xds-fresh",
        asks: "Is Envoy's configuration confirmed by istiod?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { flows::fresh(patient) }),
    },
    Check {
        name: "xds-whole",
        asks: "Is everything in Envoy's configuration loaded?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { flows::whole(patient) }),
    },
    Check {
        name: "last-good",
        asks: "Is the configuration kept for a start without istiod?",
        needs: &[],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { flows::kept(patient) }),
    },
];

/// What there is to say where the agent says nothing.
fn silent() -> Finding {
    Finding::unknown("the agent does not answer")
}

/// The command that starts the agent.
fn start(patient: &Patient) -> String {
    match patient.paths.is_system() {
        true => "`systemctl start hawser`, then `journalctl -u hawser -n 20`".to_owned(),
        false => format!("`hawser run --root {}`", patient.paths.root().display()),
    }
}

/// The command that starts it anew.
fn restart(patient: &Patient) -> String {
    match patient.paths.is_system() {
        true => "`systemctl restart hawser`: nothing is dropped".to_owned(),
        false => "start the agent anew".to_owned(),
    }
}

/// The first few of many, and how many there are besides.
pub(super) fn some(all: &[String]) -> String {
    let first = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first}, and {more} more"),
    }
}

const SHOWN: usize = 5;
