//! Rotations as a sequence of answers.

use hawser_harness::ca::{Shape, TestCa};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn root() -> Bundle {
    Bundle::from_pem(&TestCa::new(Shape::SelfSigned).unwrap().root_pem()).unwrap()
}

fn day(number: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + number * DAY
}

fn both(one: &Bundle, other: &Bundle) -> Bundle {
    one.merge(other).unwrap()
}

#[test]
fn a_root_that_goes_is_believed_for_one_more_lifetime() {
    let (old, new) = (root(), root());
    let trust = Trust::new(old.clone(), Vec::new());

    let trust = trust.after(&new, day(10), 2 * DAY);
    assert_eq!(trust.learned().pem(), both(&new, &old).pem());
    let trust = trust.after(&new, day(11), 2 * DAY);
    assert_eq!(trust.learned().pem(), both(&new, &old).pem());
    let trust = trust.after(&new, day(12), 2 * DAY);
    assert_eq!(trust.learned().pem(), new.pem());
}

#[test]
fn a_rotation_that_trusts_both_for_a_while_retires_the_old_one_after_it() {
    let (old, new) = (root(), root());
    let trust = Trust::new(old.clone(), Vec::new()).after(&both(&new, &old), day(1), DAY);
    assert!(trust.retired().is_empty());

    let trust = trust.after(&new, day(2), DAY);

    assert!(same(&trust.learned(), &both(&old, &new)));
    assert_eq!(trust.retired()[0].until, day(3));
}

#[test]
fn a_root_that_comes_back_is_not_retired_any_more() {
    let (one, other) = (root(), root());
    let trust = Trust::new(one.clone(), Vec::new()).after(&other, day(1), 9 * DAY);

    let trust = trust.after(&both(&other, &one), day(2), 9 * DAY);

    assert!(trust.retired().is_empty());
    assert_eq!(trust.learned().len(), 2);
}

#[test]
fn the_same_answer_changes_nothing() {
    let root = root();
    let trust = Trust::new(root.clone(), Vec::new());
    assert_eq!(trust.after(&root, day(1), DAY), trust);
}

#[test]
fn a_wrong_time_keeps_no_root_for_ever() {
    let (old, new) = (root(), root());
    let trust = Trust::new(old, Vec::new()).after(&new, day(20_000), DAY);

    let trust = trust.after(&new, day(10), DAY);
    assert_eq!(trust.retired()[0].until, day(11));
    assert_eq!(trust.after(&new, day(11), DAY).learned().pem(), new.pem());
}

#[test]
fn of_an_authority_that_has_a_new_root_each_time_the_last_are_kept() {
    let mut trust = Trust::new(root(), Vec::new());
    for number in 0..12 {
        trust = trust.after(&root(), day(number), 100 * DAY);
    }
    assert_eq!(trust.learned().len(), 1 + MOST_RETIRED);
}

#[test]
fn bundles_are_the_same_in_any_order() {
    let (one, other) = (root(), root());
    assert!(same(&both(&one, &other), &both(&other, &one)));
    assert!(!same(&one, &other));
    assert!(!same(&one, &both(&one, &other)));
    assert_eq!(joined(&one, None), one);
}
