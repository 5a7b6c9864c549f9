//! What is answered is what was accepted.

use super::*;

#[tokio::test]
async fn what_envoy_took_is_answered_in_either_flavour_also_by_the_next_process() {
    for push in [Push::delta(&[("a", b"1"), ("b", b"2")]), Push::whole(&[("a", b"1"), ("b", b"2")])]
    {
        let (directory, shelf) = place();
        let book = shelf.book(KEY).await;
        assert!(book.answer(CLUSTER, push.flavour, None, &[], "n").await.is_none());

        push.accepted(&book, "v1").await;

        let expected = state_of(&[("a", b"1"), ("b", b"2")]);
        assert_eq!(kept(&book).await, Some(expected.clone()));
        shelf.closed().await;
        let shelf = Shelf::open(options(directory.path()));
        let book = shelf.book(KEY).await;
        assert_eq!(kept(&book).await, Some(expected));
        let answer = book.answer(CLUSTER, Flavour::Delta, None, &[], "n").await.unwrap();
        assert_eq!((answer.version.as_str(), answer.at), ("v1", start()));
        assert_eq!(answer.names.len(), 2);
    }
}

#[tokio::test]
async fn what_was_refused_or_cut_is_never_answered() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", b"1")]).accepted(&book, "v1").await;

    drop(Push::delta(&[("a", b"bad"), ("b", b"2")]).to(&book, "v2").await);
    let mut draft = book.draft(CLUSTER, Flavour::Delta, false);
    draft.resource(300_000);
    draft.bytes(vec![7; 280_000].into());
    draft.hand_over().await;
    drop(draft);

    let expected = Some(state_of(&[("a", b"1")]));
    assert_eq!(kept(&book).await, expected);
    let size = fs::metadata(log(directory.path())).unwrap().len();
    assert!(size < 1000, "{size}");
    Push::delta(&[("c", b"3")]).accepted(&book, "v3").await;
    let expected = Some(state_of(&[("a", b"1"), ("c", b"3")]));
    assert_eq!(kept(&book).await, expected);
    shelf.closed().await;
    let book = Shelf::open(options(directory.path())).book(KEY).await;
    assert_eq!(kept(&book).await, expected);
}

#[tokio::test]
async fn removals_and_whole_responses_leave_nothing_behind() {
    let (_directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", b"1"), ("b", b"2"), ("c", b"3")]).accepted(&book, "v1").await;

    Push::delta(&[("d", b"4")]).removing(&["a", "unknown"]).accepted(&book, "v2").await;
    let expected = state_of(&[("b", b"2"), ("c", b"3"), ("d", b"4")]);
    assert_eq!(kept(&book).await, Some(expected));

    Push::whole(&[("d", b"4"), ("e", b"5")]).accepted(&book, "v3").await;
    assert_eq!(kept(&book).await, Some(state_of(&[("d", b"4"), ("e", b"5")])));

    Push::whole(&[]).accepted(&book, "v4").await;
    assert_eq!(kept(&book).await, Some(State::new()));
}

#[tokio::test]
async fn a_whole_response_with_what_was_there_writes_only_what_is_new() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    let large = vec![b'x'; 40_000];
    Push::whole(&[("a", &large), ("b", b"2")]).accepted(&book, "v1").await;
    kept(&book).await;
    let before = fs::metadata(log(directory.path())).unwrap().len();

    Push::whole(&[("a", &large), ("b", b"3")]).accepted(&book, "v2").await;

    assert_eq!(kept(&book).await, Some(state_of(&[("a", &large), ("b", b"3")])));
    let after = fs::metadata(log(directory.path())).unwrap().len();
    assert!(after - before < 1000, "{before} {after}");
    shelf.closed().await;
    let book = Shelf::open(options(directory.path())).book(KEY).await;
    assert_eq!(kept(&book).await, Some(state_of(&[("a", &large), ("b", b"3")])));
}

#[tokio::test]
async fn resources_that_are_not_whole_types_are_added_to_what_is_there() {
    let (_directory, shelf) = place();
    let book = shelf.book(KEY).await;
    let push = |resources| Push { whole: false, ..Push::whole(resources) }.of(ENDPOINTS);
    push(&[("a", b"1"), ("b", b"2")]).accepted(&book, "v1").await;

    push(&[("b", b"3")]).accepted(&book, "v2").await;

    let expected = state_of(&[("a", b"1"), ("b", b"3")]);
    assert_eq!(kept_of(&book, ENDPOINTS).await, Some(expected));
    assert_eq!(kept(&book).await, None);
}

