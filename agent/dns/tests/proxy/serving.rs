//! The sockets: who is heard, for how long, and how it ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hawser_dns::answer::Transport;
use hawser_dns::{Error, Sockets};
use hickory_proto::op::ResponseCode::{FormErr, NXDomain, NoError, NotImp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::client::{
    A, ask, by_tcp, by_udp, lines, query, read, read_frame, receive, resolve, send, socket,
    write_frame,
};
use crate::fixture::{Proxy, external, mesh, names};
use crate::upstream::{Upstream, with_addresses, with_code};

const LONG: Duration = Duration::from_secs(600);

fn id(answer: &[u8]) -> u16 {
    u16::from_be_bytes([answer[0], answer[1]])
}

#[test]
fn one_port_serves_both_transports() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let addresses = Sockets::bind(&[any, any, "[::1]:0".parse().unwrap()]).unwrap().local_addrs();
    assert_eq!(addresses.len(), 3);
    assert!(addresses.iter().all(|address| address.port() != 0));
    assert!(addresses[2].is_ipv6());
}

#[test]
fn an_address_in_use_is_named_with_a_remedy() {
    let taken = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = taken.local_addrs()[0];
    let error = Sockets::bind(&[address]).unwrap_err();
    assert!(matches!(error, Error::AddressTaken { address: named } if named == address));
    assert!(
        error.to_string().starts_with(&format!("listen for DNS on {address}: another program"))
    );

    let error = Sockets::bind(&["192.0.2.1:0".parse().unwrap()]).unwrap_err();
    assert_eq!(error.to_string(), "listen for DNS on 192.0.2.1:0");
}

#[tokio::test]
async fn the_answer_comes_from_the_address_that_was_asked() {
    let upstream = Upstream::knowing([7, 7, 7, 7]).await;
    let cases = [
        ("0.0.0.0:0", "127.0.0.5", "127.0.0.1:0"),
        ("0.0.0.0:0", "127.0.0.1", "127.0.0.9:0"),
        ("127.0.0.5:0", "127.0.0.5", "127.0.0.1:0"),
        ("[::]:0", "::1", "[::1]:0"),
        ("[::1]:0", "::1", "[::1]:0"),
    ];
    for (bound, asked, own) in cases {
        let proxy = Proxy::start_on(bound, vec![upstream.address], LONG).await;
        proxy.publish(mesh()).await;
        let asked = SocketAddr::new(asked.parse::<IpAddr>().unwrap(), proxy.address.port());
        // connected, as libc's resolver does it: an answer from elsewhere would not be heard
        let client = UdpSocket::bind(own).await.unwrap();
        client.connect(asked).await.unwrap();
        for (name, address) in [("productpage", "9.9.9.9"), ("www.example", "7.7.7.7")] {
            client.send(&query(1, name, A, None)).await.unwrap();
            let message = read(&receive(&client).await);
            assert_eq!(lines(&message), [format!("{name}. A {address}")], "{bound}");
        }
        let message = read(&by_tcp(&query(1, "productpage", A, None), asked).await);
        assert_eq!(lines(&message), ["productpage. A 9.9.9.9"], "{bound}");
        proxy.end().await;
    }
}

#[tokio::test]
async fn what_is_no_query_is_refused_or_not_heard() {
    let proxy = Proxy::start(Vec::new()).await;
    let client = socket().await;
    let mut response = query(1, "productpage", A, None);
    response[2] |= 0x80;
    let mut notify = query(2, "productpage", A, None);
    notify[2] |= 4 << 3;
    let mut two = query(3, "productpage", A, None);
    two[5] = 2;
    let mut long = query(4, "productpage", A, None);
    long.resize(4097, 0);

    send(&client, b"scrap", proxy.address).await;
    send(&client, &response, proxy.address).await;
    for (packet, id_of, code) in [(&notify, 2, NotImp), (&two, 3, FormErr), (&long, 4, FormErr)] {
        send(&client, packet, proxy.address).await;
        let answer = receive(&client).await;
        assert_eq!((id(&answer), answer.len()), (id_of, 12));
        assert_eq!(read(&answer).metadata.response_code, code);
    }
    let totals = proxy.totals();
    assert_eq!((totals.queries, totals.dropped, totals.refused), (5, 2, 3));
    proxy.end().await;
}

