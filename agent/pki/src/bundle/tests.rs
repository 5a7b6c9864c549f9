//! Roots as people put them together.

use super::*;
use crate::{
    KeyKind, PrivateKey,
    ca::{Ca, Leaf},
};

const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn several_roots_are_kept_in_order_and_each_once() {
    let (one, two) = (Ca::root("one").pem, Ca::root("two").pem);
    let text = format!("# ours\n{one}\n# theirs\r\n{}{one}", two.replace('\n', "\r\n"));

    let bundle = Bundle::from_pem(&text).unwrap();

    assert_eq!(bundle.len(), 2);
    assert_eq!(bundle.ders().len(), 2);
    assert_eq!(bundle.skipped(), 0);
    assert_eq!(bundle.pem().replace('\r', ""), format!("{one}{two}").replace('\r', ""));
    assert_eq!(Bundle::from_pem(bundle.pem()).unwrap(), bundle);
}

#[test]
fn what_is_no_certificate_is_passed_over_as_long_as_one_is_good() {
    let good = Ca::root("good").pem;
    let endless = "-----BEGIN CERTIFICATE-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let cases = [
        (format!("{BROKEN}{good}"), 1),
        (format!("{good}{BROKEN}{BROKEN}"), 2),
        (format!("{endless}{good}{endless}"), 2),
        (format!("{key}{good}"), 0),
    ];
    for (text, skipped) in cases {
        let bundle = Bundle::from_pem(&text).unwrap();

        assert_eq!((bundle.len(), bundle.skipped()), (1, skipped), "{text}");
    }
}

#[test]
fn a_bundle_without_a_root_is_refused() {
    let cases = [
        ("", "no certificate found"),
        ("hello", "no certificate found"),
        (BROKEN, "no usable root: 1 PEM blocks"),
    ];
    for (text, expected) in cases {
        let error = Bundle::from_pem(text).unwrap_err();

        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn merging_keeps_the_order_and_each_root_once() {
    let [a, b, c] = ["a", "b", "c"].map(|name| Ca::root(name).pem);
    let one = Bundle::from_pem(&format!("{a}{b}{BROKEN}")).unwrap();
    let two = Bundle::from_pem(&format!("{c}{b}{a}")).unwrap();

    let both = one.merge(&two).unwrap();

    assert_eq!(both.pem(), Bundle::from_pem(&format!("{a}{b}{c}")).unwrap().pem());
    assert_eq!(both.skipped(), 1);
    assert_eq!(both.merge(&one).unwrap().ders(), both.ders());
    assert_eq!(one.merge(&one).unwrap().ders(), one.ders());
}

#[test]
fn more_roots_than_anybody_has_are_refused() {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    let root = Ca::root("root");
    let sign = |count| (0..count).map(|_| root.sign(Leaf::of(&key))).collect::<String>();

    let full = Bundle::from_pem(&sign(ROOT_LIMIT)).unwrap();
    let error = Bundle::from_pem(&sign(ROOT_LIMIT + 1)).unwrap_err();
    assert!(matches!(error, Error::TooManyRoots), "{error}");

    let error = full.merge(&Bundle::from_pem(&root.pem).unwrap()).unwrap_err();
    assert!(matches!(error, Error::TooManyRoots), "{error}");
    assert_eq!(full.merge(&full).unwrap().len(), ROOT_LIMIT);
}
