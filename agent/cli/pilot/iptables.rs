//! `pilot-agent istio-iptables`: its flags are settings of interception, and rules are ours.

use clap::{ArgMatches, Command};

use super::{
    Ended, Flags, Word, context, flags,
    flags::Means::{Nothing, Own, Refused, Setting},
    ours, switch, text,
};
use crate::cli::{Context, Exit, complain, intercept, say};

pub(super) fn command() -> Command {
    Command::new("istio-iptables")
        .about("Load, show or remove the rules that send traffic to Envoy")
        .args(flags::arguments(&WORDS))
}

pub(super) fn run(matches: &ArgMatches) -> Ended {
    let context = context();
    let flags = Flags { words: &WORDS, given: matches, environment: &context.environment };
    if let Some(why) = flags.refused() {
        complain(format_args!("Error: {why}"));
        return Ended::Failed;
    }
    for line in flags.unheeded() {
        complain(format_args!("pilot-agent: {line}"));
    }
    let mut settings = flags.settings();
    // Istio has IPv6 or has it not; here it is left to where Envoy listens.
    settings.retain(|flag| flag.key != "intercept.ipv6" || flag.value == "true");
    // Whoever is not named is whom the agent and Envoy run as.
    settings.retain(|flag| !flag.key.starts_with("intercept.proxy_") || !flag.value.is_empty());
    let dry = flags.is_on("dry-run");
    if flags.is_on("cleanup-only") {
        if dry {
            say("the table inet hawser, its routes and policy rules would be removed");
            return Ended::Well;
        }
        return ended(ours(&["intercept", "clear"], Vec::new()));
    }
    if dry {
        return ended(ours(&["intercept", "plan"], settings));
    }
    if !settings.is_empty() && is_guarded(&context) {
        complain(
            "Error: hawser-intercept.service looks after the rules, by /etc/hawser/hawser.toml: say \
             there what flags say, and `systemctl reload hawser-intercept`; see `hawser intercept plan`",
        );
        return Ended::Failed;
    }
    if !flags.is_on("skip-rule-apply") {
        let applied = ours(&["intercept", "apply"], settings.clone());
        if applied != Exit::Ok {
            return ended(applied);
        }
    }
    if flags.is_on("run-validation") && ours(&["intercept", "diff"], settings) != Exit::Ok {
        complain("Error: the rules do not do what they are to");
        return Ended::Invalid;
    }
    Ended::Well
}

fn ended(exit: Exit) -> Ended {
    if exit == Exit::Ok { Ended::Well } else { Ended::Failed }
}

/// Whether somebody looks after the rules who would put back what was changed by others.
fn is_guarded(context: &Context) -> bool {
    intercept::places(context).unguarded().is_ok_and(|free| free.is_none())
}

const PROBED: &str = "rules are compared with what was loaded, and no connection is made";
const NFTABLES: &str = "rules are nftables' own";
const ELSEWHERE: &str = "the rules of this machine are made in its own network alone";

pub(super) const WORDS: [Word; 32] = [
    Word {
        long: "envoy-port",
        short: Some('p'),
        means: Setting("intercept.outbound_port"),
        ..text()
    },
    Word {
        long: "inbound-capture-port",
        short: Some('z'),
        means: Setting("intercept.inbound_port"),
        ..text()
    },
    Word {
        long: "inbound-tunnel-port",
        short: Some('e'),
        means: Setting("intercept.tunnel_port"),
        ..text()
    },
    Word { long: "proxy-uid", short: Some('u'), means: Setting("intercept.proxy_users"), ..text() },
    Word {
        long: "proxy-gid",
        short: Some('g'),
        means: Setting("intercept.proxy_groups"),
        ..text()
    },
    Word {
        long: "istio-inbound-interception-mode",
        short: Some('m'),
        means: Setting("intercept.mode"),
        ..text()
    },
    Word {
        long: "istio-inbound-ports",
        short: Some('b'),
        means: Setting("intercept.inbound_ports"),
        ..text()
    },
    Word {
        long: "istio-local-exclude-ports",
        short: Some('d'),
        means: Setting("intercept.exclude_inbound_ports"),
        ..text()
    },
    Word {
        long: "istio-exclude-interfaces",
        short: Some('c'),
        means: Setting("intercept.exclude_interfaces"),
        ..text()
    },
    Word {
        long: "istio-service-cidr",
        short: Some('i'),
        means: Setting("intercept.outbound_cidrs"),
        ..text()
    },
    Word {
        long: "istio-service-exclude-cidr",
        short: Some('x'),
        means: Setting("intercept.exclude_outbound_cidrs"),
        ..text()
    },
    Word {
        long: "istio-outbound-ports",
        short: Some('q'),
        means: Setting("intercept.outbound_ports"),
        ..text()
    },
    Word {
        long: "istio-local-outbound-ports-exclude",
        short: Some('o'),
        means: Setting("intercept.exclude_outbound_ports"),
        ..text()
    },
    Word {
        long: "kube-virt-interfaces",
        short: Some('k'),
        means: Setting("intercept.virtual_interfaces"),
        ..text()
    },
    Word {
        long: "istio-inbound-tproxy-mark",
        short: Some('t'),
        means: Setting("intercept.tproxy_mark"),
        ..text()
    },
    Word {
        long: "istio-inbound-tproxy-route-table",
        short: Some('r'),
        means: Setting("intercept.tproxy_table"),
        ..text()
    },
    Word { long: "redirect-dns", means: Setting("intercept.dns"), ..switch() },
    Word { long: "capture-all-dns", means: Setting("intercept.dns_all"), ..switch() },
    Word { long: "drop-invalid", means: Setting("intercept.drop_invalid"), ..switch() },
    Word { long: "dual-stack", means: Setting("intercept.ipv6"), ..switch() },
    Word { long: "dry-run", short: Some('n'), means: Own, ..switch() },
    Word { long: "cleanup-only", means: Own, ..switch() },
    Word { long: "run-validation", means: Own, ..switch() },
    Word { long: "skip-rule-apply", means: Own, ..switch() },
    Word { long: "iptables-probe-port", means: Nothing(PROBED), ..text() },
    Word { long: "probe-timeout", means: Nothing(PROBED), ..text() },
    Word {
        long: "force-apply",
        means: Nothing("rules are replaced as a whole anyway"),
        ..switch()
    },
    Word { long: "native-nftables", means: Nothing(NFTABLES), ..switch() },
    Word { long: "force-iptables-binary", means: Nothing(NFTABLES), ..text() },
    Word { long: "network-namespace", means: Refused(ELSEWHERE), ..text() },
    Word { long: "cni-mode", means: Refused("there is no CNI on a machine"), ..switch() },
    Word {
        long: "reconcile",
        means: Refused("hawser-intercept.service does that: `systemctl start hawser`"),
        ..switch()
    },
];
