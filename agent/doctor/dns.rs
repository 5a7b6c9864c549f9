//! Checks of how this host resolves names: its own files and resolvers, and the way from a program
//! of this host to the agent.

mod files;
mod path;
mod proxy;

use super::{Check, Finding, Patient};
use crate::config::dns::Dns;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "resolv-conf",
        asks: "Does resolv.conf name a resolver?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { files::resolv_conf(patient) }),
    },
    Check {
        name: "nameservers",
        asks: "Do the resolvers in resolv.conf answer?",
        needs: &["resolv-conf"],
        network: true,
        joined: false,
        look: |patient| Box::pin(files::nameservers(patient)),
    },
    Check {
        name: "dns-search",
        asks: "Are names outside asked for once?",
        needs: &["resolv-conf"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { files::search(patient) }),
    },
    Check {
        name: "dns-loop",
        asks: "Does the agent relay to others, and not to itself?",
        needs: &["resolv-conf"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { files::loops(patient) }),
    },
    Check {
        name: "nsswitch",
        asks: "Do programs of glibc ask DNS?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { files::nsswitch(patient) }),
    },
    Check {
        name: "dns-port",
        asks: "Is the port for DNS the agent's, or free?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { proxy::port(patient) }),
    },
    Check {
        name: "systemd-resolved",
        asks: "Does systemd-resolved send the names of the mesh to the agent?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(path::resolved(patient)),
    },
    Check {
        name: "dns-answers",
        asks: "Does the agent answer DNS?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(proxy::answers(patient)),
    },
    Check {
        name: "dns-table",
        asks: "Does the agent know the names of the mesh?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { proxy::table(patient) }),
    },
    Check {
        name: "dns-upstreams",
        asks: "Do the resolvers answer that the agent relays to?",
        needs: &["agent-answers"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { proxy::upstreams(patient) }),
    },
    Check {
        name: "hosts-shadow",
        asks: "Is no name of the mesh in /etc/hosts?",
        needs: &["dns-table"],
        network: false,
        joined: true,
        look: |patient| Box::pin(path::shadows(patient)),
    },
    Check {
        name: "dns-host-path",
        asks: "Does a program of this host get what the agent knows?",
        needs: &["dns-answers", "dns-table"],
        network: false,
        joined: true,
        look: |patient| Box::pin(path::host(patient)),
    },
    Check {
        name: "mdns",
        asks: "Does mDNS leave the names of the mesh alone?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(path::mdns(patient)),
    },
];

/// The settings of DNS, if the agent is to answer it; else what there is to say.
fn settings(patient: &Patient) -> Result<&Dns, Finding> {
    let Ok(config) = &patient.config else {
        return Err(Finding::unknown("the settings are wrong: `hawser check`"));
    };
    if config.identity.only {
        return Err(Finding::ok("identity.only is true: the agent answers no names"));
    }
    let off = || Finding::ok("dns.enabled is false: the agent answers no names");
    config.dns.as_ref().ok_or_else(off)
}
