//! What was said is said again, for as long as it holds and a little longer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hawser_dns::Forward;
use hickory_proto::op::Message;
use hickory_proto::op::ResponseCode::{NXDomain, NoError, ServFail};

use crate::client::{A, AAAA, query, read, receive, send, socket};
use crate::hostile::start;
use crate::upstream::{Upstream, with_addresses, with_code};

fn forward() -> Forward {
    Forward { timeout: Duration::from_secs(5), ..Forward::default() }
}

/// Asks, on a clock that a test turns.
async fn ask(packet: &[u8], to: SocketAddr) -> Message {
    let client = socket().await;
    send(&client, packet, to).await;
    let mut answer = [0; 4096];
    let len = client.recv(&mut answer).await.unwrap();
    assert_eq!(answer[..2], packet[..2]);
    read(&answer[..len])
}

fn www() -> Vec<u8> {
    query(1, "www.example", A, None)
}

#[tokio::test(start_paused = true)]
async fn what_was_said_is_said_again_with_the_time_that_is_left() {
    let mut upstream = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = start(&[upstream.address], forward()).await;
    assert_eq!(ask(&www(), proxy.address).await.answers[0].ttl, 60);
    upstream.asked().await;
    tokio::time::advance(Duration::from_secs(20)).await;

    let again = ask(&query(9, "WWW.example", A, None), proxy.address).await;

    assert_eq!(again.answers[0].ttl, 40);
    assert_eq!(again.queries[0].name().to_ascii(), "WWW.example.");
    assert!(!upstream.was_asked());
    assert_eq!((proxy.totals().cached, proxy.totals().upstream), (1, 1));
    let other = ask(&query(9, "www.example", AAAA, None), proxy.address).await;
    assert_eq!(other.metadata.response_code, NoError);
    upstream.asked().await;
    tokio::time::advance(Duration::from_secs(41)).await;
    assert_eq!(ask(&www(), proxy.address).await.answers[0].ttl, 60);
    upstream.asked().await;
    proxy.end().await;
}

#[tokio::test]
async fn without_a_cache_everything_is_asked() {
    let mut upstream = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = start(&[upstream.address], Forward { cache: 0, ..forward() }).await;
    for _ in 0..3 {
        ask(&www(), proxy.address).await;
        upstream.asked().await;
    }
    proxy.end().await;
}

#[tokio::test]
async fn a_hundred_who_ask_are_one_question_outside() {
    let mut upstream = Upstream::mute().await;
    let proxy = start(&[upstream.address], forward()).await;
    let client = socket().await;
    let names = ["www.example", "WWW.example", "wwW.exAMple"];
    for id in 0..100 {
        let packet = query(id, names[usize::from(id) % 3], A, None);
        send(&client, &packet, proxy.address).await;
    }
    let asked = upstream.asked().await;
    while proxy.totals().joined < 99 {
        tokio::task::yield_now().await;
    }
    asked.reply(&with_addresses(&asked.packet, &[[7, 7, 7, 7]], None)).await;
    for _ in 0..100 {
        let answer = receive(&client).await;
        let id = u16::from_be_bytes([answer[0], answer[1]]);
        let message = read(&answer);
        assert_eq!(
            message.queries[0].name().to_ascii().trim_end_matches('.'),
            names[usize::from(id) % 3]
        );
        assert_eq!(message.answers.len(), 1);
    }
    assert!(!upstream.was_asked());
    proxy.end().await;
}

/// A resolver that works until it is told not to.
async fn failing(how: fn(&[u8]) -> Vec<Vec<u8>>) -> (Upstream, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&fails);
    let upstream = Upstream::start(move |asked| {
        if told.load(Ordering::Relaxed) {
            how(&asked.packet)
        } else {
            vec![with_addresses(&asked.packet, &[[7, 7, 7, 7]], None)]
        }
    })
    .await;
    (upstream, fails)
}

#[tokio::test(start_paused = true)]
async fn what_is_past_its_time_is_better_than_an_error_or_silence() {
    for how in [|packet: &[u8]| vec![with_code(packet, ServFail)], |_: &[u8]| Vec::new()] {
        let (mut upstream, fails) = failing(how).await;
        let proxy = start(&[upstream.address], forward()).await;
        ask(&www(), proxy.address).await;
        upstream.asked().await;
        fails.store(true, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(100)).await;

        let begun = tokio::time::Instant::now();
        let stale = ask(&www(), proxy.address).await;

        assert!(begun.elapsed() < Duration::from_secs(2), "nobody waits for long");
        assert_eq!((stale.metadata.response_code, stale.answers[0].ttl), (NoError, 30));
        upstream.asked().await;
        assert_eq!(proxy.totals().stale, 1);
        // The flight ends, and for a while nobody is asked.
        tokio::time::sleep(Duration::from_secs(4)).await;
        while upstream.was_asked() {}
        assert_eq!(ask(&www(), proxy.address).await.answers[0].ttl, 30);
        assert!(!upstream.was_asked());

        fails.store(false, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(ask(&www(), proxy.address).await.answers[0].ttl, 60);
        // After an hour it is over.
        fails.store(true, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(3_661)).await;
        assert_eq!(ask(&www(), proxy.address).await.metadata.response_code, ServFail);
        proxy.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_remembered_for_a_second_only() {
    let mut upstream = Upstream::saying(ServFail).await;
    let proxy = start(&[upstream.address], forward()).await;
    for _ in 0..3 {
        assert_eq!(ask(&www(), proxy.address).await.metadata.response_code, ServFail);
    }
    // Being alone it is asked twice.
    upstream.asked().await;
    upstream.asked().await;
    assert!(!upstream.was_asked());
    tokio::time::advance(Duration::from_secs(1)).await;
    ask(&www(), proxy.address).await;
    upstream.asked().await;
    proxy.end().await;
}

#[tokio::test]
async fn that_a_name_does_not_exist_is_not_kept_unless_the_zone_says_for_how_long() {
    let mut upstream = Upstream::saying(NXDomain).await;
    let proxy = start(&[upstream.address], forward()).await;
    for _ in 0..2 {
        assert_eq!(ask(&www(), proxy.address).await.metadata.response_code, NXDomain);
        upstream.asked().await;
    }
    proxy.end().await;
}
