//! Settings and machine brought together: what holds, and what does not do what it seems to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hawser_rt::Cidr;

use super::{
    Cgroup, Gate, Machine, Mode, Options, Ports, Spared, Taken, Warning, questions::Questions,
};

/// What holds.
#[derive(Debug)]
pub(super) struct Settled<'a> {
    pub(super) options: &'a Options,
    /// How what comes in gets to Envoy.
    pub(super) mode: Mode,
    /// Whether Envoy gets IPv4.
    pub(super) ipv4: bool,
    /// Whether Envoy gets IPv6.
    pub(super) ipv6: bool,
    /// Whose connections are never redirected.
    pub(super) uids: Vec<u32>,
    /// By group.
    pub(super) gids: Vec<u32>,
    /// Whose connections are.
    pub(super) whose: Whose,
    /// Ports that are spared when they come in, where all are taken.
    pub(super) spared_in: Vec<Ports>,
    /// Ports that are spared when they go out.
    pub(super) spared_out: Vec<Ports>,
    /// Networks that are spared when they go out.
    pub(super) spared_networks: Vec<Cidr>,
    /// Addresses that Envoy gets though its networks or loopback would lose them.
    pub(super) vips: Vec<Cidr>,
    /// Those of them that are on loopback.
    pub(super) loopback_vips: Vec<Cidr>,
    /// Questions.
    pub(super) questions: Option<Questions>,
    /// Where ssh comes in.
    ssh: Vec<u16>,
}

/// Whose connections are redirected.
#[derive(Debug, Default)]
pub(super) struct Whose {
    /// Whether it is only those of these; else of all.
    pub(super) narrow: bool,
    pub(super) users: Vec<u32>,
    pub(super) groups: Vec<u32>,
    pub(super) units: Vec<Cgroup>,
    pub(super) spared_users: Vec<u32>,
    pub(super) spared_groups: Vec<u32>,
    pub(super) spared_units: Vec<Cgroup>,
}

impl Whose {
    /// Whether it is nobody.
    pub(super) const fn nobody(&self) -> bool {
        self.narrow && self.users.is_empty() && self.groups.is_empty() && self.units.is_empty()
    }
}

impl<'a> Settled<'a> {
    pub(super) fn new(
        options: &'a Options,
        machine: &Machine,
        warnings: &mut Vec<Warning>,
    ) -> Self {
        let known = !(machine.uids.is_empty() && machine.gids.is_empty());
        if !known {
            warn(warnings, "intercept.proxy_users", UNKNOWN);
        }
        let ipv6 = options.ipv6.unwrap_or(machine.ipv6);
        let somewhere = machine.ipv4 || ipv6;
        let mode = if known && somewhere { options.mode } else { Mode::None };
        let whose = whose(options, machine, warnings);
        let spared_out = spared_out(options);
        let mut ssh = vec![SSH];
        ssh.extend(machine.ssh.iter().filter(|port| **port != SSH));
        let questions = options.dns.as_ref().filter(|_| known);
        let questions = questions.and_then(|dns| {
            Questions::new(dns, machine, &options.outbound.exclude_ports, warnings)
        });
        let mut settled = Self {
            options,
            mode,
            ipv4: machine.ipv4,
            ipv6,
            uids: unique(&machine.uids),
            gids: unique(&machine.gids),
            whose,
            spared_in: spared_in(options, &ssh),
            spared_out,
            spared_networks: spared_networks(options),
            vips: Vec::new(),
            loopback_vips: Vec::new(),
            questions,
            ssh,
        };
        settled.find_vips(machine);
        settled.look(warnings);
        settled
    }

    /// Whether Envoy gets anything that comes in.
    pub(super) fn takes_inbound(&self) -> bool {
        self.mode != Mode::None && !self.options.inbound.ports.is_nothing()
    }

    /// Whether Envoy gets anything that goes out, whoever sends it.
    fn takes_destinations(&self) -> bool {
        let outbound = &self.options.outbound;
        self.mode != Mode::None && !(outbound.networks.is_nothing() && outbound.ports.is_empty())
    }

    /// Whether Envoy gets anything that programs of this machine send.
    pub(super) fn takes_outbound(&self) -> bool {
        self.takes_destinations() && !self.whose.nobody()
    }

    /// Whether what comes in by the interfaces of containers goes out for us.
    pub(super) fn takes_virtual(&self) -> bool {
        self.takes_destinations() && !self.options.interfaces.virtuals.is_empty()
    }

