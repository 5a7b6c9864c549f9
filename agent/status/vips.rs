//! Addresses of services that exist on this machine alone: made up by istiod, or of loopback. Who
//! redirects traffic has to know of them, since no network of the mesh holds them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hawser_proto::Names;
use serde::Serialize;

/// What the guard of the rules asks for.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    /// Networks, in their order.
    vips: Vec<String>,
}

impl Told {
    /// Those in the names of the mesh.
    pub(super) fn of(names: Option<&Names>) -> Self {
        let names = names.into_iter().flat_map(Names::iter);
        let addresses = names.flat_map(|entry| entry.ips()).filter_map(|ip| ip.parse().ok());
        Self { vips: networks(addresses) }
    }
}

/// The networks that hold those of these addresses that nobody else has.
fn networks(addresses: impl Iterator<Item = IpAddr>) -> Vec<String> {
    let mut found: BTreeSet<(IpAddr, u8)> = BTreeSet::new();
    for network in addresses.filter_map(|address| network(address.to_canonical())) {
        if found.len() < MOST {
            found.insert(network);
        }
    }
    found.into_iter().map(|(address, bits)| format!("{address}/{bits}")).collect()
}

fn network(address: IpAddr) -> Option<(IpAddr, u8)> {
    match address {
        // The machine itself is no service.
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => None,
        IpAddr::V4(v4) if v4.is_loopback() => Some((address, 32)),
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            // 240.0.0.0/4 is nobody's; istiod takes 240.240.0.0/16 of it, unless it is told otherwise.
            (first >= 240 && !v4.is_broadcast())
                .then(|| (Ipv4Addr::new(first, second, 0, 0).into(), 16))
        }
        IpAddr::V6(v6) => {
            let [first, second, third, ..] = v6.segments();
            // Of benchmarks, and istiod's for the same.
            ((first, second, third) == (0x2001, 2, 0))
                .then(|| (Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0).into(), 48))
        }
    }
}

/// More networks than that are no plan of anybody's.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_that_nobody_else_has_are_told() {
        let addresses = [
            "10.0.0.1",
            "240.240.0.1",
            "240.240.77.1",
            "240.241.0.1",
            "255.255.255.255",
            "127.0.0.1",
            "127.255.0.3",
            "203.0.113.9",
            "2001:2::17",
            "2001:db8::1",
            "::1",
            "fd00::1",
        ];
        let told = networks(addresses.iter().map(|address| address.parse().unwrap()));
        assert_eq!(told, ["127.255.0.3/32", "240.240.0.0/16", "240.241.0.0/16", "2001:2::/48"]);
    }
}
