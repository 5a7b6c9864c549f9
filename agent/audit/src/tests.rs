//! The catalogue and the code know the same.

use std::collections::BTreeSet;

use super::*;

const CATALOGUE: &str = include_str!("../../../packaging/hawser.catalog");

#[test]
fn the_catalogue_says_of_every_kind_what_it_means_and_of_nothing_else() {
    let entries: Vec<&str> = CATALOGUE.split("\n-- ").skip(1).collect();
    assert_eq!(entries.len(), ALL.len());
    for (kind, entry) in ALL.iter().zip(entries) {
        let (head, body) = entry.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some(kind.id), "{}", kind.name);
        assert_eq!(lines.next(), Some(format!("Subject: {}", kind.sentence).as_str()));
        assert!(lines.any(|line| line == "Defined-By: hawser"), "{}", kind.name);
        assert!(body.trim().len() > 40, "{} is not explained", kind.name);
        assert!(body.lines().all(|line| line.len() <= 101), "{}", kind.name);
    }
}

#[test]
fn an_id_is_of_one_kind_and_has_the_form_that_journals_want() {
    let ids: BTreeSet<_> = ALL.iter().map(|kind| kind.id).collect();
    let names: BTreeSet<_> = ALL.iter().map(|kind| kind.name).collect();

    assert_eq!((ids.len(), names.len()), (ALL.len(), ALL.len()));
    for id in ids {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        assert!(id.len() == 32 && id.bytes().all(hex), "{id}");
    }
}
