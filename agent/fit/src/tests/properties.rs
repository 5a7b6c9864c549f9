//! What holds of every message.

use hawser_wire::write;
use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::{ALPN, EXCHANGE, FOREIGN, HCM, LISTENER, RBAC, ROUTER, STATS, TCP_PROXY, stock, url};
use crate::fit;

/// An element of a list of filters, or a field that nobody knows.
#[derive(Clone, Debug)]
enum Item {
    Unknown(u32, Vec<u8>),
    Number(u32, u64),
    Fine(String),
    Foreign(String),
    Plumbing(&'static str, bool),
}

fn item() -> impl Strategy<Value = Item> {
    let number = 200..5000_u32;
    prop_oneof![
        (number.clone(), vec(any::<u8>(), 0..40)).prop_map(|(n, b)| Item::Unknown(n, b)),
        (number, any::<u64>()).prop_map(|(n, v)| Item::Number(n, v)),
        "[a-z.]{0,200}".prop_map(Item::Fine),
        "[a-z.]{0,12}".prop_map(Item::Foreign),
        (prop_oneof![Just(STATS), Just(EXCHANGE), Just(ALPN)], any::<bool>())
            .prop_map(|(name, wrapped)| Item::Plumbing(name, wrapped)),
    ]
}

/// An `Any`; its parts the wrong way round, as an encoder may write them.
fn packed(name: &str, value: &[u8]) -> Vec<u8> {
    let mut any = Vec::new();
    write::bytes(&mut any, 2, value);
    write::bytes(&mut any, 1, url(name).as_bytes());
    any
}

fn filter(name: &str, config: &[u8]) -> Vec<u8> {
    let mut filter = Vec::new();
    write::bytes(&mut filter, 4, config);
    write::bytes(&mut filter, 777, b"unknown");
    write::bytes(&mut filter, 1, name.as_bytes());
    filter
}

/// A list of filters in field `number`, with or without the plumbing.
fn list(items: &[Item], number: u32, fine: &str, plumbing: bool) -> Vec<u8> {
    let mut message = Vec::new();
    for item in items {
        let (name, config) = match item {
            Item::Unknown(number, bytes) => {
                write::bytes(&mut message, *number, bytes);
                continue;
            }
            Item::Number(number, value) => {
                write::number(&mut message, *number, *value);
                continue;
            }
            Item::Fine(name) => (name.as_str(), packed(fine, b"")),
            Item::Foreign(name) => (name.as_str(), packed(FOREIGN, b"")),
            Item::Plumbing(..) if !plumbing => continue,
            Item::Plumbing(name, true) => (*name, super::wrapped(name).encode_to_vec()),
            Item::Plumbing(name, false) => (*name, packed(name, b"\x0a\x01x")),
        };
        write::bytes(&mut message, number, &filter(name, &config));
    }
    message
}

/// A listener: chains of filters, the last of each a connection manager.
fn listener(chains: &[(Vec<Item>, Vec<Item>)], plumbing: bool) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, (network, http)) in [3, 25, 3].into_iter().zip(chains) {
        let manager = packed(HCM, &list(http, 5, RBAC, plumbing));
        let mut chain = list(network, 3, TCP_PROXY, plumbing);
        write::bytes(&mut chain, 3, &filter("http", &manager));
        write::bytes(&mut message, number, &chain);
        write::number(&mut message, 600, 7);
    }
    message
}

proptest! {
    #[test]
    fn all_but_the_plumbing_stays_byte_for_byte(
        chains in vec((vec(item(), 0..8), vec(item(), 0..8)), 0..3)
    ) {
        let (whole, wanted) = (listener(&chains, true), listener(&chains, false));

        let fitted = fit(&url(LISTENER), &whole, &stock()).unwrap();

        prop_assert_eq!(fitted.removed.is_empty(), whole == wanted);
        prop_assert_eq!(fitted.value.as_ref().unwrap_or(&whole), &wanted);
        let again = fit(&url(LISTENER), &wanted, &stock()).unwrap();
        prop_assert_eq!(again.value, None);
        prop_assert!(again.removed.is_empty());
        prop_assert_eq!(again.kept, fitted.kept);
    }

    #[test]
    fn any_bytes_are_fitted_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        for name in [LISTENER, super::CLUSTER, super::ROUTES, super::EXTENSION] {
            if let Ok(fitted) = fit(&url(name), &bytes, &stock()) {
                prop_assert_eq!(fitted.value.is_none(), fitted.removed.is_empty());
            }
        }
        crate::Loadable::of(&bytes);
    }

    #[test]
    fn a_damaged_message_is_fitted_or_refused(
        chains in vec((vec(item(), 0..4), vec(item(), 0..4)), 1..3),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = listener(&chains, true);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(fitted) = fit(&url(LISTENER), &bytes, &stock())
            && let Some(value) = fitted.value
        {
            prop_assert!(value.len() < bytes.len());
            let again = fit(&url(LISTENER), &value, &stock()).unwrap();
            prop_assert_eq!(again.value, None);
        }
    }
}

#[test]
fn nesting_without_end_is_not_followed() {
    // A router has filters, each of which may be a router.
    let mut filters = filter("istio.stats", &packed(STATS, b""));
    for _ in 0..2_000 {
        let mut router = Vec::new();
        write::bytes(&mut router, 8, &filters);
        filters = filter("router", &packed(ROUTER, &router));
    }
    let mut manager = Vec::new();
    write::bytes(&mut manager, 5, &filters);
    let mut chain = Vec::new();
    write::bytes(&mut chain, 3, &filter("http", &packed(HCM, &manager)));
    let mut listener = Vec::new();
    write::bytes(&mut listener, 3, &chain);

    let fitted = fit(&url(LISTENER), &listener, &stock()).unwrap();

    assert_eq!(fitted.value, None);
}

#[test]
fn a_message_full_of_strange_names_is_told_in_part() {
    let filters: Vec<_> = (0..10_000).map(|n| Item::Foreign(format!("gate{n}"))).collect();
    let same = vec![Item::Plumbing(STATS, false); 10_000];

    let fitted = fit(&url(LISTENER), &listener(&[(filters, same)], true), &stock()).unwrap();

    assert_eq!(fitted.kept.len(), 64);
    assert_eq!(fitted.removed.len(), 1);
}