    /// Gates that something depends on.
    pub(super) fn gates(&self) -> Vec<Gate> {
        let outbound = self.takes_outbound() || self.takes_virtual();
        let used = |gate: &Gate| match gate {
            Gate::Outbound => outbound,
            // What Envoy sends to this machine itself comes in.
            Gate::Inbound => outbound || self.takes_inbound(),
            Gate::Dns => self.questions.is_some(),
        };
        Gate::ALL.into_iter().filter(used).collect()
    }

    /// Whether what a program says to its own machine is redirected like all else: somebody has
    /// named loopback among the networks.
    pub(super) fn takes_loopback(&self) -> bool {
        let Taken::Only(networks) = &self.options.outbound.networks else { return false };
        networks.iter().any(|network| network.address().is_loopback())
    }

    /// Services may have addresses that exist nowhere else: of loopback, as ServiceEntries of old,
    /// or out of ranges that istiod allocates from. Neither is in anybody's list of networks.
    fn find_vips(&mut self, machine: &Machine) {
        let networks = &self.options.outbound.networks;
        if self.mode == Mode::None || networks.is_nothing() {
            return;
        }
        let own =
            |network: &&Cidr| !network.contains(LOCALHOST_V4) && !network.contains(LOCALHOST_V6);
        let loopback = |network: &&Cidr| network.address().is_loopback() && network.bits() >= 8;
        let vips = machine.vips.iter().filter(own);
        self.loopback_vips = vips.clone().filter(loopback).copied().collect();
        self.vips.clone_from(&self.loopback_vips);
        if matches!(networks, Taken::Only(_)) {
            self.vips.extend(ALLOCATED);
            let elsewhere = |vip: &&Cidr| {
                let inside =
                    |range: &Cidr| range.bits() <= vip.bits() && range.contains(vip.address());
                MADE_UP.iter().any(inside) && !ALLOCATED.iter().any(inside)
            };
            self.vips.extend(vips.filter(elsewhere));
        }
    }

    /// What does not do what it seems to.
    fn look(&self, warnings: &mut Vec<Warning>) {
        let options = self.options;
        if let Taken::Only(ports) = &options.inbound.ports {
            let excluded =
                |port: &&Ports| options.inbound.exclude.iter().any(|e| e.hold(port.first));
            for ports in ports.iter().filter(excluded) {
                let text = format!(
                    "{} is redirected all the same: it is named in intercept.inbound_ports, and only with * are ports spared",
                    ports.first
                );
                warn(warnings, "intercept.exclude_inbound_ports", text);
            }
            let named = |port: &&u16| ports.iter().any(|ports| ports.hold(**port));
            if options.spared.contains(&Spared::Ssh)
                && let Some(port) = self.ssh.iter().find(named)
            {
                let text = format!("port {port} is named: ssh to this machine goes through Envoy");
                warn(warnings, "intercept.inbound_ports", text);
            }
        }
        if !self.ipv6 && self.mode != Mode::None {
            let named = match &options.outbound.networks {
                Taken::All => &[][..],
                Taken::Only(networks) => networks,
            };
            for network in named.iter().filter(|network| network.address().is_ipv6()) {
                let text = format!(
                    "{network} is not redirected: Envoy does not listen on IPv6 (envoy.dual_stack, intercept.ipv6)"
                );
                warn(warnings, "intercept.outbound_cidrs", text);
            }
        }
        let loopback = |agent: &SocketAddr| agent.ip().is_loopback();
        if let Some(asked) = &self.questions
            && self.takes_virtual()
            && asked.v4.iter().chain(&asked.v6).all(loopback)
        {
            let text =
                "questions of containers are not redirected: dns.listen is on loopback alone";
            warn(warnings, "intercept.virtual_interfaces", text);
        }
        if self.takes_destinations() && self.whose.nobody() {
            let text =
                "nothing that programs send is redirected: nobody is named whose it would be";
            warn(warnings, "intercept.groups", text);
        }
        if self.mode == Mode::Tproxy && options.steer.mark != ENVOYS_MARK {
            let text = "Envoy marks its connections to programs with 1337, as istiod has it: their replies would not find it";
            warn(warnings, "intercept.tproxy_mark", text);
        }
        let root = [
            ("intercept.proxy_users", self.uids.contains(&0)),
            ("intercept.proxy_groups", self.gids.contains(&0)),
        ];
        for (setting, _) in root.into_iter().filter(|(_, root)| *root) {
            warn(warnings, setting, "root is among them: nothing that root sends is redirected");
        }
    }
}

pub(super) fn warn(warnings: &mut Vec<Warning>, setting: &'static str, text: impl Into<String>) {
    warnings.push(Warning { setting, text: text.into() });
}

pub(super) fn unique<T: Ord + Copy>(items: &[T]) -> Vec<T> {
    items.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
}

