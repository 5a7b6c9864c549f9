//! What hosts get, keep and give back.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::Service;

const RANGE: &str = "127.240.0.0/29";

fn services(range: &str, hosts: &[(&str, Protocol)]) -> Services {
    let service = |(host, protocol): &(&str, Protocol)| Service {
        host: (*host).to_owned(),
        protocol: *protocol,
        ..Service::example()
    };
    Services {
        range: Range(range.parse().unwrap()),
        services: hosts.iter().map(service).collect(),
        ..Services::default()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn hosts_of_http_share_the_first_address_and_every_other_has_its_own() {
    use Protocol::{Grpc, Http, Tcp};
    let services =
        services(RANGE, &[("a", Http), ("b", Grpc), ("c", Tcp), ("d", Http), ("d", Tcp)]);

    let addresses = Addresses::default().assign(&services).unwrap();

    let expected =
        [("a", "127.240.0.1"), ("b", "127.240.0.1"), ("c", "127.240.0.2"), ("d", "127.240.0.3")];
    let expected = expected.map(|(host, address)| (host.to_owned(), ip(address)));
    assert_eq!(addresses.0, expected.into());
    assert_eq!(addresses.of(&services, "d"), ip("127.240.0.3"));
    assert_eq!(addresses.of(&services, "unheard-of"), ip("127.240.0.1"));
}

#[test]
fn a_host_keeps_its_address_while_others_come_and_go_and_when_it_comes_back() {
    use Protocol::{Http, Tcp};
    let first = Addresses::default().assign(&services(RANGE, &[("m", Tcp), ("x", Tcp)])).unwrap();

    let second = first.assign(&services(RANGE, &[("a", Tcp), ("x", Tcp)])).unwrap();
    assert_eq!(second.0["x"], first.0["x"]);
    assert_eq!(second.0["a"], ip("127.240.0.4"));

    let third = second.assign(&services(RANGE, &[("m", Http), ("x", Http)])).unwrap();
    assert_eq!((third.0["m"], third.0["x"]), (first.0["m"], first.0["x"]));
}

#[test]
fn who_is_gone_makes_room_and_then_there_is_none() {
    use Protocol::Tcp;
    let hosts = ["a", "b", "c", "d", "e", "f"].map(|host| (host, Tcp));
    let before = Addresses::default().assign(&services(RANGE, &hosts[..5])).unwrap();
    let after = before.assign(&services(RANGE, &[hosts[0], hosts[5]])).unwrap();
    assert_eq!(after.0["a"], before.0["a"]);
    assert_eq!(after.0.len(), 2);

    let full = Addresses::default().assign(&services(RANGE, &hosts)).unwrap_err();
    assert_eq!(
        full.to_string(),
        "127.240.0.0/29 has room for 5 hosts with an address of their own, and there are 6: \
         choose a larger `addresses`"
    );
}

#[test]
fn another_range_has_other_addresses() {
    use Protocol::Tcp;
    let before = Addresses::default().assign(&services(RANGE, &[("a", Tcp)])).unwrap();
    for (range, address) in [
        ("10.9.0.0/24", "10.9.0.2"),
        ("127.240.0.0/30", "127.240.0.2"),
        ("fd00:9::/64", "fd00:9::2"),
        ("10.9.0.8/31", "10.9.0.9"),
    ] {
        let after = before.assign(&services(range, &[("a", Tcp)])).unwrap();
        assert_eq!(after.0["a"], ip(address), "{range}");
    }
    assert!(before.assign(&services("10.9.0.8/32", &[("a", Tcp)])).is_err());
    let alone = before.assign(&services("10.9.0.8/32", &[("a", Protocol::Http)])).unwrap();
    assert_eq!(alone.0["a"], ip("10.9.0.8"));
    assert!(Addresses::default().assign(&services("0.0.0.0/0", &[("a", Tcp)])).is_ok());
    assert!(Addresses::default().assign(&services("::/0", &[("a", Tcp)])).is_ok());
}

proptest! {
    /// Any files one after another: nobody has another's address, nobody loses his, and all of them are
    /// of the range.
    #[test]
    fn addresses_are_stable_and_nobodys_twice(
        files in prop::collection::vec(prop::collection::btree_map(0_u8..12, any::<bool>(), 0..10), 1..8),
    ) {
        let range = Range("127.240.0.0/28".parse().unwrap());
        let mut addresses = Addresses::default();
        for file in files {
            let hosts: BTreeMap<String, bool> =
                file.iter().map(|(host, tcp)| (format!("h{host}"), *tcp)).collect();
            let hosts: Vec<(&str, Protocol)> = hosts
                .iter()
                .map(|(host, tcp)| (host.as_str(), if *tcp { Protocol::Tcp } else { Protocol::Http }))
                .collect();
            let next = addresses.assign(&services("127.240.0.0/28", &hosts)).unwrap();
            let mut own = BTreeSet::new();
            for (host, protocol) in &hosts {
                let address = next.0[*host];
                prop_assert!(range.0.contains(address));
                if address == range.shared() {
                    prop_assert!(*protocol == Protocol::Http);
                } else {
                    prop_assert!(own.insert(address), "{} twice", address);
                }
                if let Some(before) = addresses.0.get(*host) && *before != range.shared() {
                    prop_assert_eq!(address, *before);
                }
            }
            addresses = next;
        }
    }
}
