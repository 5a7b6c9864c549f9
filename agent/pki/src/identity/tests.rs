//! What fits together, and what does not.

use rcgen::{BasicConstraints, IsCa, SanType};

use super::*;
use crate::{
    KeyKind,
    ca::{Ca, ID, Leaf, uri},
};

fn key() -> PrivateKey {
    PrivateKey::generate(KeyKind::EcdsaP256).unwrap()
}

fn identity(key: PrivateKey, chain: &[&str], roots: &[&str]) -> Result<Identity, Error> {
    let chain = Chain::from_pems(chain.iter().copied()).unwrap();
    Identity::new(key, chain, Bundle::from_pem(&roots.concat()).unwrap())
}

#[test]
fn the_chains_that_istiod_sends_fit() {
    let root = Ca::root("root");
    let other = Ca::root("other root");
    let middle = root.intermediate("middle", (2021, 2030));
    let lower = middle.intermediate("lower", (2022, 2030));
    let (root, other, middle, lower) = (root, other, middle, lower);
    let by = |ca: &Ca| {
        let key = key();
        let leaf = ca.sign(Leaf::of(&key));
        (key, leaf)
    };
    // Issuer, what is sent after the leaf, what is trusted.
    let cases: [(&Ca, &[&str], &[&str]); 9] = [
        (&root, &[], &[&root.pem]),
        (&root, &[&root.pem, &root.pem], &[&root.pem]),
        (&root, &[&root.pem], &[&other.pem, &root.pem]),
        (&middle, &[&middle.pem], &[&root.pem]),
        (&middle, &[&middle.pem, &root.pem], &[&root.pem]),
        (&middle, &[&middle.pem, &root.pem, &other.pem], &[&root.pem, &other.pem]),
        (&lower, &[&lower.pem, &middle.pem, &root.pem], &[&root.pem]),
        (&lower, &[&other.pem, &middle.pem, &lower.pem], &[&root.pem]),
        (&lower, &[&lower.pem, &middle.pem], &[&middle.pem]),
    ];
    for (at, (issuer, issuers, roots)) in cases.into_iter().enumerate() {
        let (key, leaf) = by(issuer);
        let chain = [&[leaf.as_str()], issuers].concat();

        let identity =
            identity(key, &chain, roots).unwrap_or_else(|error| panic!("{at}: {error:?}"));

        assert_eq!(identity.name().to_owned(), ID);
        assert_eq!(identity.not_after(), identity.chain.not_after());
        assert!(identity.valid_at(identity.not_before()));
    }
}

#[test]
fn every_kind_of_key_makes_an_identity() {
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Rsa2048] {
        let root = Ca::root("root");
        let key = PrivateKey::generate(kind).unwrap();
        let leaf = root.sign(Leaf::of(&key));

        identity(key, &[&leaf], &[&root.pem]).unwrap();
    }
}

#[test]
fn a_key_of_somebody_else_does_not_fit() {
    let root = Ca::root("root");
    let leaf = root.sign(Leaf::of(&key()));

    let error = identity(key(), &[&leaf], &[&root.pem]).unwrap_err();

    assert!(matches!(error, Error::KeyMismatch), "{error}");
}

#[test]
fn a_leaf_in_the_wrong_place_does_not_fit() {
    let root = Ca::root("root");
    let key = key();
    let leaf = root.sign(Leaf::of(&key));

    let error = identity(key, &[&root.pem, &leaf], &[&root.pem]).unwrap_err();

    assert!(matches!(error, Error::KeyMismatch), "{error}");
}

