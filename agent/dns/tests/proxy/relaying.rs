//! Names outside the mesh: who is asked, what is believed, what is passed on.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hawser_dns::answer::Transport;
use hawser_dns::{Sockets, Upstreams, resolv::watch::Sources};
use hickory_proto::op::ResponseCode::{self, NXDomain, NoError, Refused, ServFail};

use crate::client::{A, MX, ask, by_tcp, by_udp, query, read, receive, resolve, send, socket};
use crate::fixture::{Proxy, external, names};
use crate::upstream::{Upstream, with_code};

const LONG: Duration = Duration::from_secs(600);

fn code(answer: &[u8]) -> ResponseCode {
    read(answer).metadata.response_code
}

#[tokio::test]
async fn before_the_first_table_every_name_is_relayed() {
    let mut upstream = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy =
        Proxy::start_on("127.0.0.1:0", vec![upstream.address], Duration::from_secs(20)).await;
    let answer = || resolve("www.google.com", proxy.address);

    assert_eq!(answer().await, (NoError, vec!["www.google.com. A 7.7.7.7".to_owned()]));
    assert!(upstream.was_asked());
    proxy.publish(names(vec![("www.google.com", external(&["1.1.1.1"]))])).await;

    assert_eq!(answer().await, (NoError, vec!["www.google.com. A 1.1.1.1".to_owned()]));
    assert!(!upstream.was_asked());
    proxy.end().await;
}

#[tokio::test]
async fn the_query_and_the_reply_are_passed_on_as_they_are() {
    let mut upstream = Upstream::start(|asked| {
        // authority, additional, an unknown type, an OPT record with an option; the letters changed
        let mut reply = asked.packet[..2].to_vec();
        reply.extend_from_slice(b"\x81\xb0\0\x01\0\x01\0\x01\0\x02");
        reply.extend_from_slice(&asked.packet[12..27].to_ascii_lowercase());
        reply.extend_from_slice(b"\xc0\x0c\xff\x01\0\x01\0\0\0\x05\0\x03abc");
        reply.extend_from_slice(b"\xc0\x0c\0\x02\0\x01\0\0\0\x05\0\x02\xc0\x0c");
        reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x01\x02\x03\x04");
        reply.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\x80\0\0\x06\0\x0f\0\x02\0\x12");
        vec![reply]
    })
    .await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    // flags AD and CD, class CH, a cookie
    let mut packet = b"\xab\xcd\x01\x30\0\x01\0\0\0\0\0\x01\x07ExAmPlE\x01x\0\0\x10\0\x03".to_vec();
    packet.extend_from_slice(b"\0\0\x29\x10\0\0\0\x80\0\0\x0c\0\x0a\0\x08cookies!");
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = ask(&packet, proxy.address, transport).await;

        let asked = upstream.asked().await;
        assert_eq!(asked.transport, transport);
        assert_eq!(asked.packet[2..], packet[2..]);
        assert_eq!(answer[..12], *b"\xab\xcd\x81\xb0\0\x01\0\x01\0\x01\0\x02");
        assert_eq!(answer[12..27], packet[12..27], "letters of the question");
        assert_eq!(
            answer[27..],
            *b"\xc0\x0c\xff\x01\0\x01\0\0\0\x05\0\x03abc\
            \xc0\x0c\0\x02\0\x01\0\0\0\x05\0\x02\xc0\x0c\
            \xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x01\x02\x03\x04\
            \0\0\x29\x04\xd0\0\0\x80\0\0\x06\0\x0f\0\x02\0\x12"
        );
    }
    proxy.end().await;
}

#[tokio::test]
async fn every_query_has_its_own_identifier_and_port() {
    let mut upstream = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let (mut ids, mut ports) = (HashSet::new(), HashSet::new());
    for index in 0..32 {
        let packet = query(0x1234, &format!("www{index}.example"), A, None);
        let answer = by_udp(&packet, proxy.address).await;
        assert_eq!(answer[..2], [0x12, 0x34]);
        let asked = upstream.asked().await;
        ids.insert(asked.packet[..2].to_vec());
        ports.insert(asked.peer.port());
    }
    // all alike by chance: less likely than a broken computer
    assert!(ids.len() > 20 && ports.len() > 20, "{ids:?} {ports:?}");
    proxy.end().await;
}

