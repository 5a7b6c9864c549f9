//! Settings as operators have them, each with what makes it a case of its own.

use std::net::{IpAddr, SocketAddr};

use hawser_intercept::plan::{
    Cgroup, Dns, Envoy, Inbound, Interfaces, Machine, Mode, Options, Outbound, Ports, Scope,
    Spared, Steer, Taken,
};
use hawser_rt::Cidr;

/// Who the agent and Envoy run as in these tests.
pub(crate) const PROXY: u32 = 4001;
/// Who programs run as.
pub(crate) const APP: u32 = 4002;
/// Another of them.
pub(crate) const OTHER: u32 = 4003;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn ports(ports: &[u16]) -> Vec<Ports> {
    ports.iter().map(|port| Ports::one(*port)).collect()
}

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What a machine has that istioctl has made files for: everything, both ways, and DNS.
pub(crate) fn options() -> Options {
    Options {
        mode: Mode::Redirect,
        inbound: Inbound { ports: Taken::All, exclude: ports(&[22, 15090, 15021, 15020]) },
        outbound: Outbound {
            networks: Taken::All,
            exclude: Vec::new(),
            ports: Vec::new(),
            exclude_ports: Vec::new(),
            loopback: "127.0.0.1/32".parse().unwrap(),
        },
        scope: everybody(),
        interfaces: Interfaces::default(),
        dns: Some(dns()),
        envoy: Envoy::default(),
        steer: Steer::default(),
        drop_invalid: false,
        ipv6: None,
        spared: Spared::ALL.to_vec(),
        own_ports: vec![15000, 15020, 15021, 15053, 15090],
    }
}

pub(crate) fn everybody() -> Scope {
    Scope {
        users: Taken::All,
        groups: Taken::All,
        units: Taken::All,
        exclude_users: Vec::new(),
        exclude_groups: Vec::new(),
        exclude_units: Vec::new(),
    }
}

pub(crate) fn dns() -> Dns {
    let listen: Vec<SocketAddr> =
        ["127.0.0.1:15053", "[::1]:15053"].iter().map(|own| own.parse().unwrap()).collect();
    Dns { listen, all: false }
}

/// Neither of these has any of Istio's variables.
pub(crate) fn nothing() -> Options {
    Options {
        inbound: Inbound { ports: Taken::Only(Vec::new()), exclude: Vec::new() },
        outbound: Outbound { networks: Taken::Only(Vec::new()), ..options().outbound },
        dns: None,
        ..options()
    }
}

pub(crate) fn machine() -> Machine {
    let numbers = [("app", APP), ("other", OTHER)].map(|(name, number)| (name.to_owned(), number));
    Machine {
        uids: vec![PROXY],
        gids: vec![PROXY],
        resolvers: vec![ip("127.0.0.53")],
        forwarders: Vec::new(),
        vips: Vec::new(),
        ssh: Vec::new(),
        ipv4: true,
        ipv6: true,
        users: numbers.clone().into(),
        groups: numbers.into(),
        units: [(
            "web.service".to_owned(),
            Cgroup { path: "system.slice/web.service".to_owned(), id: 7 },
        )]
        .into(),
    }
}

/// A name, settings, and the machine.
pub(crate) type Case = (&'static str, Options, Machine);

/// One for each setting.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = outbound();
    cases.extend(scope());
    cases.extend(inbound());
    cases.extend(questions());
    cases
}

fn changed(change: impl FnOnce(&mut Options)) -> (Options, Machine) {
    let mut options = options();
    change(&mut options);
    (options, machine())
}

fn case(name: &'static str, change: impl FnOnce(&mut Options)) -> Case {
    let (options, machine) = changed(change);
    (name, options, machine)
}

fn on(name: &'static str, change: impl FnOnce(&mut Options, &mut Machine)) -> Case {
    let (mut options, mut machine) = (options(), machine());
    change(&mut options, &mut machine);
    (name, options, machine)
}

