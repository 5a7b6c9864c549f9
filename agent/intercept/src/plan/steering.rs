//! TPROXY: what comes in is handed over with its addresses as they are, and so the answers of
//! programs have to find Envoy; and what belongs to no connection is dropped.

use super::{
    Gate, Mode, PASSTHROUGH_V6,
    incoming::inbound,
    outgoing::interfaces,
    routes::{Family, LocalRoute, PolicyRule, Routes},
    ruleset::{Chain, Ruleset},
    settled::Settled,
};

pub(super) fn add(table: &mut Ruleset, settled: &Settled<'_>) {
    if settled.options.drop_invalid {
        let mut chain = Chain::hooked("invalid", "filter hook prerouting priority -150");
        chain.decide("meta l4proto tcp ct state invalid", "drop", "of no connection");
        table.add(chain);
    }
    if steers(settled) {
        table.add(arriving(settled));
        table.add(inbound(settled, "steered", "goto hand_over"));
        table.add(hand_over(settled));
        table.add(leaving(settled));
    }
}

fn steers(settled: &Settled<'_>) -> bool {
    settled.mode == Mode::Tproxy && settled.takes_inbound()
}

fn arriving(settled: &Settled<'_>) -> Chain {
    let (options, mark) = (settled.options, settled.options.steer.mark);
    let mut chain = Chain::hooked("arriving", "filter hook prerouting priority -150");
    family(&mut chain, settled);
    let elsewhere = options.interfaces.exclude.iter().chain(&options.interfaces.virtuals);
    for condition in interfaces("iifname", &elsewhere.cloned().collect::<Vec<_>>()) {
        chain.rule(format!("{condition} return"));
    }
    // From Envoy to a program: the answer will be known by the connection.
    chain.rule(format!("meta l4proto tcp meta mark {mark} ct mark set {mark} return"));
    chain.rule("iifname \"lo\" return");
    // To a connection that Envoy has taken: decided, and counted, once.
    chain.rule(format!(
        "meta l4proto tcp ct state established socket transparent 1 meta mark set {mark} accept"
    ));
    // To one that was redirected instead.
    chain.rule("meta l4proto tcp ct status dnat return");
    chain.rule("fib daddr type local meta l4proto tcp jump steered");
    chain
}

/// Where nobody listens with the right to, the rule does not match, and nothing happens.
fn hand_over(settled: &Settled<'_>) -> Chain {
    let options = settled.options;
    let mut chain = Chain::new("hand_over");
    chain.rule(format!(
        "meta l4proto tcp meta l4proto @{} tproxy to :{} meta mark set {} counter accept comment \"in, to Envoy as it is\"",
        Gate::Inbound.set(),
        options.envoy.inbound,
        options.steer.mark,
    ));
    chain
}

fn leaving(settled: &Settled<'_>) -> Chain {
    let (options, mark) = (settled.options, settled.options.steer.mark);
    let mut chain = Chain::hooked("leaving", "route hook output priority -150");
    family(&mut chain, settled);
    for condition in interfaces("oifname", &options.interfaces.exclude) {
        chain.rule(format!("{condition} return"));
    }
    // The answer of a program, whose caller is elsewhere: back to Envoy first.
    chain.rule(format!("meta l4proto tcp ct mark {mark} meta mark set {mark}"));
    chain
}

fn family(chain: &mut Chain, settled: &Settled<'_>) {
    match (settled.ipv4, settled.ipv6) {
        (true, true) => {}
        (true, false) => chain.rule("meta nfproto ipv6 return"),
        (false, true) => chain.rule("meta nfproto ipv4 return"),
        (false, false) => chain.rule("return"),
    }
}

/// What is needed beside the table.
pub(super) fn routes(settled: &Settled<'_>) -> Routes {
    let mut routes = Routes::default();
    if steers(settled) {
        let (mark, table) = (settled.options.steer.mark, settled.options.steer.table);
        let families = [(Family::V4, settled.ipv4), (Family::V6, settled.ipv6)];
        for (family, _) in families.into_iter().filter(|(_, wanted)| *wanted) {
            routes.rules.push(PolicyRule { family, mark, table });
            routes.routes.push(LocalRoute { family, table });
        }
    }
    if settled.ipv6 && settled.gates().contains(&Gate::Inbound) {
        routes.addresses.push(PASSTHROUGH_V6);
    }
    routes
}