#[tokio::test]
async fn a_resolver_that_is_down_is_passed_over_and_asked_last_from_then_on() {
    let dead = Upstream::mute().await.end().await;
    let mut good = Upstream::knowing([7, 7, 7, 7]).await;
    for transport in [Transport::Udp, Transport::Tcp] {
        let proxy = Proxy::start(vec![dead, good.address]).await;
        for name in ["www.example", "ftp.example"] {
            let packet = query(1, name, A, None);
            assert_eq!(code(&ask(&packet, proxy.address, transport).await), NoError);
            assert_eq!(good.asked().await.transport, transport);
        }
        proxy.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_costs_its_share_of_the_time_once() {
    let mut silent = Upstream::mute().await;
    let good = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = Proxy::start_on("127.0.0.1:0", vec![silent.address, good.address], LONG).await;
    let client = socket().await;
    for name in ["a.example", "b.example", "c.example"] {
        let packet = query(1, name, A, None);
        send(&client, &packet, proxy.address).await;
        let mut answer = [0; 512];
        let len = client.recv(&mut answer).await.unwrap();
        assert_eq!(code(&answer[..len]), NoError);
    }
    silent.asked().await;
    assert!(!silent.was_asked());
    proxy.end().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_up_the_client_is_told_so() {
    let mut silent = Upstream::mute().await;
    let proxy =
        Proxy::start_on("127.0.0.1:0", vec![silent.address], Duration::from_millis(100)).await;
    let client = socket().await;
    let packet = query(1, "www.Example", A, Some(4096));

    send(&client, &packet, proxy.address).await;
    let mut answer = [0; 512];
    let len = client.recv(&mut answer).await.unwrap();

    let message = read(&answer[..len]);
    assert_eq!(message.metadata.response_code, ServFail);
    assert!(message.answers.is_empty() && message.edns.is_some());
    assert_eq!(answer[12..29], packet[12..29]);
    // a datagram may be lost, so it is sent twice
    let (first, second) = (silent.asked().await, silent.asked().await);
    assert_ne!(first.peer, second.peer);
    assert!(!silent.was_asked());
    assert_eq!(proxy.totals().relay_failed, 1);
    proxy.end().await;
}

#[tokio::test]
async fn without_any_resolver_the_client_is_told_at_once() {
    let dead = Upstream::mute().await.end().await;
    for upstreams in [vec![], vec![dead], vec![dead, dead]] {
        let proxy = Proxy::start(upstreams).await;
        for transport in [Transport::Udp, Transport::Tcp] {
            let packet = query(1, "www.example", A, None);
            assert_eq!(code(&ask(&packet, proxy.address, transport).await), ServFail);
        }
        let (mesh, _) = resolve("productpage", proxy.address).await;
        assert_eq!(mesh, NoError);
        proxy.end().await;
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_an_answer() {
    let first = Upstream::saying(NXDomain).await;
    let mut second = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = Proxy::start(vec![first.address, second.address]).await;
    assert_eq!(resolve("www.example", proxy.address).await.0, NXDomain);
    assert!(!second.was_asked());
    proxy.end().await;
}

#[tokio::test]
async fn a_resolver_that_refuses_is_followed_by_one_that_may_not() {
    let good = Upstream::knowing([7, 7, 7, 7]).await;
    for refusal in [ServFail, Refused, ResponseCode::NotImp, ResponseCode::FormErr] {
        let mut first = Upstream::saying(refusal).await;
        let proxy = Proxy::start(vec![first.address, good.address]).await;
        assert_eq!(resolve("www.example", proxy.address).await.0, NoError, "{refusal}");
        first.asked().await;
        assert!(!first.was_asked(), "asking again would not help");
        proxy.end().await;
    }
}

#[tokio::test]
async fn a_refusal_that_nobody_betters_is_passed_on() {
    let first = Upstream::saying(Refused).await;
    let second = Upstream::saying(ServFail).await;
    let dead = Upstream::mute().await.end().await;
    let proxy = Proxy::start(vec![dead, first.address, second.address]).await;
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = ask(&query(1, "www.example", A, None), proxy.address, transport).await;
        assert_eq!(code(&answer), Refused);
    }
    assert_eq!(proxy.totals().relay_failed, 0);
    proxy.end().await;
}

#[tokio::test]
async fn the_only_resolver_is_asked_once_more_when_it_fails() {
    let failures = Arc::new(AtomicUsize::new(1));
    let left = Arc::clone(&failures);
    let mut upstream = Upstream::start(move |asked| {
        let take = |left: usize| left.checked_sub(1);
        let fails = left.fetch_update(Relaxed, Relaxed, take).is_ok();
        vec![with_code(&asked.packet, if fails { ServFail } else { NXDomain })]
    })
    .await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    for (index, (count, expected)) in [(1, NXDomain), (9, ServFail)].into_iter().enumerate() {
        failures.store(count, Relaxed);
        let (code, _) = resolve(&format!("n{index}.example"), proxy.address).await;
        assert_eq!(code, expected);
        upstream.asked().await;
        upstream.asked().await;
        assert!(!upstream.was_asked());
    }
    proxy.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_is_passed_on_where_tcp_is_blocked_and_the_resolver_is_a_good_one() {
    let upstream = Upstream::start(|asked| match asked.transport {
        Transport::Udp => {
            let mut cut = with_code(&asked.packet, NoError);
            cut[2] |= 0x02;
            vec![cut]
        }
        Transport::Tcp => Vec::new(),
    })
    .await;
    let proxy = Proxy::start_on("127.0.0.1:0", vec![upstream.address], LONG).await;
    let client = socket().await;
    let begun = tokio::time::Instant::now();
    send(&client, &query(1, "www.example", A, None), proxy.address).await;
    let mut answer = [0; 512];
    let len = client.recv(&mut answer).await.unwrap();
    assert!(read(&answer[..len]).metadata.truncation);
    assert!(begun.elapsed() < LONG / 2);
    let [resolver] = &proxy.resolvers()[..] else { panic!() };
    assert_eq!((resolver.state, resolver.failed), ("good", 0));
    proxy.end().await;
}

#[tokio::test]
async fn a_refusal_without_a_question_is_one() {
    let upstream = Upstream::start(|asked| {
        let [i0, i1] = [asked.packet[0], asked.packet[1]];
        vec![vec![i0, i1, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]]
    })
    .await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let answer = by_udp(&query(0x1234, "www.example", A, Some(4096)), proxy.address).await;
    assert_eq!(answer, b"\x12\x34\x81\x01\0\0\0\0\0\0\0\0");
    proxy.end().await;
}

#[tokio::test]
async fn a_name_of_the_table_is_never_said_not_to_exist() {
    let upstream = Upstream::saying(NXDomain).await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    for (name, expected) in [("www.google.com", NoError), ("www.elsewhere.com", NXDomain)] {
        let answer = by_udp(&query(1, name, MX, None), proxy.address).await;
        assert_eq!(code(&answer), expected, "{name}");
    }
    proxy.end().await;
}

#[tokio::test]
async fn the_proxy_does_not_ask_itself() {
    let good = Upstream::knowing([7, 7, 7, 7]).await;
    let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let own = sockets.local_addrs()[0];
    let any = SocketAddr::new("0.0.0.0".parse().unwrap(), own.port());
    let upstreams = [own, any, good.address].map(hawser_dns::Upstream::from);
    let upstreams = Upstreams::Fixed(upstreams.to_vec());
    let proxy = Proxy::start_with(sockets, upstreams, Duration::from_secs(20)).await;

    assert_eq!(resolve("www.example", proxy.address).await.0, NoError);

    assert_eq!((proxy.totals().queries, proxy.totals().relayed), (1, 1));
    proxy.end().await;
}

#[tokio::test]
async fn a_file_of_resolvers_is_followed() {
    let good = Upstream::knowing([7, 7, 7, 7]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let line = format!("nameserver [127.0.0.1]:{}\n", good.address.port());
    put(&path, &line);
    let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let upstreams = Upstreams::ResolvConf(Sources::new(path, Vec::new()));
    let proxy = Proxy::start_with(sockets, upstreams, Duration::from_secs(20)).await;
    assert_eq!(resolve("www.example", proxy.address).await.0, NoError);
    proxy.end().await;
}

fn put(path: &std::path::Path, text: &str) {
    use std::io::Write;
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_resolver_that_hangs_up_is_passed_over() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = Upstream::start(|asked| vec![with_code(&asked.packet, NXDomain)]).await;
    let proxy = Proxy::start(vec![listener.local_addr().unwrap(), good.address]).await;
    let packet = query(1, "www.example", A, None);
    let hang_up = async {
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
    };
    let (answer, ()) = tokio::join!(by_tcp(&packet, proxy.address), hang_up);
    assert_eq!(code(&answer), NXDomain);
    proxy.end().await;
}

#[tokio::test]
async fn a_query_that_is_asked_twice_is_answered_twice() {
    let upstream = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = Proxy::start(vec![upstream.address]).await;
    let client = socket().await;
    let packet = query(1, "www.example", A, None);
    send(&client, &packet, proxy.address).await;
    send(&client, &packet, proxy.address).await;
    assert_eq!(receive(&client).await, receive(&client).await);
    proxy.end().await;
}
