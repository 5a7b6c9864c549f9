//! More than is welcome: who is served, and who has to wait.

use std::collections::VecDeque;
use std::time::Duration;

use hawser_dns::Sockets;
use hickory_proto::op::ResponseCode::{NXDomain, NoError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{
    A, by_tcp, by_udp, lines, query, read, read_frame, receive, resolve, send, socket, write_frame,
};
use crate::fixture::{Proxy, external, mesh, names, options};
use crate::upstream::{Upstream, with_code};

fn id(answer: &[u8]) -> u16 {
    u16::from_be_bytes([answer[0], answer[1]])
}

#[tokio::test]
async fn a_crowd_is_answered_in_batches_and_nobody_twice() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
        let proxy = Proxy::start_on(address, Vec::new(), Duration::from_secs(20)).await;
        proxy.publish(mesh()).await;
        let mut to = proxy.address;
        if to.ip().is_unspecified() {
            to.set_ip("127.0.0.1".parse().unwrap());
        }
        let own = if to.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
        let client = tokio::net::UdpSocket::bind(own).await.unwrap();
        // One, fewer than a batch, as many, more, and many more.
        for crowd in [1_u16, 2, 7, 8, 9, 63, 64, 65, 150] {
            for number in 0..crowd {
                send(&client, &query(number, "productpage", A, None), to).await;
            }
            for number in 0..crowd {
                let answer = receive(&client).await;
                assert_eq!(id(&answer), number, "{crowd} at {address}");
                assert_eq!(lines(&read(&answer)), ["productpage. A 9.9.9.9"]);
            }
        }
        assert_eq!(proxy.totals().queries, 1 + 2 + 7 + 8 + 9 + 63 + 64 + 65 + 150);
        assert_eq!(proxy.totals().answered, proxy.totals().queries);
        proxy.end().await;
    }
}