#[tokio::test]
async fn a_query_of_more_than_512_octets_is_heard_whole() {
    let upstream = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    for len in [513, 4096] {
        for (name, address) in [("productpage", "9.9.9.9"), ("www.example", "7.7.7.7")] {
            let mut packet = query(1, name, A, Some(4096));
            // padding (RFC 7830)
            let padding = len - packet.len() - 4;
            let end = packet.len();
            let octets = |value: usize| u16::try_from(value).unwrap().to_be_bytes();
            packet[end - 2..].copy_from_slice(&octets(padding + 4));
            packet.extend_from_slice(&[0, 12]);
            packet.extend_from_slice(&octets(padding));
            packet.resize(len, 0);
            for transport in [Transport::Udp, Transport::Tcp] {
                let message = read(&ask(&packet, proxy.address, transport).await);
                assert_eq!(lines(&message), [format!("{name}. A {address}")], "{len}");
            }
        }
    }
    proxy.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_swapped_under_load_and_every_answer_is_whole() {
    let proxy = Proxy::start(Vec::new()).await;
    let tables = [["10.0.0.1", "10.0.0.2"], ["10.9.9.1", "10.9.9.2"]];
    let publish = async {
        for round in 0..50 {
            proxy.publish(names(vec![("a.example", external(&tables[round % 2]))])).await;
        }
    };
    let ask = async {
        let client = socket().await;
        let expected = tables.map(|ips| ips.map(|ip| format!("a.example. A {ip}")));
        loop {
            send(&client, &query(1, "a.example", A, None), proxy.address).await;
            let mut found = lines(&read(&receive(&client).await));
            found.sort();
            assert!(expected.iter().any(|expected| *expected == *found), "{found:?}");
        }
    };
    proxy.publish(names(vec![("a.example", external(&tables[0]))])).await;
    tokio::select! {
        () = publish => {}
        () = ask => {}
    }
    assert_eq!(proxy.totals().tables, 52);
    proxy.end().await;
}

#[tokio::test]
async fn the_last_names_stay_when_nobody_publishes_any_more() {
    let mut proxy = Proxy::start(Vec::new()).await;
    proxy.names = tokio::sync::watch::channel(None).0;
    assert_eq!(resolve("productpage", proxy.address).await.0, NoError);
    proxy.end().await;
}

#[tokio::test]
async fn on_a_stream_answers_leave_as_they_come() {
    let mut upstream = Upstream::mute().await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    write_frame(&mut stream, &query(1, "slow.example", A, None)).await;
    write_frame(&mut stream, &query(2, "slower.example", A, None)).await;
    write_frame(&mut stream, &query(3, "productpage", A, None)).await;

    assert_eq!(id(&read_frame(&mut stream).await), 3);
    let (one, other) = (upstream.asked().await, upstream.asked().await);
    let (slow, slower) = if one.packet[12] == 4 { (one, other) } else { (other, one) };
    slower.reply(&with_code(&slower.packet, NXDomain)).await;
    assert_eq!(id(&read_frame(&mut stream).await), 2);
    slow.reply(&with_code(&slow.packet, NXDomain)).await;
    assert_eq!(id(&read_frame(&mut stream).await), 1);
    proxy.end().await;
}

#[tokio::test]
async fn a_full_pipeline_waits_and_loses_nothing() {
    let mut upstream = Upstream::mute().await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let mut all = Vec::new();
    for id in 0..50 {
        let packet = query(id, &format!("n{id}.example"), A, None);
        all.extend_from_slice(&u16::try_from(packet.len()).unwrap().to_be_bytes());
        all.extend_from_slice(&packet);
    }
    stream.write_all(&all).await.unwrap();

    let mut waiting = Vec::new();
    while waiting.len() < 16 {
        waiting.push(upstream.asked().await);
    }
    assert_eq!(proxy.totals().relayed, 16);
    let mut answered = Vec::new();
    for _ in 0..50 {
        let asked = match waiting.pop() {
            Some(asked) => asked,
            None => upstream.asked().await,
        };
        asked.reply(&with_addresses(&asked.packet, &[[7, 7, 7, 7]], None)).await;
        answered.push(id(&read_frame(&mut stream).await));
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..50).collect::<Vec<_>>());
    proxy.end().await;
}

