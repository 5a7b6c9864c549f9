//! Resolvers that ask the proxy what the proxy asks them.

use std::net::SocketAddr;
use std::time::Duration;

use hawser_dns::{Sockets, Upstream as Listed, Upstreams};
use hickory_proto::op::ResponseCode::{NoError, ServFail};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::resolve;
use crate::fixture::Proxy;
use crate::upstream::Upstream;

const AMPLE: Duration = Duration::from_secs(30);

fn sockets() -> (Sockets, SocketAddr) {
    let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = sockets.local_addrs()[0];
    (sockets, address)
}

async fn asks(sockets: Sockets, resolvers: &[SocketAddr]) -> Proxy {
    let resolvers = resolvers.iter().copied().map(Listed::from).collect();
    Proxy::start_with(sockets, Upstreams::Fixed(resolvers), Duration::from_secs(20)).await
}

/// Waits until one of them has found that this resolver leads back.
async fn one_finds_a_loop(proxies: &[(&Proxy, SocketAddr)]) {
    let found = async {
        let finds = |(proxy, resolver): &(&Proxy, SocketAddr)| {
            let mut known = proxy.resolvers().into_iter();
            known.any(|known| known.address == *resolver && known.looping)
        };
        while !proxies.iter().any(finds) {
            tokio::task::yield_now().await;
        }
    };
    timeout(AMPLE, found).await.expect("no loop is found");
}

#[tokio::test]
async fn proxies_that_ask_each_other_stop() {
    let ((first, one), (second, two)) = (sockets(), sockets());
    let first = asks(first, &[two]).await;
    let second = asks(second, &[one]).await;

    // Whichever asks first finds out; from then on the circle is open, and the other one, whose
    // question is refused there, has nothing to find.
    one_finds_a_loop(&[(&first, two), (&second, one)]).await;
    assert_eq!(resolve("www.example", one).await.0, ServFail);
    assert_eq!(resolve("www.example", two).await.0, ServFail);
    let asked = first.totals().queries + second.totals().queries;
    assert!(asked < 100, "{asked} questions for two");
    first.end().await;
    second.end().await;
}

#[tokio::test]
async fn a_stub_that_asks_us_is_not_asked_and_the_next_one_is() {
    let good = Upstream::knowing([7, 7, 7, 7]).await;
    let (sockets, own) = sockets();
    let stub = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = stub.local_addr().unwrap();
    let mut parts = JoinSet::new();
    parts.spawn(pass_on(stub, own));
    let proxy = asks(sockets, &[address, good.address]).await;
    one_finds_a_loop(&[(&proxy, address)]).await;
    let before = proxy.totals().queries;

    assert_eq!(resolve("www.example", proxy.address).await.0, NoError);

    assert_eq!(proxy.totals().queries, before + 1, "it came in once");
    proxy.end().await;
}

/// A stub that knows nothing itself: what it hears goes on, from a socket of its own, and what comes
/// back goes back.
async fn pass_on(stub: UdpSocket, to: SocketAddr) {
    let mut packet = [0; 4096];
    loop {
        let (len, from) = stub.recv_from(&mut packet).await.unwrap();
        let onward = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        onward.send_to(&packet[..len], to).await.unwrap();
        // What is not answered is forgotten, as everything else waits here.
        if let Ok(Ok(len)) = timeout(Duration::from_secs(1), onward.recv(&mut packet)).await {
            stub.send_to(&packet[..len], from).await.unwrap();
        }
    }
}
