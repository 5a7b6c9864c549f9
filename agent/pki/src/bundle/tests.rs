//! Roots as people put them together.

use std::time::Duration;

use proptest::{prelude::*, sample::subsequence};

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

/// Roots that end with the years 2030 to 2034, in a mixed order.
fn roots() -> Vec<Root> {
    let ca = Ca::root("root");
    let pem = |end| ca.intermediate(&format!("until {end}"), (2020, end)).pem;
    let text: String = [2032, 2030, 2034, 2031, 2033].map(pem).concat();
    Bundle::from_pem(&text).unwrap().roots().collect()
}

#[test]
fn roots_that_have_expired_are_left_out() {
    let roots = roots();
    let all = Bundle::of(roots.clone(), 7).unwrap();
    let mut ends = all.ends.clone();
    ends.sort_unstable();
    let (second, nano) = (Duration::from_secs(1), Duration::from_nanos(1));
    assert_eq!(all.first_expiry(), Some(ends[0]));

    for now in [SystemTime::UNIX_EPOCH, ends[0], ends[0] + second - nano] {
        assert_eq!(all.unexpired_at(now).as_ref(), Some(&all), "{now:?}");
    }
    for (gone, &end) in ends.iter().enumerate().take(4) {
        let left = all.unexpired_at(end + second).unwrap();

        assert_eq!(left.len(), 4 - gone);
        assert_eq!(left.first_expiry(), Some(ends[gone + 1]));
        assert_eq!(
            left,
            Bundle::of(roots.iter().filter(|root| root.end > end).cloned(), 7).unwrap()
        );
    }
    assert_eq!(all.unexpired_at(ends[4] + second), None);
}

#[test]
fn bundles_are_added_and_taken_away_as_sets_that_keep_their_order() {
    let roots = roots();
    let picks = || subsequence((0..5).collect::<Vec<usize>>(), 1..=5).prop_shuffle();
    let bundle = |picks: &[usize]| Bundle::of(picks.iter().map(|&at| roots[at].clone()), 0);
    let minus = |of: &[usize], other: &[usize]| -> Vec<usize> {
        of.iter().copied().filter(|at| !other.contains(at)).collect()
    };

    proptest!(|(one in picks(), two in picks())| {
        let [a, b] = [&one, &two].map(|picks| bundle(picks).unwrap());

        prop_assert_eq!(a.without(&b), bundle(&minus(&one, &two)));
        let both = [one.clone(), minus(&two, &one)].concat();
        prop_assert_eq!(a.merge(&b).unwrap(), bundle(&both).unwrap());
        let new = a.merge(&b).unwrap().without(&a);
        prop_assert_eq!(new, b.without(&a));
        prop_assert_eq!(Bundle::from_pem(a.pem()).unwrap(), a);
    });
}
