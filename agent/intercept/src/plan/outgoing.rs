//! What goes out: of programs here, and of containers whose bridges are named.
//!
//! The order of the rules is that of Istio's, case by case. A packet that none of them takes goes
//! its way, and so does one that a gate does not let through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    Cgroup, Gate, Mode, Taken,
    questions::{DNS, Questions},
    ruleset::{Chain, Networks, Ruleset},
    settled::{Settled, Whose},
};

/// Sets that rules for what goes out share.
#[derive(Debug)]
pub(super) struct Sets {
    pub(super) resolvers: Option<Networks>,
    spared_networks: Networks,
    networks: Networks,
    vips: Networks,
    loopback_vips: Networks,
}

impl Sets {
    pub(super) fn new(table: &mut Ruleset, settled: &Settled<'_>) -> Self {
        let options = settled.options;
        table.users("proxy_users", &settled.uids);
        table.groups("proxy_groups", &settled.gids);
        let whose = &settled.whose;
        table.users("users", &whose.users);
        table.groups("groups", &whose.groups);
        table.users("spared_users", &whose.spared_users);
        table.groups("spared_groups", &whose.spared_groups);
        table.ports("spared_out", &settled.spared_out);
        table.ports("taken_out", &options.outbound.ports);
        let named = match &options.outbound.networks {
            Taken::All => &[][..],
            Taken::Only(networks) => networks,
        };
        let questions = settled.questions.as_ref();
        if let Some(questions) = questions {
            table.users("forwarders", &questions.forwarders);
        }
        Self {
            resolvers: questions
                .and_then(|questions| questions.resolvers.as_ref())
                .map(|resolvers| table.addresses("resolvers", resolvers)),
            spared_networks: table.networks("spared_networks", &settled.spared_networks),
            networks: table.networks("networks", named),
            vips: table.networks("vips", &settled.vips),
            loopback_vips: table.networks("loopback_vips", &settled.loopback_vips),
        }
    }
}

/// Everything of it that programs here send, and then what containers do.
pub(super) fn add(table: &mut Ruleset, settled: &Settled<'_>, sets: &Sets) {
    let questions = settled.questions.as_ref();
    if settled.takes_outbound() || questions.is_some() || settled.takes_inbound() {
        table.add(output(settled));
        table.add(out(settled));
        if settled.whose.narrow {
            table.add(whose(&settled.whose));
        }
        table.add(wanted(settled, sets));
        table.add(from_proxy(settled));
    }
    if settled.takes_virtual() {
        table.add(from_virtual(settled, sets));
    }
    table.add(to_envoy(settled));
    table.add(to_inbound(settled));
}

fn output(settled: &Settled<'_>) -> Chain {
    let mut chain = Chain::hooked("output", "nat hook output priority -100");
    for condition in interfaces("oifname", &settled.options.interfaces.exclude) {
        chain.decide(&condition, "return", "spared interface");
    }
    chain.rule("meta l4proto { tcp, udp } jump out");
    chain
}

/// Who is asked about first, and what is spared whosever it is.
fn out(settled: &Settled<'_>) -> Chain {
    let mut chain = Chain::new("out");
    if !settled.spared_out.is_empty() {
        chain.decide("th dport @spared_out", "return", "spared port");
    }
    // Where Envoy's connections to programs come from.
    chain.decide("oifname \"lo\" ip saddr 127.0.0.6", "return", "Envoy to a program");
    chain.decide("oifname \"lo\" ip6 saddr ::6", "return", "Envoy to a program");
    if settled.mode == Mode::Tproxy {
        // There they come from whoever called.
        let marked = format!("meta mark {}", settled.options.steer.mark);
        chain.decide(&marked, "return", "Envoy to a program");
    }
    for condition in proxies(settled) {
        chain.rule(format!("{condition} goto from_proxy"));
    }
    for condition in spared(&settled.whose) {
        chain.decide(&condition, "return", "spared program");
    }
    chain.rule(if settled.whose.narrow { "goto whose" } else { "goto wanted" });
    chain
}

