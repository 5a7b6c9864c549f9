//! What a certificate authority may send, and what it may not.

use proptest::prelude::*;
use rcgen::{IsCa, SanType};

use super::*;
use crate::{
    KeyKind, PrivateKey,
    ca::{Ca, ID, Leaf, uri},
};

fn year(year: u64) -> SystemTime {
    let leap_days = (year - 1969) / 4;
    SystemTime::UNIX_EPOCH + Duration::from_secs(((year - 1970) * 365 + leap_days) * 86_400)
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyKind::EcdsaP256).unwrap()
}

#[test]
fn a_chain_has_the_facts_of_its_leaf() {
    let root = Ca::root("root");
    let key = key();
    let text = root.sign(Leaf::of(&key)) + &root.pem;

    let chain = Chain::from_pem(&text).unwrap();

    assert_eq!(chain.ders().len(), 2);
    assert_eq!(chain.leaf_der(), &chain.ders()[0]);
    assert_eq!(chain.not_before(), year(2025));
    assert_eq!(chain.not_after(), year(2026));
    assert_eq!(chain.spiffe_id().unwrap().to_string(), ID);
    assert_eq!(chain.public_key(), key.public());
}

#[test]
fn validity_counts_the_last_second_and_not_the_next() {
    let root = Ca::root("root");
    let chain = Chain::from_pem(&root.sign(Leaf::of(&key()))).unwrap();
    let (second, nano) = (Duration::from_secs(1), Duration::from_nanos(1));
    let cases = [
        (SystemTime::UNIX_EPOCH, false),
        (year(2025) - nano, false),
        (year(2025), true),
        (year(2026), true),
        (year(2026) + second - nano, true),
        (year(2026) + second, false),
        (year(2999), false),
    ];
    for (now, valid) in cases {
        assert_eq!(chain.valid_at(now), valid, "{now:?}");
    }
}

#[test]
fn a_chain_may_come_in_several_texts_with_several_certificates_each() {
    let root = Ca::root("root");
    let other = Ca::root("other");
    let middle = root.intermediate("middle", (2024, 2030));
    let leaf = middle.sign(Leaf::of(&key()));
    let issuers = format!("# issuers\r\n{}\n{}", middle.pem, root.pem.trim_end());

    // As istiod does: the roots as one text, the first of them a second time.
    let chain =
        Chain::from_pems([leaf.as_str(), &issuers, &(root.pem.clone() + &other.pem)]).unwrap();

    assert_eq!(chain.pem(), [leaf, middle.pem, root.pem, other.pem].concat().replace("\r\n", "\n"));
    assert_eq!(Chain::from_pem(chain.pem()).unwrap().ders(), chain.ders());
}

#[test]
fn what_is_no_chain_is_refused_and_said_to_be_so() {
    let root = Ca::root("root");
    let leaf = root.sign(Leaf::of(&key()));
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let not_pem = "-----BEGIN CERTIFICATE-----\n";
    let mut trailing = Chain::from_pem(&leaf).unwrap().leaf_der().to_vec();
    trailing.push(0);
    let mut with_trailing = String::new();
    pem::encode(pem::CERTIFICATE, &trailing, &mut with_trailing);
    let cases = [
        (String::new(), "no certificate found"),
        ("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----".into(), "no certificate found"),
        (not_der.into(), "certificate 1 of the chain is not X.509"),
        (with_trailing, "certificate 1 of the chain is not X.509"),
        (format!("{leaf}{not_der}"), "certificate 2 of the chain is not X.509"),
        (format!("{leaf}{leaf}{not_der}"), "certificate 3 of the chain is not X.509"),
        (format!("{leaf}{not_pem}"), "certificate 2 of the chain is not PEM"),
        (leaf.repeat(17), "more than 16 certificates"),
        ("x".repeat((1 << 20) + 1), "at most 1048576 are taken"),
    ];
    for (text, expected) in cases {
        let error = Chain::from_pem(&text).unwrap_err();

        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_leaf_names_one_workload_and_nothing_else_by_uri() {
    let root = Ca::root("root");
    let dns = || SanType::DnsName("vm.example".try_into().unwrap());
    let cases = [
        (vec![uri(ID)], Ok(ID)),
        (vec![dns(), uri(ID), dns()], Ok(ID)),
        (vec![], Err("has no SPIFFE id")),
        (vec![dns()], Err("has no SPIFFE id")),
        (vec![uri(ID), uri(ID)], Err("has 2 URIs")),
        (vec![uri(ID), uri("https://example.com")], Err("has 2 URIs")),
        (vec![uri("https://example.com")], Err("is not a SPIFFE id")),
        (vec![uri("spiffe://cluster.local/vm/billing")], Err("is not a SPIFFE id")),
    ];
    for (names, expected) in cases {
        let key = key();
        let leaf = root.sign(Leaf { names, ..Leaf::of(&key) });
        let id = Chain::from_pem(&leaf).unwrap().spiffe_id();

        match (id, expected) {
            (Ok(id), Ok(expected)) => assert_eq!(id.to_string(), expected),
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (id, expected) => panic!("{id:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn windows_at_the_ends_of_time_are_read() {
    let root = Ca::root("root");
    let key = key();
    let leaf = root.sign(Leaf { years: (1955, 9999), is_ca: IsCa::NoCa, ..Leaf::of(&key) });

    let chain = Chain::from_pem(&leaf).unwrap();

    assert!(chain.not_before() < SystemTime::UNIX_EPOCH);
    assert_eq!(chain.not_after(), SystemTime::UNIX_EPOCH + Duration::from_secs(253_370_764_800));
    assert!(chain.valid_at(year(2100)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_certificate_is_refused_or_read_but_never_fatal(
        at: prop::sample::Index,
        change in 1..=u8::MAX,
    ) {
        let mut der = LEAF.with(Clone::clone);
        let at = at.index(der.len());
        der[at] ^= change;
        let mut text = String::new();
        pem::encode(pem::CERTIFICATE, &der, &mut text);

        if let Ok(chain) = Chain::from_pem(&text) {
            let _id = chain.spiffe_id();
            prop_assert_eq!(chain.leaf_der().as_ref(), der.as_slice());
        }
    }

    #[test]
    fn noise_is_no_chain(der: Vec<u8>) {
        let mut text = String::new();
        pem::encode(pem::CERTIFICATE, &der, &mut text);

        prop_assert!(Chain::from_pem(&text).is_err());
    }
}

thread_local! {
    static LEAF: Vec<u8> = {
        let leaf = Ca::root("root").sign(Leaf::of(&key()));
        Chain::from_pem(&leaf).unwrap().leaf_der().to_vec()
    };
}
