//! What interception is told: by the configuration, and by what the machine is like.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hawser_intercept::{
    guard::Settings,
    plan::{self, Machine, Taken},
    units,
};
use hawser_node::addresses;
use nix::unistd::{Uid, User, geteuid};

use super::ssh;
use crate::config::{Config, accounts, dns::Mode, source};

/// Whether there are rules at all, which, and when.
pub(crate) fn settings(config: Config) -> Settings {
    let set = &config.intercept;
    Settings {
        enabled: set.enabled && !config.identity.only,
        options: intercept(&config),
        on_failure: set.on_failure,
        hold: set.hold,
        unheeded: set.unheeded.clone(),
        machine: Arc::new(move || {
            let here = addresses::order(config.node.ip, None, &source::addresses());
            machine(&config, &here)
        }),
    }
}

/// What is redirected, and what is spared.
pub(crate) fn intercept(config: &Config) -> plan::Options {
    let intercept = &config.intercept;
    plan::Options {
        mode: intercept.mode,
        inbound: intercept.inbound.clone(),
        outbound: intercept.outbound.clone(),
        scope: intercept.scope.clone(),
        interfaces: intercept.interfaces.clone(),
        dns: questions(config),
        envoy: intercept.envoy,
        steer: intercept.steer,
        drop_invalid: intercept.drop_invalid,
        ipv6: intercept.ipv6,
        spared: intercept.spared.clone(),
        own_ports: own_ports(config),
    }
}

/// None where systemd-resolved sends what is for us.
fn questions(config: &Config) -> Option<plan::Dns> {
    let dns = config.dns.as_ref().filter(|dns| dns.mode == Mode::Proxy)?;
    let wanted = config.intercept.dns || config.intercept.dns_all;
    wanted.then(|| plan::Dns { listen: dns.listen.clone(), all: config.intercept.dns_all })
}

fn own_ports(config: &Config) -> Vec<u16> {
    let envoy = &config.envoy;
    let dns = config.dns.iter().flat_map(|dns| &dns.listen).map(std::net::SocketAddr::port);
    let own = [envoy.admin_port, envoy.status_port, envoy.prometheus_port, config.status.port()];
    let mut ports: Vec<u16> = own.into_iter().chain(dns).filter(|port| *port != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// What can be looked up of the machine by names; whom its programs ask, and which addresses
/// services have, is for who watches them. `addresses` are those that it has in the mesh.
pub(crate) fn machine(config: &Config, addresses: &[IpAddr]) -> Machine {
    let intercept = &config.intercept;
    let uids = intercept.proxy_users.clone().unwrap_or_else(|| proxies(config));
    let gids = intercept.proxy_groups.clone().unwrap_or_else(|| first_groups(&uids));
    let scope = &intercept.scope;
    let (v4, v6) = families(addresses, config.envoy.dual_stack);
    Machine {
        uids,
        gids,
        resolvers: Vec::new(),
        forwarders: Vec::new(),
        vips: Vec::new(),
        ssh: ssh::ports(&config.paths),
        ipv4: v4,
        ipv6: v6,
        users: looked_up(&scope.users, &scope.exclude_users, accounts::user),
        groups: looked_up(&scope.groups, &scope.exclude_groups, accounts::group),
        units: units::find(&named(&scope.units, &scope.exclude_units)),
    }
}

/// Whose connections would come back for ever: the agent's and Envoy's.
fn proxies(config: &Config) -> Vec<u32> {
    let own = geteuid();
    // Who makes the rules may be root; the agent is not.
    let agent = if own.is_root() { accounts::user(AGENT) } else { Some(own.as_raw()) };
    let mut users: Vec<u32> = agent.into_iter().chain(config.envoy.user).collect();
    users.sort_unstable();
    users.dedup();
    users
}

fn first_groups(users: &[u32]) -> Vec<u32> {
    let group = |uid: &u32| User::from_uid(Uid::from_raw(*uid)).ok().flatten();
    let mut groups: Vec<u32> = users.iter().filter_map(group).map(|u| u.gid.as_raw()).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// On which of IPv4 and IPv6 istiod has an Envoy listen that has these addresses.
fn families(addresses: &[IpAddr], dual_stack: bool) -> (bool, bool) {
    let v4 = addresses.iter().any(IpAddr::is_ipv4);
    let v6 = addresses.iter().any(IpAddr::is_ipv6);
    (v4 || !v6, v6 && (dual_stack || !v4))
}

fn looked_up(
    taken: &Taken<String>,
    excluded: &[String],
    number: impl Fn(&str) -> Option<u32>,
) -> BTreeMap<String, u32> {
    let names = named(taken, excluded);
    names.into_iter().filter_map(|name| Some((name.clone(), number(&name)?))).collect()
}

fn named(taken: &Taken<String>, excluded: &[String]) -> Vec<String> {
    let taken = match taken {
        Taken::All => &[][..],
        Taken::Only(names) => names,
    };
    taken.iter().chain(excluded).cloned().collect()
}

/// Settings of Istio's that do nothing here, or nothing anywhere.
pub(crate) const UNHEEDED: [(&str, &str); 4] = [
    ("ENVOY_PORT", "Istio's agent never reads it; intercept.outbound_port is where Envoy listens"),
    (
        "ISTIO_INBOUND_EXCLUDE_PORTS",
        "Istio's agent never reads it; say ISTIO_LOCAL_EXCLUDE_PORTS or intercept.exclude_inbound_ports",
    ),
    ("DUAL_STACK", "IPv6 is redirected where Envoy listens on it: say ISTIO_DUAL_STACK"),
    ("FORCE_IPTABLES_BINARY", "rules are nftables' own"),
];

const AGENT: &str = "istio-proxy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_listens_on_the_families_that_istiod_has_it_listen_on() {
        let cases: [(&[&str], bool, (bool, bool)); 7] = [
            (&[], false, (true, false)),
            (&["10.0.0.1"], false, (true, false)),
            (&["10.0.0.1"], true, (true, false)),
            (&["fd00::1"], false, (false, true)),
            (&["10.0.0.1", "fd00::1"], false, (true, false)),
            (&["fd00::1", "10.0.0.1"], false, (true, false)),
            (&["10.0.0.1", "fd00::1"], true, (true, true)),
        ];
        for (addresses, dual_stack, expected) in cases {
            let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(families(&addresses, dual_stack), expected, "{addresses:?}");
        }
    }

    #[test]
    fn a_user_is_known_by_its_first_group_and_not_by_its_number() {
        let sync = User::from_name("sync").unwrap().expect("every system has a user sync");
        let (user, group) = (sync.uid.as_raw(), sync.gid.as_raw());
        assert_ne!(user, group);
        assert_eq!(first_groups(&[user, user]), [group]);
        assert_eq!(first_groups(&[u32::MAX - 9]), [0_u32; 0]);
    }

    #[test]
    fn names_that_are_not_known_here_are_left_out() {
        let taken = Taken::Only(vec!["root".to_owned(), "nobody-knows".to_owned()]);
        let found = looked_up(&taken, &["4711".to_owned()], accounts::user);
        assert_eq!(found, [("4711".to_owned(), 4711), ("root".to_owned(), 0)].into());
    }
}