/// Programs whose connections are redirected; those of others are not.
fn whose(whose: &Whose) -> Chain {
    let mut chain = Chain::new("whose");
    for condition in named(whose) {
        chain.decide(&condition, "goto wanted", "named program");
    }
    chain.rule("counter comment \"others\"");
    chain
}

/// What of it is redirected.
fn wanted(settled: &Settled<'_>, sets: &Sets) -> Chain {
    let mut chain = Chain::new("wanted");
    if let Some(questions) = &settled.questions {
        if !questions.forwarders.is_empty() {
            let theirs = format!("meta skuid @forwarders th dport {DNS}");
            chain.decide(&theirs, "return", "a resolver of this machine");
        }
        ask(&mut chain, questions, sets, false);
    }
    stays_here(&mut chain, settled, sets);
    if settled.takes_outbound() {
        destinations(&mut chain, settled, sets);
    }
    chain
}

/// Questions to the agent, at most one rule for each family; while their gate is shut they go to
/// whom they are for, and not to Envoy. What comes from outside reaches the agent only where it
/// listens for that.
fn ask(chain: &mut Chain, questions: &Questions, sets: &Sets, outside: bool) {
    let gate = Gate::Dns.set();
    for (to, agent) in questions.targets("daddr", sets.resolvers.as_ref()) {
        if !(outside && agent.ip().is_loopback()) {
            let from = "meta l4proto { tcp, udp } meta l4proto";
            let asks = format!("{to} {from} @{gate} th dport {DNS}");
            chain.decide(&asks, &verdict(agent), "question");
        }
        chain.decide(&format!("{to} th dport {DNS}"), "return", "question past the agent");
    }
}

/// Where the redirection leads by itself, to localhost, or to where the agent listens.
fn verdict(agent: SocketAddr) -> String {
    let localhost = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
    if localhost.contains(&agent.ip()) || agent.ip().is_unspecified() {
        return format!("redirect to :{}", agent.port());
    }
    format!("dnat {} to {agent}", if agent.is_ipv4() { "ip" } else { "ip6" })
}

/// A program that talks to its own machine does so without Envoy, but for services that have their
/// addresses there.
fn stays_here(chain: &mut Chain, settled: &Settled<'_>, sets: &Sets) {
    if settled.takes_loopback() {
        return;
    }
    // Of IPv6, ::1 alone is of loopback.
    match sets.loopback_vips.conditions("daddr").first() {
        Some(ours) => {
            let others = format!("oifname \"lo\" {}", ours.replace('@', "!= @"));
            chain.decide(&others, "return", "to itself");
            chain.decide("oifname \"lo\" meta nfproto ipv6", "return", "to itself");
        }
        None => chain.decide("oifname \"lo\"", "return", "to itself"),
    }
}

/// Where to, the same for programs and containers.
fn destinations(chain: &mut Chain, settled: &Settled<'_>, sets: &Sets) {
    let outbound = &settled.options.outbound;
    chain.decide_each(&sets.spared_networks.conditions("daddr"), "return", "spared network");
    // A wide loopback would lose those of it.
    chain.decide_each(&sets.vips.conditions("daddr"), "goto to_envoy", "address of a service");
    chain.decide(&format!("ip daddr {}", outbound.loopback), "return", "loopback");
    chain.decide("ip6 daddr ::1", "return", "loopback");
    if !outbound.ports.is_empty() {
        chain.decide("tcp dport @taken_out", "goto to_envoy", "named port");
    }
    match &outbound.networks {
        Taken::All => chain.decide("meta l4proto tcp", "goto to_envoy", "any network"),
        Taken::Only(_) => {
            let named = sets.networks.conditions("daddr");
            chain.decide_each(&named, "goto to_envoy", "named network");
        }
    }
}

/// Envoy calls an address of this machine, because a program called a service that is here too:
/// that comes in like everything that does. All else that Envoy and the agent send goes its way.
fn from_proxy(settled: &Settled<'_>) -> Chain {
    let mut chain = Chain::new("from_proxy");
    if settled.gates().contains(&Gate::Inbound) {
        let tunnel = settled.options.envoy.tunnel;
        let spared = match settled.questions {
            // The agent asks a resolver that may be here.
            Some(_) => format!("{{ {DNS}, {tunnel} }}"),
            None => tunnel.to_string(),
        };
        let loopback = settled.options.outbound.loopback;
        let about = "Envoy to this machine";
        let v4 = format!("oifname \"lo\" ip daddr != {loopback} tcp dport != {spared}");
        chain.decide(&v4, "goto to_inbound", about);
        let v6 = format!("oifname \"lo\" ip6 daddr != ::1 tcp dport != {spared}");
        chain.decide(&v6, "goto to_inbound", about);
    }
    chain.rule("counter comment \"Envoy and the agent\"");
    chain
}

