//! Resolvers that lie, dawdle, come and go; strangers who guess; questions without end.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hawser_dns::answer::Transport;
use hawser_dns::{Forward, Sockets, Style, Upstreams};
use hickory_proto::op::ResponseCode::{self, NXDomain, NoError, Refused, ServFail};

use crate::client::{A, ask, by_udp, lines, query, read, receive, resolve, send, socket};
use crate::fixture::{Proxy, mesh, options};
use crate::upstream::{Upstream, is_canary, with_addresses, with_code};

/// A proxy that asks these in this way, and knows the mesh.
pub(crate) async fn start(upstreams: &[SocketAddr], forward: Forward) -> Proxy {
    let upstreams = upstreams.iter().copied().map(hawser_dns::Upstream::from).collect();
    let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let mut options = options(Upstreams::Fixed(upstreams), forward.timeout);
    options.scope.style = forward.style;
    options.forward = forward;
    let proxy = Proxy::start_by(sockets, options).await;
    proxy.publish(mesh()).await;
    proxy
}

fn forward() -> Forward {
    Forward { timeout: Duration::from_secs(20), ..Forward::default() }
}

fn code(answer: &[u8]) -> ResponseCode {
    read(answer).metadata.response_code
}

/// Asks and waits however long it takes on a clock that a test turns.
async fn ask_in_time(name: &str, to: SocketAddr) -> ResponseCode {
    let client = socket().await;
    send(&client, &query(1, name, A, None), to).await;
    let mut answer = [0; 4096];
    let len = client.recv(&mut answer).await.unwrap();
    code(&answer[..len])
}

/// What a resolver says that was asked so, and what others would have us believe.
fn lies(packet: &[u8]) -> [Vec<u8>; 4] {
    let bad = with_addresses(packet, &[[6, 6, 6, 6]], None);
    let mut other_id = bad.clone();
    other_id[0] ^= 1;
    let mut other_question = bad.clone();
    other_question[13] ^= 1;
    let mut query = bad;
    query[2] &= 0x7f;
    [other_id, other_question, query, b"scrap".to_vec()]
}

/// The first question that comes, and from where.
async fn first(resolver: &tokio::net::UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut packet = [0; 512];
    loop {
        let (len, peer) = resolver.recv_from(&mut packet).await.unwrap();
        if !is_canary(&packet[..len]) {
            return (packet[..len].to_vec(), peer);
        }
    }
}

#[tokio::test]
async fn from_the_first_guess_on_only_a_stream_is_believed() {
    let upstream = Upstream::start(|asked| {
        let [other_id, other_question, query, scrap] = lies(&asked.packet);
        match asked.transport {
            // At last one has guessed right.
            Transport::Udp => {
                let bad = with_addresses(&asked.packet, &[[6, 6, 6, 6]], None);
                vec![scrap, query, other_id, other_question, bad]
            }
            Transport::Tcp => vec![with_addresses(&asked.packet, &[[7, 7, 7, 7]], None)],
        }
    })
    .await;
    let proxy = start(&[upstream.address], forward()).await;
    let (_, answer) = resolve("www.example", proxy.address).await;
    assert_eq!(answer, ["www.example. A 7.7.7.7"]);
    assert_eq!(proxy.totals().by_tcp, 1);
    assert!(proxy.totals().strange_replies >= 3);
    proxy.end().await;
}

#[tokio::test]
async fn among_guesses_nothing_is_believed_when_the_time_is_up_either() {
    let upstream = Upstream::start(|asked| {
        let [other_id, other_question, ..] = lies(&asked.packet);
        let bad = with_addresses(&asked.packet, &[[6, 6, 6, 6]], None);
        match asked.transport {
            Transport::Udp => vec![other_id.clone(), other_question, other_id, bad],
            Transport::Tcp => Vec::new(),
        }
    })
    .await;
    let forward = Forward { timeout: Duration::from_millis(300), ..forward() };
    let proxy = start(&[upstream.address], forward).await;
    for _ in 0..2 {
        let packet = query(1, "www.example", A, None);
        let message = read(&by_udp(&packet, proxy.address).await);
        // Nor is it kept.
        assert_eq!((message.metadata.response_code, message.answers.len()), (ServFail, 0));
    }
    proxy.end().await;
}

