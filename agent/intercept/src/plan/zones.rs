//! Questions over UDP are tracked in two places, so that none is taken for another.
//!
//! A program may ask from the port that the agent asked from a moment ago. Its packet would then
//! belong to the agent's connection, which nobody redirects, and go past the agent. So what
//! programs ask the agent is in one zone, and all else between anybody and a resolver in another.
//! Both directions have to be in the same one, or replies would belong to nothing: a firewall drops
//! those, and the addresses of containers would not be put back into them. Hence the same decision
//! here, packet by packet, that the redirection takes for the first one; with the gate shut, what
//! is asked from a port that was redirected goes to the resolver at once.

use super::{
    Gate,
    outgoing::{Sets, interfaces, named, proxies, spared},
    questions::{DNS, Questions},
    ruleset::{Chain, Ruleset},
    settled::Settled,
};

pub(super) fn add(table: &mut Ruleset, settled: &Settled<'_>, sets: &Sets) {
    let Some(questions) = &settled.questions else { return };
    let agent = match questions.ports().as_slice() {
        [one] => one.to_string(),
        several => format!("{several:?}").replace('[', "{ ").replace(']', " }"),
    };
    let to = questions.targets("daddr", sets.resolvers.as_ref());
    let from = questions.targets("saddr", sets.resolvers.as_ref());

    let mut output = Chain::hooked("asking", "filter hook output priority -300");
    for proxy in proxies(settled) {
        output.rule(format!("udp dport {DNS} {proxy} {OUTSIDE} return"));
        output.rule(format!("udp sport {agent} {proxy} {AGENT} return"));
    }
    output.rule(format!("udp dport {agent} fib daddr type local {AGENT} return"));
    for (to, _) in &to {
        output.rule(format!("{to} udp dport {DNS} goto question"));
    }
    // A stub of this machine replies.
    for (from, _) in &from {
        output.rule(format!("{from} udp sport {DNS} {OUTSIDE}"));
    }
    table.add(output);
    table.add(question(settled, questions));

    let mut input = Chain::hooked("answering", "filter hook prerouting priority -300");
    input.rule(format!("udp dport {agent} fib daddr type local {AGENT} return"));
    for (from, _) in &from {
        input.rule(format!("{from} udp sport {DNS} {OUTSIDE} return"));
    }
    for (to, agent) in &to {
        // Of a container: redirected, or forwarded.
        if settled.takes_virtual() && !agent.ip().is_loopback() {
            let gate = Gate::Dns.set();
            for bridge in interfaces("iifname", &settled.options.interfaces.virtuals) {
                input.rule(format!(
                    "{bridge} {to} udp dport {DNS} meta l4proto @{gate} {AGENT} return"
                ));
            }
        }
        input.rule(format!("{to} udp dport {DNS} {OUTSIDE}"));
    }
    table.add(input);
}

/// Whether it is redirected, as `out` and `wanted` decide it.
fn question(settled: &Settled<'_>, questions: &Questions) -> Chain {
    let mut chain = Chain::new("question");
    let spared_interfaces = interfaces("oifname", &settled.options.interfaces.exclude);
    let forwarders = (!questions.forwarders.is_empty()).then(|| "meta skuid @forwarders".into());
    let spared = spared_interfaces.into_iter().chain(spared(&settled.whose)).chain(forwarders);
    for condition in spared {
        chain.rule(format!("{condition} {OUTSIDE} return"));
    }
    let gate = format!("meta l4proto @{} {AGENT} return", Gate::Dns.set());
    if settled.whose.narrow {
        for condition in named(&settled.whose) {
            chain.rule(format!("{condition} {gate}"));
        }
    } else {
        chain.rule(gate);
    }
    chain.rule(OUTSIDE);
    chain
}

const OUTSIDE: &str = "ct zone set 1";
const AGENT: &str = "ct zone set 2";
