//! Pieces in any order, good and bad.

use std::time::Duration;

use hawser_harness::ca::{Shape, TestCa, spiffe_id};
use hawser_proto::envoy::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, TlsCertificate,
};

use super::*;

fn bytes(text: &str) -> Option<DataSource> {
    let specifier = Some(Specifier::InlineBytes(text.as_bytes().to_vec()));
    Some(DataSource { specifier, ..DataSource::default() })
}

fn string(text: &str) -> Option<DataSource> {
    let specifier = Some(Specifier::InlineString(text.to_owned()));
    Some(DataSource { specifier, ..DataSource::default() })
}

fn secret(name: &str, kind: Type) -> Vec<u8> {
    Secret { name: name.to_owned(), r#type: Some(kind) }.encode_to_vec()
}

fn pair(key: Option<DataSource>, chain: Option<DataSource>) -> Type {
    let both =
        TlsCertificate { private_key: key, certificate_chain: chain, ..TlsCertificate::default() };
    Type::TlsCertificate(both)
}

fn roots(roots: Option<DataSource>) -> Type {
    let context = CertificateValidationContext {
        trusted_ca: roots,
        ..CertificateValidationContext::default()
    };
    Type::ValidationContext(context)
}

fn issued(ca: &TestCa) -> Type {
    let pair_of_ca = ca.workload(&spiffe_id("ns", "vm"), Duration::from_secs(3600)).unwrap();
    pair(bytes(&pair_of_ca.key), bytes(&pair_of_ca.chain))
}

#[test]
fn the_pieces_make_an_identity_in_any_order() {
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let pieces = [(DEFAULT, issued(&ca)), (ROOTCA, roots(string(&ca.root_pem())))];
    for (first, last) in [(0, 1), (1, 0)] {
        let mut set = Set::default();
        assert_eq!(set.wanted(), Some("anything"));
        let (name, piece) = &pieces[first];
        set.take(type_url::SECRET, secret(name, piece.clone())).unwrap();
        assert_eq!(set.wanted(), Some(pieces[last].0));
        assert!(set.identity().is_none());
        let (name, piece) = &pieces[last];
        set.take(type_url::SECRET, secret(name, piece.clone())).unwrap();

        assert_eq!(set.wanted(), None);
        let identity = set.identity().unwrap().unwrap();
        assert_eq!(identity.name().to_owned(), spiffe_id("ns", "vm"));
    }
}

#[test]
fn half_of_a_change_does_not_fit() {
    let (old, new) = (TestCa::new(Shape::SelfSigned), TestCa::new(Shape::SelfSigned));
    let (old, new) = (old.unwrap(), new.unwrap());
    let mut set = Set::default();
    set.take(type_url::SECRET, secret(DEFAULT, issued(&old))).unwrap();
    set.take(type_url::SECRET, secret(ROOTCA, roots(bytes(&old.root_pem())))).unwrap();

    set.take(type_url::SECRET, secret(DEFAULT, issued(&new))).unwrap();
    assert!(set.identity().unwrap().unwrap().rooted().is_err());
    set.take(type_url::SECRET, secret(ROOTCA, roots(bytes(&new.root_pem())))).unwrap();
    assert!(set.identity().unwrap().is_ok());
}

#[test]
fn what_cannot_be_used_is_named_and_leaves_what_there_was() {
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let mut set = Set::default();
    set.take(type_url::SECRET, secret(DEFAULT, issued(&ca))).unwrap();
    set.take(type_url::SECRET, secret(ROOTCA, roots(bytes(&ca.root_pem())))).unwrap();
    let path = Some(DataSource {
        specifier: Some(Specifier::Filename("/etc/shadow".to_owned())),
        ..DataSource::default()
    });
    let not_text = Some(DataSource {
        specifier: Some(Specifier::InlineBytes(vec![0xff])),
        ..DataSource::default()
    });
    let table = [
        (DEFAULT, pair(bytes("no key"), bytes(&ca.root_pem())), "no private key found"),
        (DEFAULT, pair(None, None), "it is empty"),
        (DEFAULT, pair(path.clone(), path.clone()), "not given inline"),
        (DEFAULT, roots(bytes(&ca.root_pem())), "of another kind"),
        (ROOTCA, roots(path), "not given inline"),
        (ROOTCA, roots(not_text), "not text"),
        (ROOTCA, roots(bytes("nothing")), "no certificate found"),
    ];
    for (name, kind, expected) in table {
        let unusable = set.take(type_url::SECRET, secret(name, kind)).unwrap_err();
        assert_eq!(unusable.name, name);
        let said = unusable.source.to_string();
        assert!(said.contains(expected), "{said}");
        assert!(set.identity().unwrap().is_ok());
    }
}

#[test]
fn what_was_not_asked_for_is_passed_over_and_what_is_no_secret_is_not() {
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let mut set = Set::default();
    set.take(type_url::SECRET, secret("file-root:/x", roots(bytes(&ca.root_pem())))).unwrap();
    assert_eq!(set.wanted(), Some("anything"));

    let other = set.take(type_url::CLUSTER, Vec::new()).unwrap_err();
    assert!(other.source.to_string().contains("it is of type"));
    assert_eq!(set.take(type_url::SECRET, vec![0xff; 9]).unwrap_err().name, "a secret");
    assert!(!format!("{set:?}").contains("BEGIN"));
}