fn from_virtual(settled: &Settled<'_>, sets: &Sets) -> Chain {
    let mut chain = Chain::new("from_virtual");
    if !settled.spared_out.is_empty() {
        chain.decide("th dport @spared_out", "return", "spared port");
    }
    if let Some(questions) = &settled.questions {
        ask(&mut chain, questions, sets, true);
    }
    destinations(&mut chain, settled, sets);
    chain
}

fn to_envoy(settled: &Settled<'_>) -> Chain {
    let mut chain = Chain::new("to_envoy");
    if settled.gates().contains(&Gate::Outbound) {
        let port = settled.options.envoy.outbound;
        redirect(&mut chain, settled, Gate::Outbound, port, "out, to Envoy");
    }
    chain
}

fn to_inbound(settled: &Settled<'_>) -> Chain {
    let mut chain = Chain::new("to_inbound");
    if settled.gates().contains(&Gate::Inbound) {
        let port = settled.options.envoy.inbound;
        redirect(&mut chain, settled, Gate::Inbound, port, "in, to Envoy");
    }
    chain
}

/// Only to where Envoy listens: of a family that it does not have, nothing is redirected.
fn redirect(chain: &mut Chain, settled: &Settled<'_>, gate: Gate, port: u16, about: &str) {
    let family = match (settled.ipv4, settled.ipv6) {
        (true, true) => "",
        (true, false) => "meta nfproto ipv4 ",
        (false, true) => "meta nfproto ipv6 ",
        (false, false) => return,
    };
    let condition = format!("{family}meta l4proto tcp meta l4proto @{}", gate.set());
    chain.decide(&condition, &format!("redirect to :{port}"), about);
}

/// Conditions that hold for the agent and for Envoy.
pub(super) fn proxies(settled: &Settled<'_>) -> Vec<&'static str> {
    let users = (!settled.uids.is_empty()).then_some("meta skuid @proxy_users");
    let groups = (!settled.gids.is_empty()).then_some("meta skgid @proxy_groups");
    users.into_iter().chain(groups).collect()
}

/// Conditions that hold for programs that are spared.
pub(super) fn spared(whose: &Whose) -> Vec<String> {
    conditions(
        ("spared_users", &whose.spared_users),
        ("spared_groups", &whose.spared_groups),
        &whose.spared_units,
    )
}

/// Conditions that hold for programs that are named.
pub(super) fn named(whose: &Whose) -> Vec<String> {
    conditions(("users", &whose.users), ("groups", &whose.groups), &whose.units)
}

fn conditions(
    (users, uids): (&str, &[u32]),
    (groups, gids): (&str, &[u32]),
    units: &[Cgroup],
) -> Vec<String> {
    let users = (!uids.is_empty()).then(|| format!("meta skuid @{users}"));
    let groups = (!gids.is_empty()).then(|| format!("meta skgid @{groups}"));
    let unit = |unit: &Cgroup| format!("socket cgroupv2 level {} \"{}\"", unit.level(), unit.path);
    users.into_iter().chain(groups).chain(units.iter().map(unit)).collect()
}

/// Conditions on the interface, one for those with whole names and one for each beginning.
pub(super) fn interfaces(field: &str, names: &[String]) -> Vec<String> {
    let quoted = |name: &String| format!("\"{name}\"");
    let (begins, whole): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.ends_with('*'));
    let whole: Vec<String> = whole.into_iter().map(quoted).collect();
    let whole = (!whole.is_empty()).then(|| format!("{field} {{ {} }}", whole.join(", ")));
    let begins = begins.into_iter().map(|name| format!("{field} {}", quoted(name)));
    whole.into_iter().chain(begins).collect()
}