#[test]
fn a_chain_that_leads_nowhere_is_refused() {
    let root = Ca::root("root");
    let namesake = Ca::root("root");
    let other = Ca::root("other root");
    let middle = root.intermediate("middle", (2021, 2030));
    // Issuer, what is sent after the leaf, what is trusted.
    let cases: [(&Ca, &[&str], &[&str]); 5] = [
        (&root, &[&root.pem], &[&other.pem]),
        (&root, &[], &[&namesake.pem]),
        (&middle, &[], &[&root.pem]),
        (&middle, &[&root.pem], &[&root.pem]),
        (&middle, &[&middle.pem], &[&namesake.pem, &other.pem]),
    ];
    for (at, (issuer, issuers, roots)) in cases.into_iter().enumerate() {
        let key = key();
        let leaf = issuer.sign(Leaf::of(&key));
        let chain = [&[leaf.as_str()], issuers].concat();

        let error = identity(key, &chain, roots).unwrap_err();

        assert!(matches!(error, Error::Untrusted { .. }), "{at}: {error}");
        let expected = format!("chain to any of the {} trusted roots", roots.len());
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn a_leaf_of_a_leaf_is_refused() {
    let root = Ca::root("root");
    let (key, forged) = (key(), Ca::root("forger"));
    let leaf = forged.sign(Leaf::of(&key));

    let error = identity(key, &[&leaf, &forged.pem], &[&root.pem]).unwrap_err();

    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
}

#[test]
fn an_authority_is_no_workload() {
    let root = Ca::root("root");
    let key = key();
    let is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let leaf = root.sign(Leaf { is_ca, ..Leaf::of(&key) });

    let error = identity(key, &[&leaf], &[&root.pem]).unwrap_err();

    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
}

#[test]
fn a_leaf_without_one_id_is_refused() {
    let root = Ca::root("root");
    for names in [vec![], vec![uri(ID), uri("spiffe://cluster.local/ns/other/sa/x")]] {
        let key = key();
        let leaf = root.sign(Leaf { names, ..Leaf::of(&key) });

        let error = identity(key, &[&leaf], &[&root.pem]).unwrap_err();

        assert!(matches!(error, Error::NoId | Error::ManyIds { count: 2 }), "{error}");
    }
}

/// The verifier wants a time, and the values here have none: any at which all are valid will do.
#[test]
fn windows_that_meet_fit_whatever_the_time_is() {
    // Leaf, issuer, whether they meet.
    let cases = [
        ((2025, 2026), (2020, 2030), true),
        ((1971, 1972), (1970, 1973), true),
        ((2090, 2091), (2080, 2095), true),
        // istiod dates its leaves back by two minutes, be its own certificate younger or not.
        ((2025, 2027), (2026, 2030), true),
        ((2025, 2027), (2020, 2026), true),
        ((2025, 2026), (2026, 2030), true),
        ((2025, 2026), (2027, 2030), false),
        ((2025, 2026), (2020, 2024), false),
        ((2026, 2025), (2020, 2030), false),
    ];
    for (years, issuer, meet) in cases {
        let root = Ca::root("root");
        let middle = root.intermediate("middle", issuer);
        let stray = Ca::root("stray").intermediate("younger than all", (2025, 2026));
        let key = key();
        let leaf = middle.sign(Leaf { years, ..Leaf::of(&key) });

        let identity = identity(key, &[&leaf, &middle.pem, &stray.pem, &root.pem], &[&root.pem]);

        assert_eq!(identity.is_ok(), meet, "leaf {years:?}, issuer {issuer:?}: {identity:?}");
    }
}

#[test]
fn an_identity_does_not_show_its_key() {
    let root = Ca::root("root");
    let key = key();
    let body = key.pem().lines().nth(1).unwrap().to_owned();
    let leaf = root.sign(Leaf::of(&key));

    let shown = format!("{:?}", identity(key, &[&leaf], &[&root.pem]).unwrap());

    assert!(shown.contains("PrivateKey(..)"), "{shown}");
    assert!(!shown.contains(&body), "{shown}");
}

#[test]
fn what_is_brought_fits_its_key_and_may_be_rooted_and_named_otherwise() {
    let (root, other) = (Ca::root("root"), Ca::root("other root"));
    let brought = |leaf: &str, key: PrivateKey| {
        let roots = Bundle::from_pem(&root.pem).unwrap();
        Identity::brought(key, Chain::from_pem(leaf).unwrap(), roots)
    };
    let one = key();
    let named = other.sign(Leaf::of(&one));
    let identity = brought(&named, one).unwrap();
    assert_eq!(identity.spiffe_id().unwrap().to_string(), ID);
    assert!(matches!(identity.rooted(), Err(Error::Untrusted { roots: 1, .. })));

    let one = key();
    let host = SanType::DnsName("vm.example".try_into().unwrap());
    let identity = brought(&root.sign(Leaf { names: vec![host], ..Leaf::of(&one) }), one).unwrap();
    assert_eq!((identity.name(), identity.spiffe_id()), ("vm.example", None));
    assert!(identity.rooted().is_ok());

    assert!(matches!(brought(&named, key()), Err(Error::KeyMismatch)));
}