#[tokio::test]
async fn a_query_may_come_octet_by_octet() {
    let proxy = Proxy::start(Vec::new()).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let packet = query(1, "productpage", A, None);
    let len = u16::try_from(packet.len()).unwrap().to_be_bytes();
    for octet in len.iter().chain(&packet) {
        stream.write_all(&[*octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(lines(&read(&read_frame(&mut stream).await)), ["productpage. A 9.9.9.9"]);
    proxy.end().await;
}

#[tokio::test]
async fn a_client_that_has_said_its_last_word_is_still_answered() {
    let mut upstream = Upstream::mute().await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    write_frame(&mut stream, &query(1, "www.example", A, None)).await;
    stream.shutdown().await.unwrap();

    let asked = upstream.asked().await;
    asked.reply(&with_code(&asked.packet, NXDomain)).await;

    assert_eq!(id(&read_frame(&mut stream).await), 1);
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    proxy.end().await;
}

#[tokio::test]
async fn a_connection_has_its_number_of_queries() {
    let proxy = Proxy::start(Vec::new()).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    for number in 0..128 {
        write_frame(&mut stream, &query(number, "productpage", A, None)).await;
        assert_eq!(id(&read_frame(&mut stream).await), number);
    }
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    proxy.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_dawdles_is_left() {
    let proxy = Proxy::start(Vec::new()).await;
    let mut silent = TcpStream::connect(proxy.address).await.unwrap();
    let mut dribbling = TcpStream::connect(proxy.address).await.unwrap();
    let mut idle = TcpStream::connect(proxy.address).await.unwrap();
    dribbling.write_all(&[0, 40, 1]).await.unwrap();
    write_frame(&mut idle, &query(1, "productpage", A, None)).await;
    read_frame(&mut idle).await;
    for stream in [&mut silent, &mut dribbling, &mut idle] {
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    }
    proxy.end().await;
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_answered() {
    let mut upstream = Upstream::mute().await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let client = socket().await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    send(&client, &query(1, "www.example", A, None), proxy.address).await;
    write_frame(&mut stream, &query(2, "ftp.example", A, None)).await;
    let asked = [upstream.asked().await, upstream.asked().await];

    let address = proxy.address;
    let reply = async {
        // the listener is closed first
        while TcpListener::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        for asked in &asked {
            asked.reply(&with_addresses(&asked.packet, &[[7, 7, 7, 7]], None)).await;
        }
    };
    let ((), ()) = tokio::join!(proxy.end(), reply);

    assert_eq!(lines(&read(&receive(&client).await)), ["www.example. A 7.7.7.7"]);
    assert_eq!(lines(&read(&read_frame(&mut stream).await)), ["ftp.example. A 7.7.7.7"]);
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    assert!(Sockets::bind(&[address]).is_ok(), "the address is free again");
}

#[tokio::test]
async fn queries_that_lie_in_the_socket_at_the_end_are_answered() {
    let proxy = Proxy::start(Vec::new()).await;
    let client = socket().await;
    for number in 0..100 {
        send(&client, &query(number, "productpage", A, None), proxy.address).await;
    }
    proxy.end().await;
    for number in 0..100 {
        assert_eq!(id(&receive(&client).await), number);
    }
}

#[tokio::test]
async fn both_transports_know_the_same() {
    let proxy = Proxy::start(Vec::new()).await;
    let packet = query(1, "productpage.ns1", A, Some(1232));
    assert_eq!(by_udp(&packet, proxy.address).await, by_tcp(&packet, proxy.address).await);
    proxy.end().await;
}

#[tokio::test]
async fn the_same_names_again_leave_the_table_as_it_is() {
    let proxy = Proxy::start(Vec::new()).await;
    let table = proxy.table();
    proxy.publish(mesh()).await;
    assert!(Arc::ptr_eq(&table, &proxy.table()));
    proxy.publish(names(vec![("a.example", external(&["10.0.0.1"]))])).await;
    assert!(!Arc::ptr_eq(&table, &proxy.table()));
    proxy.end().await;
}