#[tokio::test]
async fn scrap_ends_no_wait_and_changes_no_way() {
    let upstream = Upstream::start(|asked| {
        let [_, _, query, scrap] = lies(&asked.packet);
        let good = with_addresses(&asked.packet, &[[7, 7, 7, 7]], None);
        // As the reply, but less than it says.
        let cut = good[..good.len() - 1].to_vec();
        vec![scrap, query, cut, Vec::new(), good]
    })
    .await;
    let proxy = start(&[upstream.address], forward()).await;
    assert_eq!(resolve("www.example", proxy.address).await.1, ["www.example. A 7.7.7.7"]);
    assert_eq!((proxy.totals().by_tcp, proxy.totals().strange_replies), (0, 4));
    proxy.end().await;
}

#[tokio::test]
async fn on_a_stream_strange_replies_are_passed_over() {
    let upstream = Upstream::start(|asked| {
        let good = with_addresses(&asked.packet, &[[7, 7, 7, 7]], None);
        lies(&asked.packet).into_iter().chain([good]).collect()
    })
    .await;
    let proxy = start(&[upstream.address], forward()).await;
    let answer = ask(&query(1, "www.example", A, None), proxy.address, Transport::Tcp).await;
    assert_eq!(lines(&read(&answer)), ["www.example. A 7.7.7.7"]);
    proxy.end().await;
}

#[tokio::test]
async fn the_kernel_lets_no_stranger_reply() {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = Upstream::start(move |asked| {
        let bad = with_addresses(&asked.packet, &[[6, 6, 6, 6]], None);
        stranger.send_to(&bad, asked.peer).unwrap();
        vec![with_addresses(&asked.packet, &[[7, 7, 7, 7]], None)]
    })
    .await;
    let proxy = start(&[upstream.address], forward()).await;
    assert_eq!(resolve("www.example", proxy.address).await.1, ["www.example. A 7.7.7.7"]);
    assert_eq!(proxy.totals().strange_replies, 0);
    proxy.end().await;
}

#[tokio::test]
async fn one_accident_does_no_harm_where_there_is_no_stream() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let resolver = tokio::net::UdpSocket::from_std(socket).unwrap();
    let proxy = start(&[resolver.local_addr().unwrap()], forward()).await;
    let answer = async {
        let (packet, peer) = first(&resolver).await;
        let [other_id, ..] = lies(&packet);
        resolver.send_to(&other_id, peer).await.unwrap();
        let good = with_addresses(&packet, &[[7, 7, 7, 7]], None);
        resolver.send_to(&good, peer).await.unwrap();
    };
    let (answer, ()) = tokio::join!(resolve("www.example", proxy.address), answer);
    assert_eq!(answer.1, ["www.example. A 7.7.7.7"]);
    proxy.end().await;
}

#[tokio::test]
async fn what_is_cut_is_asked_for_whole_and_cut_for_who_takes_less() {
    let many: Vec<_> = (0..64).map(|n| [240, 0, 0, n]).collect();
    let mut upstream = Upstream::start(move |asked| {
        let mut reply = with_addresses(&asked.packet, &many, None);
        if asked.transport == Transport::Udp {
            reply = with_addresses(&asked.packet, &many[..3], None);
            reply[2] |= 0x02;
        }
        vec![reply]
    })
    .await;
    let proxy = start(&[upstream.address], forward()).await;
    for (transport, payload, whole) in [
        (Transport::Udp, None, false),
        (Transport::Tcp, None, true),
        (Transport::Udp, Some(4096), true),
        (Transport::Udp, Some(512), false),
    ] {
        let packet = query(1, "many.example", A, payload);
        let message = read(&ask(&packet, proxy.address, transport).await);
        assert_eq!(message.answers.len() == 64, whole, "{transport:?} {payload:?}");
        assert_eq!(message.metadata.truncation, !whole, "{transport:?} {payload:?}");
        assert!(!message.answers.is_empty());
    }
    let asked: Vec<_> =
        [upstream.asked().await, upstream.asked().await].map(|asked| asked.transport).into();
    assert_eq!(asked, [Transport::Udp, Transport::Tcp]);
    proxy.end().await;
}

