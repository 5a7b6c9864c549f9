//! What is read when, and what is said of it.

use std::path::Path;

use super::*;
use crate::{file::Content, tests::client::Mesh};

fn secret(path: &str) -> Source {
    Source::Secret(File::Roots(path.into()))
}

fn lists(path: &str) -> Source {
    Source::Revocations(path.into())
}

fn held(version: &str) -> Result<Good, Unfit> {
    let content = Content::Roots(Mesh::new().roots());
    Ok(Good::Secret(Arc::new(Held { content, version: version.to_owned() })))
}

fn absent() -> Result<Good, Unfit> {
    Err(Unfit::Absent { path: Path::new("/a").to_owned() })
}

fn denied() -> Result<Good, Unfit> {
    Err(Unfit::Denied { path: Path::new("/a").to_owned() })
}

fn wanting(sources: &[Source]) -> Shelf {
    let mut shelf = Shelf::default();
    shelf.want(&sources.iter().cloned().collect());
    shelf
}

fn wrong(reason: &str, kept: bool) -> Outcome {
    Outcome::Wrong { reason: reason.to_owned(), kept, new: true }
}

fn still_wrong(reason: &str, kept: bool) -> Outcome {
    Outcome::Wrong { reason: reason.to_owned(), kept, new: false }
}

/// Takes what was read, and says what is to be said.
fn take_and_tell(shelf: &mut Shelf, source: &Source, read: Result<Good, Unfit>) -> (Outcome, bool) {
    let outcome = shelf.take(source, read);
    let mut news = false;
    if let Outcome::Wrong { reason, .. } = &outcome {
        news = shelf.is_news(source, reason);
        shelf.told(source, reason.clone());
    }
    (outcome, news)
}

