//! A disk that hangs, with a clock of its own.

use std::sync::mpsc;

use tokio::time::Instant;

use super::*;
use crate::order::{Line, Order, Ticket};

/// A book whose orders nobody follows.
fn hanging() -> (Line, Book, mpsc::Receiver<Order>) {
    let (line, orders) = Line::new();
    let ticket = Ticket { key: KEY.into(), generation: 1, alive: Default::default() };
    let book = Book::new(line.clone(), ticket, Clock::manual(start()).0);
    (line, book, orders)
}

async fn took(push: &Push<'_>, book: &Book) -> Duration {
    let begun = Instant::now();
    drop(push.to(book, "v").await);
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_waited_for_once_until_there_is_room_again() {
    let (line, book, orders) = hanging();
    let (small, large) = (Push::delta(&[("a", b"1")]), vec![0; 900 << 10]);
    let large = Push::delta(&[("a", &large)]);

    assert_eq!(took(&large, &book).await, Duration::ZERO);
    assert_eq!(took(&large, &book).await, Duration::from_secs(1));
    // What is small finds room; that says nothing of the disk.
    for _ in 0..10 {
        assert_eq!(took(&small, &book).await, Duration::ZERO);
        assert_eq!(took(&large, &book).await, Duration::ZERO);
    }

    // It moves on.
    drop(orders.try_iter().collect::<Vec<_>>());
    line.space.given_back();
    assert_eq!(took(&large, &book).await, Duration::ZERO);
    assert_eq!(took(&large, &book).await, Duration::from_secs(1));
}
