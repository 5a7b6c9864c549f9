//! A table as text: sets, then chains, each in the order in which it was added.
//!
//! Written so that every nft since 0.9.3 takes it: priorities are numbers, nothing is destroyed
//! that may not be there, and no two braces close on one line.

use std::{fmt, net::IpAddr};

use hawser_rt::Cidr;

use super::{Gate, Ports, TABLE};

/// What the table holds.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    sets: Vec<Set>,
    chains: Vec<Chain>,
}

#[derive(Debug)]
struct Set {
    name: String,
    kind: &'static str,
    interval: bool,
    elements: Vec<String>,
}

/// Rules in their order.
#[derive(Debug)]
pub(super) struct Chain {
    name: &'static str,
    hook: Option<&'static str>,
    rules: Vec<String>,
}

impl Ruleset {
    /// Ports by a name.
    pub(super) fn ports(&mut self, name: &str, ports: &[Ports]) {
        let element = |ports: &Ports| match ports {
            Ports { first, last } if first == last => first.to_string(),
            Ports { first, last } => format!("{first}-{last}"),
        };
        self.set(name, "inet_service", true, ports.iter().map(element).collect());
    }

    /// Users by a name.
    pub(super) fn users(&mut self, name: &str, users: &[u32]) {
        self.set(name, "uid", false, users.iter().map(u32::to_string).collect());
    }

    /// Groups by a name.
    pub(super) fn groups(&mut self, name: &str, groups: &[u32]) {
        self.set(name, "gid", false, groups.iter().map(u32::to_string).collect());
    }

    /// Networks by a name, to which `4` or `6` is added; the conditions on `field` (`saddr` or
    /// `daddr`) that hold for one of them, at most two.
    pub(super) fn networks(&mut self, name: &str, networks: &[Cidr]) -> Networks {
        let of = |v4: bool| {
            let own = networks.iter().filter(move |network| network.address().is_ipv4() == v4);
            own.map(|network| network.masked().to_string()).collect::<Vec<_>>()
        };
        let (v4, v6) = (of(true), of(false));
        let held = Networks { name: name.to_owned(), v4: !v4.is_empty(), v6: !v6.is_empty() };
        self.set(&format!("{name}4"), "ipv4_addr", true, v4);
        self.set(&format!("{name}6"), "ipv6_addr", true, v6);
        held
    }

    /// Addresses by a name, as [`Ruleset::networks`].
    pub(super) fn addresses(&mut self, name: &str, addresses: &[IpAddr]) -> Networks {
        let bits = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let whole: Vec<Cidr> = addresses.iter().map(|own| Cidr::new(*own, bits(own))).collect();
        self.networks(name, &whole)
    }

    fn set(&mut self, name: &str, kind: &'static str, interval: bool, elements: Vec<String>) {
        if !elements.is_empty() {
            self.sets.push(Set { name: name.to_owned(), kind, interval, elements });
        }
    }

    /// A chain that packets go through; one without rules is none.
    pub(super) fn add(&mut self, chain: Chain) {
        if !chain.rules.is_empty() {
            self.chains.push(chain);
        }
    }
}

/// Networks that there is a set of.
#[derive(Debug, Clone)]
pub(super) struct Networks {
    name: String,
    v4: bool,
    v6: bool,
}

impl Networks {
    /// Conditions, at most one for each family.
    pub(super) fn conditions(&self, field: &str) -> Vec<String> {
        self.v4(field).into_iter().chain(self.v6(field)).collect()
    }

    /// The condition for IPv4, if any of them is that.
    pub(super) fn v4(&self, field: &str) -> Option<String> {
        self.v4.then(|| format!("ip {field} @{}4", self.name))
    }

    /// The condition for IPv6.
    pub(super) fn v6(&self, field: &str) -> Option<String> {
        self.v6.then(|| format!("ip6 {field} @{}6", self.name))
    }
}

impl Chain {
    /// A chain that others lead to.
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, hook: None, rules: Vec::new() }
    }

    /// A chain that the kernel leads to.
    pub(super) const fn hooked(name: &'static str, hook: &'static str) -> Self {
        Self { name, hook: Some(hook), rules: Vec::new() }
    }

    /// One more rule.
    pub(super) fn rule(&mut self, rule: impl Into<String>) {
        self.rules.push(rule.into());
    }

    /// One more rule, that counts and says in a word what it is about.
    pub(super) fn decide(&mut self, condition: &str, verdict: &str, about: &str) {
        let space = if condition.is_empty() { "" } else { " " };
        self.rules.push(format!("{condition}{space}counter {verdict} comment \"{about}\""));
    }

    /// The same under several conditions.
    pub(super) fn decide_each(&mut self, conditions: &[String], verdict: &str, about: &str) {
        for condition in conditions {
            self.decide(condition, verdict, about);
        }
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What cannot be deleted may be added first: one transaction, whatever was there.
        writeln!(f, "add table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{")?;
        for gate in Gate::ALL {
            writeln!(f, "\tset {} {{\n\t\ttype inet_proto\n\t\tflags timeout\n\t}}", gate.set())?;
        }
        for set in &self.sets {
            writeln!(f, "\tset {} {{\n\t\ttype {}", set.name, set.kind)?;
            if set.interval {
                writeln!(f, "\t\tflags interval\n\t\tauto-merge")?;
            }
            writeln!(f, "\t\telements = {{ {} }}\n\t}}", set.elements.join(", "))?;
        }
        for chain in &self.chains {
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(hook) = chain.hook {
                writeln!(f, "\t\ttype {hook}; policy accept;")?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}