fn whose(options: &Options, machine: &Machine, warnings: &mut Vec<Warning>) -> Whose {
    let scope = &options.scope;
    let narrow = |taken: &Taken<String>| matches!(taken, Taken::Only(_));
    let mut resolve = Resolve { warnings };
    let users = resolve.numbers("intercept.users", named(&scope.users), &machine.users);
    let groups = resolve.numbers("intercept.groups", named(&scope.groups), &machine.groups);
    let units = resolve.units("intercept.units", named(&scope.units), &machine.units);
    let spared_users =
        resolve.numbers("intercept.exclude_users", &scope.exclude_users, &machine.users);
    let mut spared_groups =
        resolve.numbers("intercept.exclude_groups", &scope.exclude_groups, &machine.groups);
    let spared_units =
        resolve.units("intercept.exclude_units", &scope.exclude_units, &machine.units);
    if narrow(&scope.groups) && !spared_groups.is_empty() {
        let text = "not heeded: only with intercept.groups = * are groups spared";
        warn(warnings, "intercept.exclude_groups", text);
        spared_groups.clear();
    }
    Whose {
        narrow: narrow(&scope.users) || narrow(&scope.groups) || narrow(&scope.units),
        users,
        groups,
        units,
        spared_users,
        spared_groups,
        spared_units,
    }
}

fn named(taken: &Taken<String>) -> &[String] {
    match taken {
        Taken::All => &[],
        Taken::Only(names) => names,
    }
}

struct Resolve<'a> {
    warnings: &'a mut Vec<Warning>,
}

impl Resolve<'_> {
    fn numbers(
        &mut self,
        setting: &'static str,
        names: &[String],
        known: &BTreeMap<String, u32>,
    ) -> Vec<u32> {
        let mut numbers = Vec::new();
        for name in names {
            match known.get(name) {
                Some(number) => numbers.push(*number),
                None => warn(self.warnings, setting, format!("{name} is not known here")),
            }
        }
        unique(&numbers)
    }

    fn units(
        &mut self,
        setting: &'static str,
        names: &[String],
        known: &BTreeMap<String, Cgroup>,
    ) -> Vec<Cgroup> {
        let mut groups = Vec::new();
        for name in names {
            match known.get(name) {
                Some(group) => groups.push(group.clone()),
                None => {
                    let text = format!("{name} does not run, or this machine has no cgroup v2");
                    warn(self.warnings, setting, text);
                }
            }
        }
        groups
    }
}

fn spared_in(options: &Options, ssh: &[u16]) -> Vec<Ports> {
    let mut ports = options.inbound.exclude.clone();
    if options.spared.contains(&Spared::Ssh) {
        ports.extend(ssh.iter().map(|port| Ports::one(*port)));
    }
    if options.spared.contains(&Spared::Own) {
        ports.extend(options.own_ports.iter().map(|port| Ports::one(*port)));
    }
    unique(&ports)
}

fn spared_out(options: &Options) -> Vec<Ports> {
    let mut ports = options.outbound.exclude_ports.clone();
    if options.spared.contains(&Spared::Ssh) {
        ports.push(Ports::one(SSH));
    }
    if options.spared.contains(&Spared::Time) {
        ports.extend(TIME.map(Ports::one));
    }
    unique(&ports)
}

fn spared_networks(options: &Options) -> Vec<Cidr> {
    let mut networks = options.outbound.exclude.clone();
    if options.spared.contains(&Spared::Metadata) {
        networks.extend(METADATA);
    }
    networks
}

const UNKNOWN: &str = "nobody is known whom the agent and Envoy run as, and their connections would come back for ever: nothing is redirected";
const SSH: u16 = 22;
/// NTP has UDP; key exchange for it has TCP.
const TIME: [u16; 2] = [123, 4460];
const ENVOYS_MARK: u32 = 1337;
const LOCALHOST_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOCALHOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Amazon, Google, Azure and most others; Amazon and Google by IPv6; what Azure's agent talks to.
const METADATA: [Cidr; 4] = [
    Cidr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 32),
    Cidr::new(IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), 32),
    Cidr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), 128),
    Cidr::new(IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), 128),
];

/// What istiod allocates from unless it is told otherwise.
const ALLOCATED: [Cidr; 2] = [
    Cidr::new(IpAddr::V4(Ipv4Addr::new(240, 240, 0, 0)), 16),
    Cidr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0)), 48),
];

/// Ranges that nobody reaches by a network: reserved, and for benchmarks.
const MADE_UP: [Cidr; 2] = [
    Cidr::new(IpAddr::V4(Ipv4Addr::new(240, 0, 0, 0)), 4),
    Cidr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0)), 48),
];