#[tokio::test]
async fn drafts_accepted_late_count_in_the_order_in_which_envoy_took_them() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::whole(&[("a", b"1")]).accepted(&book, "v1").await;
    let second = Push::whole(&[("a", b"2"), ("b", b"2")]).to(&book, "v2").await;
    let third = Push::whole(&[("a", b"1"), ("c", b"3")]).to(&book, "v3").await;
    let fourth = Push::whole(&[("a", b"4")]).to(&book, "v4").await;
    assert_eq!(kept(&book).await, Some(state_of(&[("a", b"1")])));

    second.accepted();
    assert_eq!(kept(&book).await, Some(state_of(&[("a", b"2"), ("b", b"2")])));
    third.accepted();
    drop(fourth);

    let expected = Some(state_of(&[("a", b"1"), ("c", b"3")]));
    assert_eq!(kept(&book).await, expected);
    shelf.closed().await;
    let book = Shelf::open(options(directory.path())).book(KEY).await;
    assert_eq!(kept(&book).await, expected);
}

#[tokio::test]
async fn what_is_accepted_while_a_resource_passes_counts_at_once_and_is_written_after_it() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    let first = Push::delta(&[("a", b"1")]).to(&book, "v1").await;
    let bytes = resource(CLUSTER, "big", &value("big", &vec![9; 600_000]));
    let mut draft = book.draft(CLUSTER, Flavour::Delta, false);
    draft.resource(bytes.len());
    draft.bytes(Bytes::copy_from_slice(&bytes[..300_000]));
    draft.hand_over().await;

    first.accepted();
    assert_eq!(kept(&book).await, Some(state_of(&[("a", b"1")])));

    draft.bytes(Bytes::copy_from_slice(&bytes[300_000..]));
    draft.resource_end();
    draft.done("v2".to_owned()).await.accepted();
    let expected = Some(state_of(&[("a", b"1"), ("big", &vec![9; 600_000])]));
    assert_eq!(kept(&book).await, expected);
    shelf.closed().await;
    let book = Shelf::open(options(directory.path())).book(KEY).await;
    assert_eq!(kept(&book).await, expected);
}

