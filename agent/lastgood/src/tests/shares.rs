//! Many books, a bounded disk, and Envoy's book.

use super::*;
use crate::PROGRAM;

const LIMIT: u64 = 1 << 20;

fn key(number: usize, kind: &str) -> String {
    format!("vm-{number}.ns~ns.svc.cluster.local spiffe://td/ns/n/sa/s{kind}")
}

/// What is in the directory: how many books, and their bytes.
fn found(directory: &Path) -> (usize, u64) {
    let books: Vec<_> = fs::read_dir(directory.join("lastgood")).unwrap().flatten().collect();
    let logs = books.iter().flat_map(|book| fs::read_dir(book.path()).unwrap().flatten());
    let bytes = logs.map(|log| log.metadata().unwrap().len()).sum();
    (books.len(), bytes)
}

#[tokio::test]
async fn the_books_of_programs_are_small_few_and_never_displace_envoys() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options { limit: LIMIT, ..options(directory.path()) };
    let shelf = Shelf::open(options());
    Push::delta(&[("a", &vec![1; 900 << 10])]).accepted(&shelf.book(KEY).await, "v1").await;
    shelf.closed().await;

    // Programs come first, each with another node, and many of them at once.
    let shelf = Shelf::open(options());
    let mut held = Vec::new();
    for number in 0..20 {
        let book = shelf.book(&key(number, PROGRAM)).await;
        Push::delta(&[("p", &vec![2; 100 << 10])]).accepted(&book, "v1").await;
        Push::delta(&[("q", &vec![2; 100 << 10])]).accepted(&book, "v2").await;
        let kept = kept(&book).await;
        if number < 5 {
            assert_eq!(kept.unwrap().len(), 1, "{number}: more than a program may keep");
        } else if number > 5 {
            assert!(kept.is_none(), "{number}: more than all programs may keep");
        }
        held.push(book);
    }
    assert!(found(directory.path()).1 < LIMIT + LIMIT / 2);
    held.clear();
    for number in 20..30 {
        let book = shelf.book(&key(number, PROGRAM)).await;
        Push::delta(&[("p", b"2")]).accepted(&book, "v1").await;
        assert!(kept(&book).await.is_some());
    }
    let (books, bytes) = found(directory.path());
    assert!(books <= 6 && bytes < LIMIT + LIMIT / 2, "{books} {bytes}");

    let envoy = shelf.book(KEY).await;
    assert!(kept(&envoy).await == Some(state_of(&[("a", &vec![1; 900 << 10])])));
}

#[tokio::test]
async fn envoys_book_has_its_room_whatever_others_have_left() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(Options { limit: LIMIT, ..options(directory.path()) });
    for number in 0..6_u8 {
        let book = shelf.book(&key(number.into(), "")).await;
        let body = vec![number; 900 << 10];
        Push::delta(&[("a", &body)]).accepted(&book, "v1").await;
        assert!(kept(&book).await == Some(state_of(&[("a", &body)])));
        let (_, bytes) = found(directory.path());
        assert!(bytes <= LIMIT + LIMIT / 2, "{bytes}");
    }
}
