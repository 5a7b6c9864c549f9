//! Many changes, a small file.

use super::*;

#[tokio::test]
async fn a_thousand_resources_changing_all_the_time_leave_the_log_bounded() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    let names: Vec<String> = (0..1000).map(|number| format!("cluster-{number}")).collect();
    let all: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), &b"the first body of them"[..])).collect();
    Push::delta(&all).accepted(&book, "v0").await;
    kept(&book).await;
    let live = fs::metadata(log(directory.path())).unwrap().len();

    let mut largest = 0;
    for round in 0..60_u32 {
        let body = round.to_le_bytes().repeat(6);
        let changed: Vec<(&str, &[u8])> =
            names.iter().map(|name| (name.as_str(), &body[..])).collect();
        Push::delta(&changed).accepted(&book, "v").await;
        book.known(CLUSTER).await;
        largest = largest.max(fs::metadata(log(directory.path())).unwrap().len());
    }

    assert!(largest < 6 * live, "{live} {largest}");
    assert_eq!(kept(&book).await.unwrap().len(), 1000);
    shelf.closed().await;
    let book = Shelf::open(options(directory.path())).book(KEY).await;
    let last = 59_u32.to_le_bytes().repeat(6);
    let state = kept(&book).await.unwrap();
    assert!(names.iter().all(|name| state[name] == value(name, &last)));
}

#[tokio::test]
async fn a_response_beyond_the_limit_is_given_up_and_told_and_the_older_state_stays() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(Options { limit: 1 << 20, ..options(directory.path()) });
    let book = shelf.book(KEY).await;
    Push::whole(&[("a", b"1")]).accepted(&book, "v1").await;

    Push::whole(&[("a", &vec![1; 2 << 20])]).accepted(&book, "v2").await;

    assert_eq!(kept(&book).await, Some(state_of(&[("a", b"1")])));
    let standing = shelf.standing().borrow().clone();
    assert!(standing.trouble.unwrap().contains("more than 1048576 bytes"));
    assert!(standing.books[KEY][CLUSTER].behind);
    assert!(standing.bytes < 1000);
    for round in 0..20 {
        Push::whole(&[("a", &vec![round; 300_000])]).accepted(&book, "v").await;
        let known = book.known(CLUSTER).await;
        assert_eq!(known[0].digest, crate::digest(&value("a", &vec![round; 300_000])));
    }
    assert_eq!(shelf.standing().borrow().trouble, None);
}

#[tokio::test]
async fn a_resource_that_is_no_longer_wanted_is_gone_after_the_next_compaction() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", &[1; 3000]), ("b", b"2")]).accepted(&book, "v").await;
    book.wanted(CLUSTER, Some(vec!["b".to_owned()]));
    for round in 0..200_u8 {
        Push::delta(&[("b", &[round; 200])]).accepted(&book, "v").await;
        book.known(CLUSTER).await;
    }
    shelf.closed().await;

    let book = Shelf::open(options(directory.path())).book(KEY).await;

    assert_eq!(kept(&book).await, Some(state_of(&[("b", &[199; 200])])));
}

#[tokio::test]
async fn a_resource_that_came_after_the_others_were_no_longer_wanted_stays() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", &[1; 3000]), ("b", b"2")]).accepted(&book, "v").await;
    book.wanted(CLUSTER, Some(vec!["b".to_owned()]));
    Push::delta(&[("c", b"3")]).accepted(&book, "v").await;
    for round in 0..200_u8 {
        Push::delta(&[("b", &[round; 200])]).accepted(&book, "v").await;
        book.known(CLUSTER).await;
    }
    shelf.closed().await;

    let book = Shelf::open(options(directory.path())).book(KEY).await;

    assert_eq!(kept(&book).await, Some(state_of(&[("b", &[199; 200]), ("c", b"3")])));
}

#[tokio::test]
async fn what_comes_again_as_it_was_is_wanted_again() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", &[1; 3000]), ("b", b"2")]).accepted(&book, "v").await;
    book.wanted(CLUSTER, Some(vec!["b".to_owned()]));
    Push::delta(&[("a", &[1; 3000])]).accepted(&book, "v").await;
    for round in 0..200_u8 {
        Push::delta(&[("b", &[round; 200])]).accepted(&book, "v").await;
        book.known(CLUSTER).await;
    }
    shelf.closed().await;

    let book = Shelf::open(options(directory.path())).book(KEY).await;

    assert_eq!(kept(&book).await, Some(state_of(&[("a", &[1; 3000]), ("b", &[199; 200])])));
}
