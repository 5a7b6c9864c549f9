//! What one question has of a socket that another one had.

use std::collections::HashSet;
use std::future::poll_fn;

use super::*;

async fn resolver(address: &str) -> UdpSocket {
    UdpSocket::bind(address).await.unwrap()
}

async fn asked(resolver: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut room = [0; 64];
    let (len, peer) = resolver.recv_from(&mut room).await.unwrap();
    (room[..len].to_vec(), peer)
}

async fn heard(outlet: &Outlet) -> io::Result<Vec<u8>> {
    let mut room = [0; 64];
    let mut buffer = ReadBuf::new(&mut room);
    poll_fn(|context| outlet.poll_recv(context, &mut buffer)).await?;
    Ok(buffer.filled().to_vec())
}

#[tokio::test]
async fn a_socket_that_has_served_has_another_port_each_time() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let resolver = resolver(address).await;
        let mut sockets = Sockets::new(1024);
        let mut ports = HashSet::new();
        for _ in 0..32 {
            let outlet = sockets.ask(resolver.local_addr().unwrap(), b"?").unwrap();
            ports.insert(asked(&resolver).await.1.port());
            sockets.put_back(outlet);
            assert_eq!(sockets.v4.len() + sockets.v6.len(), 1, "the same one all the time");
        }
        // All alike by chance: less likely than a broken computer.
        assert!(ports.len() > 20, "{ports:?}");
    }
}

#[tokio::test]
async fn what_comes_to_the_last_question_is_not_heard_by_the_next() {
    let (first, second) = (resolver("127.0.0.1:0").await, resolver("127.0.0.2:0").await);
    let mut sockets = Sockets::new(1024);
    let outlet = sockets.ask(first.local_addr().unwrap(), b"1").unwrap();
    let (_, gone) = asked(&first).await;
    for reply in [b"a", b"b", b"c"] {
        first.send_to(reply, gone).await.unwrap();
    }
    assert_eq!(heard(&outlet).await.unwrap(), b"a");
    sockets.put_back(outlet);
    first.send_to(b"d", gone).await.unwrap();

    let outlet = sockets.ask(second.local_addr().unwrap(), b"2").unwrap();
    let (_, here) = asked(&second).await;
    first.send_to(b"e", here).await.unwrap();
    second.send_to(b"f", here).await.unwrap();
    assert_eq!(heard(&outlet).await.unwrap(), b"f");
}

#[tokio::test]
async fn a_socket_that_was_never_read_is_clean_and_is_woken_again() {
    let resolver = resolver("127.0.0.1:0").await;
    let mut sockets = Sockets::new(1024);
    for number in 0..8_u8 {
        let outlet = sockets.ask(resolver.local_addr().unwrap(), &[number]).unwrap();
        let (question, peer) = asked(&resolver).await;
        assert_eq!(question, [number]);
        let reply = async { resolver.send_to(&question, peer).await.unwrap() };
        if number % 2 == 0 {
            reply.await;
        } else {
            let (heard, _) = tokio::join!(heard(&outlet), reply);
            assert_eq!(heard.unwrap(), [number]);
        }
        sockets.put_back(outlet);
        assert_eq!(sockets.v4.len(), 1);
    }
}

#[tokio::test]
async fn one_that_was_refused_or_flooded_is_not_kept() {
    let resolver = resolver("127.0.0.1:0").await;
    let address = resolver.local_addr().unwrap();
    let mut sockets = Sockets::new(1024);
    let outlet = sockets.ask(address, b"?").unwrap();
    let (_, peer) = asked(&resolver).await;
    for _ in 0..LATE {
        resolver.send_to(b"!", peer).await.unwrap();
    }
    sockets.put_back(outlet);
    assert_eq!(sockets.v4.len(), 0);
    drop(resolver);
    assert_eq!(sockets.ask(address, b"?").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(sockets.v4.len(), 0);
}

#[tokio::test]
async fn no_more_are_kept_than_a_part_of_those_that_may_be_open() {
    let resolver = resolver("127.0.0.1:0").await;
    for (room, kept) in [(1024, 64), (80, 10), (1, 0)] {
        let mut sockets = Sockets::new(room);
        let address = resolver.local_addr().unwrap();
        let outlets: Vec<_> = (0..70).map(|_| sockets.ask(address, b"?").unwrap()).collect();
        outlets.into_iter().for_each(|outlet| sockets.put_back(outlet));
        assert_eq!(sockets.v4.len(), kept);
    }
}