#[test]
fn each_is_read_once_when_it_is_wanted_and_again_when_something_changed() {
    let (a, b) = (secret("/a"), secret("/b"));
    let mut shelf = wanting(&[a.clone(), b.clone()]);
    assert_eq!(shelf.paths(), [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!((shelf.next_due(), shelf.next_due()), (Some(a.clone()), Some(b.clone())));
    assert_eq!(shelf.next_due(), None);

    // A change while it is read: once more, but not at the same time.
    shelf.look_again();
    shelf.look_again();
    assert_eq!(shelf.next_due(), None);
    assert_eq!(shelf.take(&a, held("1")), Outcome::Changed { mended: false });
    assert_eq!(shelf.next_due(), Some(a.clone()));
    assert_eq!(shelf.next_due(), None);
    assert_eq!(shelf.take(&a, held("1")), Outcome::Same);
    assert_eq!(shelf.take(&b, held("1")), Outcome::Changed { mended: false });
    assert_eq!(shelf.next_due(), Some(b));
    assert_eq!(shelf.next_due(), None);
}

#[test]
fn what_is_wrong_is_said_once_and_its_end_too() {
    let a = secret("/a");
    let mut shelf = wanting(std::slice::from_ref(&a));
    let denial = "cannot read /a: the user of the agent must be allowed to";
    let steps = [
        (absent(), wrong("/a is not there", false), true),
        (absent(), still_wrong("/a is not there", false), false),
        (denied(), wrong(denial, false), true),
        (held("1"), Outcome::Changed { mended: true }, false),
        (held("2"), Outcome::Changed { mended: false }, false),
        (absent(), wrong("/a is not there", true), true),
        (absent(), still_wrong("/a is not there", true), false),
        (held("2"), Outcome::Mended, false),
        (held("2"), Outcome::Same, false),
    ];
    for (index, (read, outcome, news)) in steps.into_iter().enumerate() {
        shelf.look_again();
        assert_eq!(shelf.next_due(), Some(a.clone()));
        assert_eq!(take_and_tell(&mut shelf, &a, read), (outcome, news), "step {index}");
    }
}

#[test]
fn what_could_not_be_said_is_still_to_be_said() {
    let a = secret("/a");
    let mut shelf = wanting(std::slice::from_ref(&a));
    shelf.take(&a, absent());
    shelf.take(&a, absent());
    assert!(shelf.is_news(&a, "/a is not there"));
    assert_eq!(shelf.take(&a, held("1")), Outcome::Changed { mended: false }, "nobody knew");
}

#[test]
fn it_is_not_said_again_to_who_comes_back_every_second() {
    let a = secret("/a");
    let mut shelf = wanting(std::slice::from_ref(&a));
    for index in 0..3 {
        assert_eq!(shelf.next_due(), Some(a.clone()));
        let (_, news) = take_and_tell(&mut shelf, &a, absent());
        assert_eq!(news, index == 0);
        shelf.want(&BTreeSet::new());
        assert!(!shelf.any_wrong() && shelf.paths().is_empty());
        shelf.want(&[a.clone()].into());
    }
    for index in 0..=MOST_TOLD {
        shelf.told(&secret(&format!("/{index}")), "gone".to_owned());
    }
    assert_eq!(shelf.told.len(), MOST_TOLD);
}

#[test]
fn only_what_is_wrong_is_looked_at_for_no_reason() {
    let (a, b) = (secret("/a"), secret("/b"));
    let mut shelf = wanting(&[a.clone(), b.clone()]);
    shelf.next_due();
    shelf.next_due();
    shelf.take(&a, held("1"));
    assert!(!shelf.any_wrong());
    shelf.take(&b, denied());
    assert!(shelf.any_wrong());
    shelf.look_again_where_wrong();
    assert_eq!((shelf.next_due(), shelf.next_due()), (Some(b.clone()), None));
    shelf.take(&b, held("1"));
    assert!(!shelf.any_wrong());
}

#[test]
fn what_is_not_wanted_any_more_is_forgotten_but_not_read_twice_at_once() {
    let a = secret("/a");
    let mut shelf = wanting(std::slice::from_ref(&a));
    shelf.next_due();
    shelf.take(&a, held("1"));
    assert_eq!(shelf.good().count(), 1);
    shelf.look_again();
    shelf.next_due();

    shelf.want(&BTreeSet::new());
    assert_eq!(shelf.good().count(), 0);
    shelf.want(&[a.clone()].into());
    assert_eq!(shelf.next_due(), None, "it is being read still");
    assert_eq!(shelf.take(&a, held("1")), Outcome::Changed { mended: false });
    assert_eq!(shelf.next_due(), Some(a.clone()), "and perhaps too early");

    shelf.want(&BTreeSet::new());
    assert_eq!(shelf.take(&a, held("1")), Outcome::Same);
    assert!(shelf.slots.is_empty());
    assert_eq!(shelf.take(&a, held("1")), Outcome::Same);
}

#[test]
fn revocation_lists_go_with_their_file_and_with_nothing_else() {
    let crl = lists("/crl");
    let mut shelf = wanting(std::slice::from_ref(&crl));
    let read = |serial| {
        let lists = Revocations::from_pem(&Mesh::new().crl(serial)).unwrap();
        Ok(Good::Revocations(Arc::new(lists)))
    };
    let denial = "cannot read /a: the user of the agent must be allowed to";
    let steps = [
        (absent(), Outcome::Same, 0),
        (read(1), Outcome::Changed { mended: false }, 1),
        (denied(), wrong(denial, true), 1),
        (absent(), Outcome::Gone, 0),
        (absent(), Outcome::Same, 0),
        (denied(), wrong(denial, false), 0),
        (read(2), Outcome::Changed { mended: true }, 1),
    ];
    for (index, (read, outcome, good)) in steps.into_iter().enumerate() {
        assert_eq!(take_and_tell(&mut shelf, &crl, read).0, outcome, "step {index}");
        assert_eq!(shelf.good().count(), good, "step {index}");
    }
}
