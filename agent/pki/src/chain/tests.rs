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
fn whom_a_leaf_names_is_its_uri_else_its_first_host_else_nobody() {
    let root = Ca::root("root");
    let host = |name: &str| SanType::DnsName(name.try_into().unwrap());
    for (names, name, id) in [
        (vec![host("a.example"), uri(ID)], ID, Some(ID)),
        (vec![uri("spiffe://vms.example/web/1")], "spiffe://vms.example/web/1", None),
        (vec![host("a.example"), host("b.example")], "a.example", None),
        (vec![], "nobody", None),
    ] {
        let key = key();
        let chain = Chain::from_pem(&root.sign(Leaf { names, ..Leaf::of(&key) })).unwrap();
        assert_eq!(chain.name(), name);
        assert_eq!(chain.spiffe_id().ok().map(|id| id.to_string()).as_deref(), id);
    }
}

#[test]
fn certificates_stand_one_after_the_other_in_der() {
    let root = Ca::root("root");
    let middle = root.intermediate("middle", (2024, 2030));
    let chain = Chain::from_pem(&(middle.sign(Leaf::of(&key())) + &middle.pem)).unwrap();
    let der: Vec<u8> = chain.ders().iter().flat_map(|der| der.to_vec()).collect();

    assert_eq!(Chain::from_der(&der).unwrap().pem(), chain.pem());
    assert_eq!(Bundle::from_der(&der).unwrap().len(), 2);
    for (bytes, told) in [
        (vec![], "no certificate found"),
        (der[..der.len() - 1].to_vec(), "certificate 2 of the chain is not X.509"),
        ([&der[..], &[0]].concat(), "certificate 3 of the chain is not X.509"),
        (chain.leaf_der().repeat(17), "more than 16 certificates"),
        (vec![0; (1 << 20) + 1], "at most 1048576 are taken"),
    ] {
        let error = Chain::from_der(&bytes).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn roots_among_a_chain_are_those_that_issued_themselves_but_the_leaf() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let middle = root.intermediate("middle", (2024, 2030));
    let leaf = middle.sign(Leaf::of(&key()));

    let text = [leaf.as_str(), &root.pem, &middle.pem, &other.pem, &root.pem].concat();
    let (chain, roots) = Chain::and_roots(&text).unwrap();
    assert_eq!(chain.pem(), Chain::from_pem(&(leaf.clone() + &middle.pem)).unwrap().pem());
    let both = Bundle::from_pem(&(root.pem.clone() + &other.pem)).unwrap();
    assert_eq!(roots, Some(both));

    assert_eq!(Chain::and_roots(&leaf).unwrap().1, None);
    let (alone, none) = Chain::and_roots(&root.pem).unwrap();
    assert_eq!((alone.ders().len(), none), (1, None));
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
