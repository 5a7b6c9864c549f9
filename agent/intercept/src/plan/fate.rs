//! What becomes of one connection that a program of this machine makes: the same decisions as the
//! rules', in their order, for whoever asks why.

use std::net::{IpAddr, SocketAddr};

use hawser_rt::Cidr;

use super::{Gate, Machine, Options, Ports, Taken, questions::DNS, settled::Settled};

/// A connection, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The user that makes it.
    pub uid: u32,
    /// The first group of that user.
    pub gid: u32,
    /// Where to.
    pub to: SocketAddr,
    /// Whether that is an address of this machine.
    pub here: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// The gate that lets it through to Envoy or to the agent; without one it goes its way.
    pub gate: Option<Gate>,
    /// The port that it comes to then.
    pub port: Option<u16>,
    /// The rule that decides, as its comment says it.
    pub rule: &'static str,
    /// The setting that it is made of.
    pub setting: &'static str,
    /// What it depends on beside user and destination.
    pub unless: Vec<String>,
}

/// What becomes of a connection with these settings on this machine.
pub fn fate(options: &Options, machine: &Machine, call: &Call) -> Fate {
    let settled = Settled::new(options, machine, &mut Vec::new());
    let mut fate = decided(&settled, call);
    let spared = &options.interfaces.exclude;
    if fate.gate.is_some() && !spared.is_empty() {
        fate.unless.push(format!("it leaves by {} (spared interface)", spared.join(", ")));
    }
    fate
}

fn decided(settled: &Settled<'_>, call: &Call) -> Fate {
    let nothing = !(settled.takes_outbound() || settled.takes_inbound());
    if nothing && settled.questions.is_none() {
        return past("nothing is redirected", "intercept.mode");
    }
    if let Some(setting) = spared_port(settled, call.to.port()) {
        return past("spared port", setting);
    }
    if settled.uids.contains(&call.uid) || settled.gids.contains(&call.gid) {
        return of_proxy(settled, call);
    }
    let whose = &settled.whose;
    if whose.spared_users.contains(&call.uid) {
        return past("spared program", "intercept.exclude_users");
    }
    if whose.spared_groups.contains(&call.gid) {
        return past("spared program", "intercept.exclude_groups");
    }
    let named = whose.users.contains(&call.uid) || whose.groups.contains(&call.gid);
    let paths = |units: &[super::Cgroup]| {
        units.iter().map(|unit| unit.path.clone()).collect::<Vec<_>>().join(", ")
    };
    if whose.narrow && !named {
        let mut fate = past("others", "intercept.users, intercept.groups, intercept.units");
        if !whose.units.is_empty() {
            fate.unless.push(format!("the program is of {}", paths(&whose.units)));
        }
        return fate;
    }
    let mut fate = wanted(settled, call);
    if fate.gate.is_some() && !whose.spared_units.is_empty() {
        fate.unless.push(format!("the program is of {}", paths(&whose.spared_units)));
    }
    fate
}

/// What Envoy and the agent send goes its way, but for what is for this machine itself.
fn of_proxy(settled: &Settled<'_>, call: &Call) -> Fate {
    let port = call.to.port();
    let tunnel = settled.options.envoy.tunnel;
    let spared = port == tunnel || port == DNS && settled.questions.is_some();
    let itself = is_loopback(settled, call.to.ip());
    if call.here && !itself && !spared && settled.gates().contains(&Gate::Inbound) {
        return redirected(
            settled,
            (Gate::Inbound, settled.options.envoy.inbound),
            ("Envoy to this machine", "intercept.proxy_users"),
            call.to.ip(),
        );
    }
    past("Envoy and the agent", "intercept.proxy_users")
}

fn wanted(settled: &Settled<'_>, call: &Call) -> Fate {
    if let Some(fate) = question(settled, call) {
        return fate;
    }
    let ours = holds(&settled.loopback_vips, call.to.ip());
    if call.here && !settled.takes_loopback() && !(call.to.is_ipv4() && ours) {
        return past("to itself", "intercept.outbound_cidrs");
    }
    if !settled.takes_outbound() {
        return past("nothing is redirected", "intercept.outbound_cidrs");
    }
    destination(settled, call)
}

fn question(settled: &Settled<'_>, call: &Call) -> Option<Fate> {
    let questions = settled.questions.as_ref().filter(|_| call.to.port() == DNS)?;
    if questions.forwarders.contains(&call.uid) {
        return Some(past("a resolver of this machine", "intercept.dns"));
    }
    let agent = if call.to.is_ipv4() { questions.v4 } else { questions.v6 }?;
    let asked = questions.resolvers.as_ref().is_none_or(|all| all.contains(&call.to.ip()));
    let (gate, port) = (Some(Gate::Dns), Some(agent.port()));
    let (rule, setting, unless) = ("question", "intercept.dns", Vec::new());
    asked.then_some(Fate { gate, port, rule, setting, unless })
}

fn destination(settled: &Settled<'_>, call: &Call) -> Fate {
    let outbound = &settled.options.outbound;
    let to = call.to.ip();
    if holds(&settled.spared_networks, to) {
        let named = holds(&outbound.exclude, to);
        let setting =
            if named { "intercept.exclude_outbound_cidrs" } else { "intercept.exclude_defaults" };
        return past("spared network", setting);
    }
    let envoy = |rule, setting| {
        redirected(settled, (Gate::Outbound, outbound_port(settled)), (rule, setting), to)
    };
    if holds(&settled.vips, to) {
        return envoy("address of a service", "intercept.outbound_cidrs");
    }
    if is_loopback(settled, to) {
        return past("loopback", "intercept.loopback");
    }
    if outbound.ports.iter().any(|ports| ports.hold(call.to.port())) {
        return envoy("named port", "intercept.outbound_ports");
    }
    match &outbound.networks {
        Taken::All => envoy("any network", "intercept.outbound_cidrs"),
        Taken::Only(named) if holds(named, to) => {
            envoy("named network", "intercept.outbound_cidrs")
        }
        Taken::Only(_) => past("no network that is named", "intercept.outbound_cidrs"),
    }
}

fn outbound_port(settled: &Settled<'_>) -> u16 {
    settled.options.envoy.outbound
}

/// Only where Envoy listens on its family.
fn redirected(
    settled: &Settled<'_>,
    (gate, port): (Gate, u16),
    (rule, setting): (&'static str, &'static str),
    to: IpAddr,
) -> Fate {
    let listens = if to.is_ipv4() { settled.ipv4 } else { settled.ipv6 };
    if !listens || !settled.gates().contains(&gate) {
        let setting =
            if to.is_ipv4() { "envoy.dual_stack" } else { "envoy.dual_stack, intercept.ipv6" };
        return past("Envoy does not listen on its family of addresses", setting);
    }
    Fate { gate: Some(gate), port: Some(port), rule, setting, unless: Vec::new() }
}

fn past(rule: &'static str, setting: &'static str) -> Fate {
    Fate { gate: None, port: None, rule, setting, unless: Vec::new() }
}

fn spared_port(settled: &Settled<'_>, port: u16) -> Option<&'static str> {
    let among = |ports: &[Ports]| ports.iter().any(|own| own.hold(port));
    if among(&settled.options.outbound.exclude_ports) {
        return Some("intercept.exclude_outbound_ports");
    }
    among(&settled.spared_out).then_some("intercept.exclude_defaults")
}

fn is_loopback(settled: &Settled<'_>, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => settled.options.outbound.loopback.contains(address),
        IpAddr::V6(own) => own.is_loopback(),
    }
}

fn holds(networks: &[Cidr], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}
