//! What comes in, and what of it is redirected rather than handed over.

use super::{
    Mode, Taken,
    outgoing::interfaces,
    ruleset::{Chain, Ruleset},
    settled::Settled,
};

/// Before routing: bridges of containers first, then what is for this machine.
pub(super) fn add(table: &mut Ruleset, settled: &Settled<'_>) {
    let options = settled.options;
    let mut chain = Chain::hooked("prerouting", "nat hook prerouting priority -100");
    for condition in interfaces("iifname", &options.interfaces.exclude) {
        chain.decide(&condition, "return", "spared interface");
    }
    for condition in interfaces("iifname", &options.interfaces.virtuals) {
        if settled.takes_virtual() {
            let verdict = "jump from_virtual";
            chain.decide(&format!("{condition} meta l4proto {{ tcp, udp }}"), verdict, "container");
        }
        chain.decide(&condition, "return", "container");
    }
    if settled.takes_inbound() {
        if settled.mode == Mode::Tproxy {
            // Handed over already. What was not, because Envoy does not listen or listens without
            // the right to, is redirected: nobody gets past Envoy because it is not there.
            chain.rule(format!("meta mark {} return", options.steer.mark));
        }
        // What is forwarded, for containers, is not for us.
        chain.rule("fib daddr type local meta l4proto tcp jump in");
        ports(table, settled);
        table.add(inbound(settled, "in", "goto to_inbound"));
    } else if !settled.takes_virtual() {
        return;
    }
    table.add(chain);
}

fn ports(table: &mut Ruleset, settled: &Settled<'_>) {
    match &settled.options.inbound.ports {
        Taken::All => table.ports("spared_in", &settled.spared_in),
        Taken::Only(ports) => table.ports("taken_in", ports),
    }
}

/// The decision about what comes in, with what happens to what Envoy gets.
pub(super) fn inbound(settled: &Settled<'_>, name: &'static str, verdict: &str) -> Chain {
    let options = settled.options;
    let mut chain = Chain::new(name);
    chain.decide(&format!("tcp dport {}", options.envoy.tunnel), "return", "tunnel");
    match &options.inbound.ports {
        Taken::All => {
            if !settled.spared_in.is_empty() {
                chain.decide("tcp dport @spared_in", "return", "spared port");
            }
            chain.decide("meta l4proto tcp", verdict, "any port");
        }
        Taken::Only(_) => chain.decide("tcp dport @taken_in", verdict, "named port"),
    }
    chain
}
