//! Which addresses are not dialled, whoever asks.
//!
//! The address of a module comes from whoever may configure the mesh, and redirects and names come
//! from servers. The agent may reach what they may not: the metadata service of the cloud, which
//! gives out the machine's own credentials. So what counts is the address that is dialled, after
//! the name was resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Cidr;

/// The addresses that are not dialled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    blocked: Vec<Cidr>,
}

impl Guard {
    pub(crate) fn new(blocked: Vec<Cidr>) -> Self {
        Self { blocked }
    }

    /// What keeps the address from being dialled, if something does.
    pub(crate) fn objection(&self, address: IpAddr) -> Option<String> {
        let address = meant(address);
        for (range, what) in ALWAYS {
            if range.contains(address) {
                return Some((*what).to_owned());
            }
        }
        if address.is_unspecified() {
            return Some("no address".to_owned());
        }
        if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Some("a group of addresses".to_owned());
        }
        let blocked = self.blocked.iter().find(|range| range.contains(address))?;
        Some(format!("in the blocked range {blocked}"))
    }
}

/// The IPv4 address behind an IPv6 one that only stands for it: mapped, or behind a NAT64.
fn meant(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, high, low] = v6.segments();
            let nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
            // IPv4-compatible ones are long gone, but some stacks still dial them.
            let compatible = [a, b, c, d, e, f] == [0; 6] && (high, low) > (0, 1);
            if nat64 || compatible {
                let bits = (u32::from(high) << 16) | u32::from(low);
                return Ipv4Addr::from_bits(bits).into();
            }
            v6.into()
        }
        v4 => v4,
    }
}

/// Nobody has a reason to serve modules here.
const ALWAYS: &[(Cidr, &str)] = &[
    (v4([169, 254, 0, 0], 16), "link-local"),
    (Cidr::new(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10), "link-local"),
    (v4([100, 100, 100, 200], 32), "a metadata service"),
    (v4([168, 63, 129, 16], 32), "a metadata service"),
    (
        Cidr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0)), 32),
        "a metadata service",
    ),
];

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> Cidr {
    Cidr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_and_blocked_ranges_are_not_dialled_under_any_spelling() {
        let guard = Guard::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let kept_off = [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "febf::1",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "10.1.2.3",
            "::ffff:10.1.2.3",
        ];
        for address in kept_off {
            assert!(guard.objection(address.parse().unwrap()).is_some(), "{address}");
        }
    }

    #[test]
    fn private_addresses_and_loopback_are_dialled_unless_blocked() {
        for address in ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "fd12::1", "8.8.8.8"] {
            assert_eq!(Guard::default().objection(address.parse().unwrap()), None, "{address}");
        }
    }
}