#[tokio::test]
async fn what_is_cut_is_better_than_nothing() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let resolver = tokio::net::UdpSocket::from_std(socket).unwrap();
    let proxy = start(&[resolver.local_addr().unwrap()], forward()).await;
    let answer = async {
        let (packet, peer) = first(&resolver).await;
        let mut cut = with_addresses(&packet, &[[7, 7, 7, 7]], None);
        cut[2] |= 0x02;
        resolver.send_to(&cut, peer).await.unwrap();
    };
    let packet = query(1, "www.example", A, None);
    let (answer, ()) = tokio::join!(by_udp(&packet, proxy.address), answer);
    let message = read(&answer);
    assert!(message.metadata.truncation && message.answers.len() == 1);
    proxy.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_is_asked_when_the_first_takes_its_time_and_the_better_wins() {
    let mut slow = Upstream::mute().await;
    let mut quick = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = start(&[slow.address, quick.address], forward()).await;
    assert_eq!(ask_in_time("www.example", proxy.address).await, NoError);
    let asked = slow.asked().await;
    quick.asked().await;
    assert_eq!(proxy.totals().hedged, 1);
    // What is late is nobody's reply any more.
    asked.reply(&with_code(&asked.packet, NXDomain)).await;
    assert_eq!(ask_in_time("www.example", proxy.address).await, NoError);
    proxy.end().await;
}

#[tokio::test]
async fn a_refusal_is_bettered_whoever_comes_first() {
    for parallel in [false, true] {
        for refusal in [ServFail, Refused] {
            let bad = Upstream::saying(refusal).await;
            let good = Upstream::saying(NXDomain).await;
            let forward = Forward { parallel, ..forward() };
            let proxy = start(&[bad.address, good.address], forward).await;
            assert_eq!(resolve("www.example", proxy.address).await.0, NXDomain);
            proxy.end().await;
        }
    }
}

#[tokio::test]
async fn all_are_asked_at_once_if_so_wanted() {
    let mut silent = [Upstream::mute().await, Upstream::mute().await];
    let good = Upstream::knowing([7, 7, 7, 7]).await;
    let all = [silent[0].address, silent[1].address, good.address];
    let proxy = start(&all, Forward { parallel: true, ..forward() }).await;
    assert_eq!(resolve("www.example", proxy.address).await.0, NoError);
    for silent in &mut silent {
        silent.asked().await;
    }
    proxy.end().await;

    let proxy = start(&[], Forward { parallel: true, ..forward() }).await;
    assert_eq!(resolve("www.example", proxy.address).await.0, ServFail);
    proxy.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_flaps_is_in_use_again_when_it_is_back() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let mut flapping = Upstream::start(move |asked| {
        let good = with_addresses(&asked.packet, &[[7, 7, 7, 7]], None);
        if is_up.load(Ordering::Relaxed) { vec![good] } else { Vec::new() }
    })
    .await;
    let steady = Upstream::saying(NXDomain).await;
    let proxy = start(&[flapping.address, steady.address], forward()).await;
    assert_eq!(ask_in_time("a.example", proxy.address).await, NXDomain);
    assert_eq!(ask_in_time("b.example", proxy.address).await, NXDomain);
    up.store(true, Ordering::Relaxed);
    flapping.asked().await;
    assert!(!flapping.was_asked(), "it was silent, so it is not asked first");
    tokio::time::advance(Duration::from_secs(2)).await;
    // Somebody else answers this one, while it is seen that the first is back.
    assert_eq!(ask_in_time("c.example", proxy.address).await, NXDomain);
    flapping.asked().await;
    let mut tried = 0;
    while ask_in_time(&format!("d{tried}.example"), proxy.address).await != NoError {
        tried += 1;
        assert!(tried < 1_000);
    }
    proxy.end().await;
}