#[tokio::test]
async fn an_answer_leaves_out_what_is_held_and_removes_what_is_not_kept() {
    let (_directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", b"1"), ("b", b"2"), ("c", b"3")]).accepted(&book, "v1").await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();

    let wanted = names(&["a", "b", "x", "y"]);
    let held = names(&["b", "y"]);
    let answer = book.answer(CLUSTER, Flavour::Delta, Some(&wanted), &held, "n").await.unwrap();
    assert_eq!(answer.names, ["a"]);
    let (state, removed) = read(Flavour::Delta, &message(answer).await);
    assert_eq!(state, state_of(&[("a", b"1")]));
    assert_eq!(removed, ["x"]);

    // State of the world says all of it again.
    let answer = book.answer(CLUSTER, Flavour::Sotw, Some(&wanted), &held, "n").await.unwrap();
    let (state, removed) = read(Flavour::Sotw, &message(answer).await);
    assert_eq!(state, state_of(&[("a", b"1"), ("b", b"2")]));
    assert!(removed.is_empty());

    book.wanted(CLUSTER, Some(names(&["c"])));
    assert_eq!(kept(&book).await, Some(state_of(&[("c", b"3")])));
    book.wanted(CLUSTER, Some(names(&["*", "c"])));
    assert_eq!(kept(&book).await.unwrap().len(), 3);
}

#[tokio::test]
async fn known_resources_have_names_versions_and_digests() {
    let (_directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", b"1")]).accepted(&book, "v1").await;

    let known = book.known(CLUSTER).await;

    let digest = crate::digest(&value("a", b"1"));
    let expected = crate::Known { name: "a".into(), version: "r1".into(), digest };
    assert_eq!(known, [expected]);
    assert!(book.known(ENDPOINTS).await.is_empty());
}

#[tokio::test]
async fn of_two_books_of_a_key_the_newest_writes_and_other_keys_are_apart() {
    let (_directory, shelf) = place();
    let old = shelf.book(KEY).await;
    Push::delta(&[("a", b"1")]).accepted(&old, "v1").await;
    let pending = Push::delta(&[("a", b"late")]).to(&old, "v2").await;

    let new = shelf.book(KEY).await;
    pending.accepted();
    Push::delta(&[("b", b"later")]).accepted(&old, "v3").await;
    Push::delta(&[("c", b"3")]).accepted(&new, "v4").await;

    let expected = Some(state_of(&[("a", b"1"), ("c", b"3")]));
    assert_eq!(kept(&new).await, expected);
    assert_eq!(kept(&old).await, expected);
    assert_eq!(kept(&shelf.book("another").await).await, None);
}

#[tokio::test]
async fn a_book_is_written_again_when_a_newer_one_is_gone() {
    let (_directory, shelf) = place();
    let old = shelf.book(KEY).await;
    let new = shelf.book(KEY).await;
    Push::delta(&[("a", b"1")]).accepted(&new, "v1").await;
    new.wanted(CLUSTER, Some(vec!["a".to_owned()]));
    drop(new);

    Push::delta(&[("b", b"2")]).accepted(&old, "v2").await;

    assert_eq!(kept(&old).await, Some(state_of(&[("a", b"1"), ("b", b"2")])));
}

#[tokio::test]
async fn a_resource_of_any_size_comes_in_any_pieces() {
    for (size, chunk) in
        [(0, 1), (100, 1), (70_000, 999), (2_000_000, 16_384), (3_000_000, 700_000)]
    {
        for flavour in [Flavour::Sotw, Flavour::Delta] {
            let (_directory, shelf) = place();
            let book = shelf.book(KEY).await;
            let body = vec![0xab; size];
            let push = Push { flavour, chunk, ..Push::delta(&[("some/name", &body), ("b", b"2")]) };

            push.accepted(&book, "v1").await;

            let expected = state_of(&[("some/name", &body), ("b", b"2")]);
            assert_eq!(kept(&book).await, Some(expected), "{size} {chunk} {flavour:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_resource_gives_the_draft_up_and_the_older_state_stays() {
    let (_directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", b"1")]).accepted(&book, "v1").await;

    for bytes in [&b"\x0a\xff"[..], b"\x00", b"\x0b", b"\x12\x03\x0a\x05x"] {
        let mut draft = book.draft(CLUSTER, Flavour::Delta, false);
        draft.resource(bytes.len());
        draft.bytes(Bytes::copy_from_slice(bytes));
        draft.resource_end();
        draft.done("v2".to_owned()).await.accepted();
        assert_eq!(kept(&book).await, Some(state_of(&[("a", b"1")])), "{bytes:x?}");
    }
    let mut draft = book.draft(CLUSTER, Flavour::Delta, false);
    draft.resource(10);
    draft.bytes(Bytes::from_static(b"\x1a\x01x"));
    draft.resource_end();
    draft.done("v2".to_owned()).await.accepted();

    assert_eq!(kept(&book).await, Some(state_of(&[("a", b"1")])));
    let standing = shelf.standing().borrow().clone();
    assert!(standing.trouble.unwrap().contains("no message"));
    assert!(standing.books[KEY][CLUSTER].behind);
    Push::whole(&[("b", b"2")]).accepted(&book, "v3").await;
    kept(&book).await;
    let standing = shelf.standing().borrow().clone();
    assert_eq!(standing.trouble, None);
    assert!(!standing.books[KEY][CLUSTER].behind);
}

#[tokio::test]
async fn books_of_other_nodes_are_kept_but_not_for_ever() {
    let (directory, shelf) = place();
    for number in 0..9 {
        let book = shelf.book(&format!("node {number}")).await;
        Push::delta(&[("a", b"1")]).accepted(&book, "v1").await;
        kept(&book).await;
    }

    let book = shelf.book("the last").await;
    Push::delta(&[("a", b"1")]).accepted(&book, "v1").await;
    kept(&book).await;

    assert_eq!(names_in(&directory.path().join("lastgood")).len(), 5);
}
