//! Checks of the rules that send traffic to Envoy, and of who else has rules on this machine.

mod kernel;
mod loaded;
mod neighbours;

use super::{Check, Finding, Patient};
use crate::{config::Config, status::lacks};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "nft",
        asks: "Is nftables installed?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(loaded::program(patient)),
    },
    Check {
        name: "istio-rules",
        asks: "Has Istio's own agent left no rules?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(neighbours::leftovers(patient)),
    },
    Check {
        name: "ssh-spared",
        asks: "Does ssh to this machine go past Envoy?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { kernel::ssh(patient) }),
    },
    Check {
        name: "ipv6-redirected",
        asks: "Can IPv6 be redirected, if it is to be?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { kernel::ipv6(patient) }),
    },
    Check {
        name: "tproxy",
        asks: "Is everything there for intercept.mode = tproxy, if that is set?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { kernel::tproxy(patient) }),
    },
    Check {
        name: "conntrack",
        asks: "Has the kernel room for more connections?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { kernel::conntrack(patient) }),
    },
    Check {
        name: "firewall",
        asks: "Does no firewall drop what is redirected?",
        needs: &["nft"],
        network: false,
        joined: false,
        look: |patient| Box::pin(neighbours::firewall(patient)),
    },
    Check {
        name: "iptables-legacy",
        asks: "Are there rules of one kind only?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(neighbours::legacy(patient)),
    },
    Check {
        name: "containers",
        asks: "Are the interfaces there that the settings name?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { neighbours::containers(patient) }),
    },
    Check {
        name: "intercept-unit",
        asks: "Does systemd keep hawser-intercept.service running?",
        needs: &[],
        network: false,
        joined: true,
        look: |patient| Box::pin(loaded::unit(patient)),
    },
    Check {
        name: "rules-open",
        asks: "Is redirected what is to be?",
        needs: &["intercept-unit"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { loaded::gates(patient) }),
    },
    Check {
        name: "rules-loaded",
        asks: "Are the rules in the kernel those that the settings mean?",
        needs: &["nft", "agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(loaded::same(patient)),
    },
    Check {
        name: "rules-drift",
        asks: "Does nobody else change the rules?",
        needs: &["rules-open"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { loaded::drift(patient) }),
    },
];

/// The settings, if anything is to be redirected on this machine; else what there is to say.
fn settings(patient: &Patient) -> Result<&Config, Finding> {
    let Ok(config) = &patient.config else {
        return Err(Finding::unknown("the settings are wrong: `hawser check`"));
    };
    if config.identity.only || !lacks::redirects(&config.intercept) {
        return Err(Finding::ok("the settings redirect nothing"));
    }
    Ok(config)
}