#[tokio::test]
async fn the_old_style_takes_the_first_word_and_no_other_way() {
    let istio = || Forward { style: Style::Istio, ..forward() };
    let refusing = Upstream::saying(Refused).await;
    let proxy = start(&[refusing.address], istio()).await;
    assert_eq!(resolve("www.example", proxy.address).await.0, Refused);
    proxy.end().await;

    let mut catalogue = Upstream::of_the_catalogue().await;
    let proxy = start(&[catalogue.address], istio()).await;
    let giant = |payload| query(1, "giant", A, payload);
    assert_eq!(code(&by_udp(&giant(None), proxy.address).await), ServFail);
    assert_eq!(read(&by_udp(&giant(Some(65535)), proxy.address).await).answers.len(), 64);
    let cut = read(&by_udp(&query(1, "giant-tc", A, Some(4096)), proxy.address).await);
    assert!(cut.metadata.truncation && cut.answers.len() == 29);
    for _ in 0..3 {
        assert_eq!(catalogue.asked().await.transport, Transport::Udp);
    }
    assert!(!catalogue.was_asked());
    proxy.end().await;
}

#[tokio::test]
async fn what_is_too_much_is_turned_away_and_the_mesh_is_still_answered() {
    let mut silent = Upstream::mute().await;
    let proxy = start(&[silent.address], Forward { in_flight: 32, ..forward() }).await;
    let client = socket().await;
    for index in 0..32 {
        send(&client, &query(1, &format!("n{index}.example"), A, None), proxy.address).await;
        silent.asked().await;
    }
    assert_eq!((proxy.totals().shed, proxy.totals().in_flight), (0, 32));
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = ask(&query(1, "one.more.example", A, None), proxy.address, transport).await;
        assert_eq!(code(&answer), ServFail);
    }
    assert_eq!(proxy.totals().shed, 2);
    assert_eq!(resolve("productpage", proxy.address).await.0, NoError);
    // Who only waits for what was asked needs no room.
    send(&client, &query(2, "n0.example", A, None), proxy.address).await;
    while proxy.totals().joined == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_question_has_so_many_who_wait_and_no_more() {
    let mut silent = Upstream::mute().await;
    let proxy = start(&[silent.address], forward()).await;
    let client = socket().await;
    for id in 0..129 {
        send(&client, &query(id, "www.example", A, None), proxy.address).await;
    }
    let asked = silent.asked().await;
    let answer = by_udp(&query(1, "www.example", A, None), proxy.address).await;
    assert_eq!(code(&answer), ServFail);
    asked.reply(&with_code(&asked.packet, NXDomain)).await;
    let mut ids = HashSet::new();
    for _ in 0..129 {
        let answer = receive(&client).await;
        assert_eq!(code(&answer), NXDomain);
        ids.insert(answer[..2].to_vec());
    }
    assert_eq!(ids.len(), 129);
    assert!(!silent.was_asked());
    proxy.end().await;
}

#[tokio::test]
async fn a_question_that_comes_back_is_not_asked_again() {
    // A resolver that asks whoever asked it is what a redirect of its address amounts to.
    let own: Arc<parking_lot::Mutex<Option<SocketAddr>>> = Arc::default();
    let back = Arc::clone(&own);
    let asked_so_far = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked_so_far);
    let circle = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let good = Upstream::knowing([7, 7, 7, 7]).await;
    let proxy = start(&[circle.local_addr().unwrap(), good.address], forward()).await;
    *own.lock() = Some(proxy.address);
    let lead_back = async {
        let mut packet = [0; 512];
        loop {
            let (len, peer) = circle.recv_from(&mut packet).await.unwrap();
            if peer == proxy.address {
                continue;
            }
            count.fetch_add(1, Ordering::Relaxed);
            let to = back.lock().unwrap();
            circle.send_to(&packet[..len], to).await.unwrap();
        }
    };
    tokio::select! {
        () = lead_back => {}
        answer = resolve("www.example", proxy.address) => assert_eq!(answer.0, NoError),
    }
    assert!(asked_so_far.load(Ordering::Relaxed) <= 3);
    proxy.end().await;
}
