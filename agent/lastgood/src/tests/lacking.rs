//! What Envoy took and the log does not have, until it has it.

use super::*;

fn behind(shelf: &Shelf) -> bool {
    let standing = shelf.standing().borrow().clone();
    let behind = standing.books[KEY][CLUSTER].behind;
    assert_eq!(standing.trouble.is_some(), behind, "{:?}", standing.trouble);
    behind
}

/// A shelf with room for a megabyte, and what is too large for it.
async fn narrow() -> (TempDir, Shelf, Book, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(Options { limit: 1 << 20, ..options(directory.path()) });
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", b"1")]).accepted(&book, "v1").await;
    (directory, shelf, book, vec![1; 2 << 20])
}

#[tokio::test]
async fn trouble_lasts_until_each_resource_that_was_lost_is_kept_or_gone() {
    let (_directory, shelf, book, large) = narrow().await;
    let lost = Push::delta(&[("a", b"2"), ("b", &large), ("c", b"2"), ("d", b"2")]);
    lost.accepted(&book, "v2").await;
    kept(&book).await;
    assert!(behind(&shelf));

    Push::delta(&[("e", b"3")]).accepted(&book, "v3").await;
    assert_eq!(kept(&book).await, Some(state_of(&[("a", b"1"), ("e", b"3")])));
    assert!(behind(&shelf), "what was lost is still lost");

    // As it was is as it is: "a" is taken back to what is kept.
    Push::delta(&[("a", b"1"), ("b", b"small")]).accepted(&book, "v4").await;
    kept(&book).await;
    assert!(behind(&shelf));
    Push::delta(&[("c", b"4")]).removing(&["d"]).accepted(&book, "v5").await;

    let expected = [("a", &b"1"[..]), ("b", b"small"), ("c", b"4"), ("e", b"3")];
    assert_eq!(kept(&book).await, Some(state_of(&expected)));
    assert!(!behind(&shelf));
}

#[tokio::test]
async fn what_is_lost_and_wanted_no_more_is_lacking_no_more() {
    let (_directory, shelf, book, large) = narrow().await;
    Push::delta(&[("b", &large)]).accepted(&book, "v2").await;
    kept(&book).await;
    assert!(behind(&shelf));

    book.wanted(CLUSTER, Some(vec!["a".to_owned()]));
    Push::delta(&[("a", b"3")]).accepted(&book, "v3").await;
    kept(&book).await;

    assert!(!behind(&shelf));
}

#[tokio::test]
async fn what_was_lost_is_lacking_although_something_before_it_is_kept() {
    let (_directory, shelf, book, large) = narrow().await;
    let before = Push::delta(&[("b", b"2")]).to(&book, "v2").await;
    let lost = Push::delta(&[("c", &large)]).to(&book, "v3").await;

    before.accepted();
    lost.accepted();
    kept(&book).await;

    assert!(behind(&shelf));
}

#[tokio::test]
async fn of_what_could_not_be_followed_nobody_knows_so_only_all_of_it_is_enough() {
    let (_directory, shelf, book, _) = narrow().await;
    let mut draft = book.draft(CLUSTER, Flavour::Delta, false);
    draft.resource(4);
    draft.bytes(Bytes::from_static(&[0xff; 4]));
    draft.resource_end();
    draft.done("v2".to_owned()).await.accepted();
    Push::delta(&[("a", b"2"), ("b", b"2")]).accepted(&book, "v3").await;
    kept(&book).await;
    assert!(behind(&shelf));

    Push::whole(&[("a", b"2"), ("b", b"2")]).accepted(&book, "v4").await;

    assert_eq!(kept(&book).await, Some(state_of(&[("a", b"2"), ("b", b"2")])));
    assert!(!behind(&shelf));
}

#[tokio::test]
async fn what_an_older_book_took_meanwhile_is_lacking_when_it_writes_again() {
    let (_directory, shelf) = place();
    let old = shelf.book(KEY).await;
    Push::delta(&[("a", b"1")]).accepted(&old, "v1").await;
    let new = shelf.book(KEY).await;
    Push::delta(&[("b", b"2")]).accepted(&old, "v2").await;
    kept(&new).await;
    drop(new);

    Push::delta(&[("c", b"3")]).accepted(&old, "v3").await;
    kept(&old).await;
    assert!(shelf.standing().borrow().books[KEY][CLUSTER].behind);
    Push::delta(&[("b", b"2")]).accepted(&old, "v4").await;
    kept(&old).await;

    assert!(!shelf.standing().borrow().books[KEY][CLUSTER].behind);
}