#[tokio::test]
async fn a_batch_holds_what_is_answered_relayed_refused_and_dropped() {
    let upstream = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let client = socket().await;
    for round in 0..8 {
        let at = round * 4;
        send(&client, &query(at, "productpage", A, None), proxy.address).await;
        send(&client, &query(at + 1, &format!("a{round}.example"), A, None), proxy.address).await;
        send(&client, b"scrap", proxy.address).await;
        let mut notify = query(at + 2, "productpage", A, None);
        notify[2] |= 4 << 3;
        send(&client, &notify, proxy.address).await;
    }
    let mut ids = Vec::new();
    for _ in 0..24 {
        ids.push(id(&receive(&client).await));
    }
    ids.sort_unstable();
    let expected: Vec<u16> = (0..32).filter(|id| id % 4 != 3).collect();
    assert_eq!(ids, expected);
    proxy.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_swap_tables_under_load_and_no_answer_is_wrong_or_missing() {
    let sockets = Sockets::open(&["127.0.0.1:0".parse().unwrap()], 3).unwrap();
    let upstreams = hawser_dns::Upstreams::Fixed(Vec::new());
    let proxy = Proxy::start_by(sockets, options(upstreams, Duration::from_secs(20))).await;
    let tables = [["10.0.0.1", "10.0.0.2"], ["10.9.9.1", "10.9.9.2"]];
    let table = |round: usize| names(vec![("a.example", external(&tables[round % 2]))]);
    proxy.publish(table(0)).await;
    let publish = async {
        for round in 1..50 {
            proxy.publish(table(round)).await;
        }
    };
    let ask = async {
        let expected = tables.map(|ips| ips.map(|ip| format!("a.example. A {ip}")));
        loop {
            let client = socket().await;
            for _ in 0..20 {
                send(&client, &query(1, "a.example", A, None), proxy.address).await;
            }
            for _ in 0..20 {
                let mut found = lines(&read(&receive(&client).await));
                found.sort();
                assert!(expected.iter().any(|expected| *expected == *found), "{found:?}");
            }
        }
    };
    tokio::select! {
        () = publish => {}
        () = ask => {}
    }
    proxy.end().await;
}

#[tokio::test]
async fn ten_times_too_many_questions_for_others_leave_the_mesh_answered() {
    const ROOM: usize = 64;
    let mut silent = Upstream::mute().await;
    let upstreams = hawser_dns::Upstreams::Fixed(vec![silent.address.into()]);
    let mut told = options(upstreams, Duration::from_secs(20));
    told.forward.in_flight = ROOM;
    let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let proxy = Proxy::start_by(sockets, told).await;
    proxy.publish(mesh()).await;
    let (crowd, honest) = (socket().await, socket().await);
    let mut most = 0;
    for round in 0..1000_u16 {
        for number in 0..10 {
            let name = format!("n{number}.r{round}.example");
            send(&crowd, &query(number, &name, A, None), proxy.address).await;
        }
        send(&honest, &query(round, "productpage", A, None), proxy.address).await;
        assert_eq!(id(&receive(&honest).await), round);
        most = most.max(proxy.totals().in_flight);
    }
    let totals = proxy.totals();
    assert!(totals.shed > 9_000, "{totals:?}");
    assert!(most <= 4 * ROOM as u64, "{most} under way");

    // Those who were turned away are in nobody's way.
    while silent.was_asked() {}
    let answer = read(&by_udp(&query(1, "productpage", A, None), proxy.address).await);
    assert_eq!(lines(&answer), ["productpage. A 9.9.9.9"]);
}

#[tokio::test]
async fn the_idlest_connection_gives_way_when_all_places_are_taken() {
    let proxy = Proxy::start(Vec::new()).await;
    let mut open = VecDeque::new();
    for number in 0..64 {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        write_frame(&mut stream, &query(number, "productpage", A, None)).await;
        read_frame(&mut stream).await;
        open.push_back(stream);
    }
    // The first has just asked again: the second has been idle for longest.
    write_frame(&mut open[0], &query(99, "productpage", A, None)).await;
    read_frame(&mut open[0]).await;

    assert_eq!(by_tcp(&query(2, "productpage", A, None), proxy.address).await[1], 2);

    assert_eq!(open[1].read(&mut [0; 16]).await.unwrap(), 0);
    write_frame(&mut open[0], &query(3, "productpage", A, None)).await;
    assert_eq!(id(&read_frame(&mut open[0]).await), 3);
    assert_eq!(proxy.totals().connections_refused, 1);
    drop(open);
    proxy.end().await;
}

#[tokio::test]
async fn who_waits_for_an_answer_keeps_his_place_and_the_next_waits() {
    let mut upstream = Upstream::mute().await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let mut open = Vec::new();
    for number in 0..64 {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let name = format!("n{number}.example");
        write_frame(&mut stream, &query(number, &name, A, None)).await;
        open.push((stream, upstream.asked().await));
    }
    let mut late = TcpStream::connect(proxy.address).await.unwrap();
    write_frame(&mut late, &query(2, "productpage", A, None)).await;
    assert_eq!(resolve("productpage", proxy.address).await.0, NoError);
    assert_eq!(proxy.totals().queries, 65, "64 streams, one datagram");

    let (mut served, asked) = open.pop().unwrap();
    asked.reply(&with_code(&asked.packet, NXDomain)).await;

    assert_eq!(id(&read_frame(&mut served).await), 63);
    assert_eq!(id(&read_frame(&mut late).await), 2);
    assert_eq!(proxy.totals().connections_refused, 1);
}

#[tokio::test]
async fn thousands_of_connections_that_say_nothing_keep_nobody_out() {
    let proxy = Proxy::start(Vec::new()).await;
    let mut silent = VecDeque::new();
    for number in 0..5000_u16 {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&[0]).await.unwrap();
        }
        silent.push_back(stream);
        // As many as there may be open files.
        if silent.len() > 300 {
            silent.pop_front();
        }
        if number % 500 == 499 {
            assert_eq!(resolve("productpage", proxy.address).await.0, NoError);
            let answer = by_tcp(&query(number, "productpage", A, None), proxy.address).await;
            assert_eq!(id(&answer), number);
            assert!(proxy.totals().connections <= 65);
        }
    }
    drop(silent);
    proxy.end().await;
}
