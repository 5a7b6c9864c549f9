//! Which loopback and which wildcard Envoy's own listeners use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

/// The addresses of Envoy's own listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Where Envoy is reached, and reaches the agent, inside the machine.
    pub(super) loopback: IpAddr,
    /// The other family's loopback, if Envoy listens on both.
    pub(super) other_loopback: Option<IpAddr>,
    /// Where Envoy is reached from outside.
    pub(super) wildcard: IpAddr,
    /// The other family's wildcard, if Envoy listens on both.
    pub(super) other_wildcard: Option<IpAddr>,
}

impl Addresses {
    /// What fits a machine with `ips`. One with both families is taken for IPv4, unless it is to
    /// listen on both; its first address then says which family leads.
    pub(super) fn of(ips: &[IpAddr], dual_stack: bool) -> Self {
        let both = ips.iter().any(IpAddr::is_ipv4) && ips.iter().any(IpAddr::is_ipv6);
        let leads = if both && !dual_stack { None } else { ips.first() };
        let (one, other) = match leads {
            Some(IpAddr::V6(_)) => (V6, V4),
            Some(IpAddr::V4(_)) | None => (V4, V6),
        };
        let other = (both && dual_stack).then_some(other);
        Self {
            loopback: one.0,
            other_loopback: other.map(|(loopback, _)| loopback),
            wildcard: one.1,
            other_wildcard: other.map(|(_, wildcard)| wildcard),
        }
    }
}

/// Envoy's `Address` for a TCP port.
pub(super) fn socket_address(ip: IpAddr, port: u16) -> Value {
    json!({"socket_address": {"protocol": "TCP", "address": ip.to_string(), "port_value": port}})
}

/// Loopback and wildcard of a family.
const V4: (IpAddr, IpAddr) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
const V6: (IpAddr, IpAddr) = (IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::UNSPECIFIED));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_follows_the_machines_addresses() {
        let cases: [(&[&str], bool, &str, Option<&str>); 8] = [
            (&["10.0.0.1"], false, "0.0.0.0", None),
            (&["10.0.0.1"], true, "0.0.0.0", None),
            (&["fd00::1"], false, "::", None),
            (&["fd00::1", "fd00::2"], true, "::", None),
            (&["10.0.0.1", "fd00::1"], false, "0.0.0.0", None),
            (&["fd00::1", "10.0.0.1"], false, "0.0.0.0", None),
            (&["10.0.0.1", "fd00::1"], true, "0.0.0.0", Some("::")),
            (&["fd00::1", "10.0.0.1"], true, "::", Some("0.0.0.0")),
        ];

        for (ips, dual_stack, wildcard, other) in cases {
            let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            let addresses = Addresses::of(&ips, dual_stack);
            assert_eq!(addresses.wildcard.to_string(), wildcard, "{ips:?}");
            assert_eq!(addresses.other_wildcard.map(|ip| ip.to_string()).as_deref(), other);
            assert_eq!(addresses.loopback.is_ipv6(), addresses.wildcard.is_ipv6());
            assert!(addresses.loopback.is_loopback());
        }
    }
}