fn outbound() -> Vec<Case> {
    vec![
        case("as_istioctl_has_it", |_| {}),
        ("nothing_said", nothing(), machine()),
        case("outbound_cidrs", |o| {
            o.outbound.networks = Taken::Only(cidrs(&["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]));
        }),
        case("outbound_cidrs_of_loopback", |o| {
            o.outbound.networks = Taken::Only(cidrs(&["127.255.0.0/16", "10.0.0.0/8"]));
        }),
        case("exclude_outbound_cidrs", |o| {
            o.outbound.exclude = cidrs(&["192.0.2.0/24", "2001:db8::/32"]);
        }),
        case("outbound_ports", |o| {
            o.outbound.networks = Taken::Only(Vec::new());
            o.outbound.ports = vec![Ports::one(443), Ports { first: 8000, last: 8999 }];
        }),
        case("exclude_outbound_ports", |o| o.outbound.exclude_ports = ports(&[2049, 3260])),
        case("exclude_defaults_taken_back", |o| o.spared.clear()),
        case("interfaces", |o| {
            o.interfaces.exclude = names(&["eth1", "wg0", "tun*"]);
            o.interfaces.virtuals = names(&["docker0", "br-*"]);
        }),
        case("loopback", |o| o.outbound.loopback = "127.0.0.0/8".parse().unwrap()),
        on("vips", |o, m| {
            o.outbound.networks = Taken::Only(cidrs(&["10.0.0.0/8"]));
            m.vips = cidrs(&["127.255.0.3/32", "127.0.0.1/32", "241.0.0.7/32", "10.1.2.3/32"]);
        }),
        on("ipv4_only", |_, m| m.ipv6 = false),
        on("ipv6_only", |_, m| m.ipv4 = false),
        case("other_ports_of_envoy", |o| {
            o.envoy = Envoy { outbound: 16001, inbound: 16006, tunnel: 16008 };
        }),
    ]
}

fn scope() -> Vec<Case> {
    vec![
        case("groups", |o| o.scope.groups = Taken::Only(names(&["app"]))),
        case("exclude_groups", |o| o.scope.exclude_groups = names(&["other"])),
        case("no_group", |o| o.scope.groups = Taken::Only(Vec::new())),
        case("users", |o| {
            o.scope.users = Taken::Only(names(&["app"]));
            o.scope.exclude_users = names(&["other"]);
        }),
        case("units", |o| o.scope.units = Taken::Only(names(&["web.service"]))),
        case("exclude_units", |o| o.scope.exclude_units = names(&["web.service"])),
        case("users_and_units", |o| {
            o.scope.users = Taken::Only(names(&["app"]));
            o.scope.units = Taken::Only(names(&["web.service"]));
        }),
    ]
}

fn inbound() -> Vec<Case> {
    vec![
        case("inbound_ports", |o| o.inbound.ports = Taken::Only(ports(&[8080, 9090]))),
        case("no_inbound_ports", |o| o.inbound.ports = Taken::Only(Vec::new())),
        case("tproxy", |o| o.mode = Mode::Tproxy),
        case("tproxy_ports", |o| {
            o.mode = Mode::Tproxy;
            o.steer = Steer { mark: 0x100, table: 300 };
            o.inbound.ports = Taken::Only(ports(&[8080]));
        }),
        on("tproxy_ipv4_only", |o, m| {
            o.mode = Mode::Tproxy;
            m.ipv6 = false;
        }),
        case("mode_none", |o| o.mode = Mode::None),
        case("drop_invalid", |o| o.drop_invalid = true),
    ]
}

fn questions() -> Vec<Case> {
    vec![
        case("no_dns", |o| o.dns = None),
        case("dns_all", |o| o.dns = Some(Dns { all: true, ..dns() })),
        on("dns_resolvers", |_, m| {
            m.resolvers = vec![ip("127.0.0.53"), ip("10.0.0.2"), ip("fd00::53")];
            m.forwarders = vec![101, PROXY];
        }),
        on("dns_listens_elsewhere", |o, m| {
            o.dns = Some(Dns { listen: vec!["10.0.0.5:5300".parse().unwrap()], all: false });
            m.resolvers = vec![ip("10.0.0.2"), ip("fd00::53")];
        }),
        on("dns_for_containers", |o, m| {
            o.dns = Some(Dns { listen: vec!["0.0.0.0:15053".parse().unwrap()], all: false });
            o.interfaces.virtuals = names(&["docker0"]);
            m.resolvers = vec![ip("10.0.0.2")];
        }),
        on("much_that_does_not_do_what_it_seems_to", |o, m| {
            o.inbound.ports = Taken::Only(ports(&[22, 8080]));
            o.inbound.exclude = ports(&[8080]);
            o.outbound.networks = Taken::Only(cidrs(&["10.0.0.0/8", "fd00::/8"]));
            o.outbound.exclude_ports = vec![Ports { first: 50, last: 60 }];
            o.scope.users = Taken::Only(names(&["unknown"]));
            o.scope.units = Taken::Only(names(&["gone.service"]));
            o.scope.groups = Taken::Only(Vec::new());
            o.scope.exclude_groups = names(&["other"]);
            m.uids.push(0);
            m.ipv6 = false;
        }),
        on("dns_without_resolvers", |_, m| m.resolvers.clear()),
        on("nobody_known", |_, m| {
            m.uids.clear();
            m.gids.clear();
        }),
    ]
}
