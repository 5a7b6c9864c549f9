//! Questions to resolvers: which of them are redirected, and where the agent is.

use std::net::{IpAddr, SocketAddr};

use super::{
    Dns, Machine, Ports, Warning,
    ruleset::Networks,
    settled::{unique, warn},
};

/// What of DNS is redirected.
#[derive(Debug)]
pub(super) struct Questions {
    /// Resolvers whose questions are; None is all.
    pub(super) resolvers: Option<Vec<IpAddr>>,
    /// Where the agent is on IPv4.
    pub(super) v4: Option<SocketAddr>,
    /// Where it is on IPv6.
    pub(super) v6: Option<SocketAddr>,
    /// Users whose questions are not: they would come back to them.
    pub(super) forwarders: Vec<u32>,
}

impl Questions {
    /// None where there is nothing to redirect; then somebody is told why.
    pub(super) fn new(
        dns: &Dns,
        machine: &Machine,
        spared: &[Ports],
        warnings: &mut Vec<Warning>,
    ) -> Option<Self> {
        if spared.iter().any(|ports| ports.hold(DNS)) {
            warn(
                warnings,
                SETTING,
                "nothing is redirected: intercept.exclude_outbound_ports has 53",
            );
            return None;
        }
        let of = |v4: bool| {
            let mut own = dns.listen.iter().filter(move |own| own.is_ipv4() == v4);
            own.clone().find(|own| own.ip().is_loopback()).or_else(|| own.next()).copied()
        };
        let (v4, v6) = (of(true), of(false));
        // Whoever asks the agent itself needs no help.
        let elsewhere =
            |resolver: &&IpAddr| !dns.listen.contains(&SocketAddr::new(**resolver, DNS));
        let all = unique(&machine.resolvers);
        let (resolvers, deaf): (Vec<IpAddr>, Vec<IpAddr>) = all
            .iter()
            .filter(elsewhere)
            .map(IpAddr::to_canonical)
            .partition(|resolver| if resolver.is_ipv4() { v4.is_some() } else { v6.is_some() });
        for resolver in &deaf {
            let text = format!(
                "questions to {resolver} are not redirected: dns.listen has no address of its kind"
            );
            warn(warnings, SETTING, text);
        }
        if !dns.all && resolvers.is_empty() {
            warn(warnings, SETTING, "nothing is redirected: there is no resolver to redirect from");
            return None;
        }
        let forwarders = if dns.all || mixed(&resolvers) {
            let theirs = machine.forwarders.iter().filter(|own| !machine.uids.contains(own));
            unique(&theirs.copied().collect::<Vec<_>>())
        } else {
            Vec::new()
        };
        if forwarders.contains(&0) {
            let text = "a resolver of this machine runs as root: no question of root's is redirected, or its own would come back";
            warn(warnings, SETTING, text);
        }
        Some(Self { resolvers: (!dns.all).then_some(resolvers), v4, v6, forwarders })
    }

    /// Conditions under which a packet goes to one of the resolvers (`daddr`) or comes from one
    /// (`saddr`), one for each family that there are any of, and where the agent is for it.
    pub(super) fn targets(
        &self,
        field: &str,
        named: Option<&Networks>,
    ) -> Vec<(String, SocketAddr)> {
        let any = |family: &str| Some(format!("meta nfproto {family}"));
        let (v4, v6) = match named {
            Some(named) => (named.v4(field), named.v6(field)),
            None => (any("ipv4"), any("ipv6")),
        };
        v4.zip(self.v4).into_iter().chain(v6.zip(self.v6)).collect()
    }

    /// Ports at which the agent is.
    pub(super) fn ports(&self) -> Vec<u16> {
        let own: Vec<u16> = self.v4.iter().chain(&self.v6).map(SocketAddr::port).collect();
        unique(&own)
    }
}

/// Whether one of them may be here and ask another one.
fn mixed(resolvers: &[IpAddr]) -> bool {
    resolvers.len() > 1 && !resolvers.iter().all(IpAddr::is_loopback)
}

pub(super) const DNS: u16 = 53;
const SETTING: &str = "intercept.dns";
