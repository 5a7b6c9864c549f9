//! Whose lists they are.

use super::*;
use crate::tests::client::Mesh;

#[test]
fn roots_without_a_list_are_counted() {
    let (one, two) = (Mesh::named("one"), Mesh::named("two"));
    let both = one.roots().merge(&two.roots()).unwrap();
    let lists = Revocations::from_pem(&one.crl(1)).unwrap();
    assert_eq!((lists.without_list(&one.roots()), lists.concern(&one.roots())), (0, true));
    assert_eq!((lists.without_list(&two.roots()), lists.concern(&two.roots())), (1, false));
    assert_eq!((lists.without_list(&both), lists.concern(&both)), (1, true));

    let lists = Revocations::from_pem(&format!("{}{}", two.crl(1), one.crl(2))).unwrap();
    assert_eq!(lists.without_list(&both), 0);
}

#[test]
fn a_root_that_follows_another_under_the_same_name_has_no_list_yet() {
    let (old, new) = (Mesh::named("root"), Mesh::named("root"));
    let lists = Revocations::from_pem(&old.crl(1)).unwrap();
    assert!(lists.concern(&old.roots()));
    assert!(!lists.concern(&new.roots()));
}
