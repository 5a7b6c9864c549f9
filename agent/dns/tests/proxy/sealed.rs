//! Resolvers that are asked over TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hawser_dns::{Forward, Sockets, Upstreams};
use hickory_proto::op::ResponseCode::{NoError, ServFail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::client::{A, PATIENCE, query, read, receive, resolve, send, socket};
use crate::fixture::{Proxy, options};
use crate::upstream::with_addresses;

/// A resolver that takes so many questions on a connection before it answers them, last first, and
/// hangs up after them if it is told to.
struct Sealed {
    address: SocketAddr,
    client: Arc<ClientConfig>,
    connections: mpsc::Receiver<()>,
    _running: JoinSet<()>,
}

async fn sealed(batch: usize, hangs_up: bool) -> Sealed {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(["dns.example".to_owned()]).unwrap();
    let cert = cert.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, connections) = mpsc::channel(100);
    let mut running = JoinSet::new();
    running.spawn(async move {
        let mut parts = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tell.send(()).await.unwrap();
            let acceptor = acceptor.clone();
            parts.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                loop {
                    let mut questions = Vec::new();
                    while questions.len() < batch {
                        let Ok(len) = stream.read_u16().await else { return };
                        let mut packet = vec![0; usize::from(len)];
                        stream.read_exact(&mut packet).await.unwrap();
                        questions.push(packet);
                    }
                    for packet in questions.iter().rev() {
                        let last = packet[13];
                        let reply = with_addresses(packet, &[[7, 7, 7, last]], None);
                        let len = u16::try_from(reply.len()).unwrap().to_be_bytes();
                        stream.write_all(&[&len, &*reply].concat()).await.unwrap();
                    }
                    stream.flush().await.unwrap();
                    if hangs_up {
                        stream.shutdown().await.unwrap();
                        return;
                    }
                }
            });
        }
    });
    Sealed { address, client: Arc::new(client), connections, _running: running }
}

async fn start(
    address: SocketAddr,
    name: &str,
    client: Option<Arc<ClientConfig>>,
    timeout: Duration,
) -> Proxy {
    let upstream = hawser_dns::Upstream { address, tls: Some(name.to_owned()) };
    let mut options = options(Upstreams::Fixed(vec![upstream]), timeout);
    options.forward = Forward { timeout, tls: client, ..Forward::default() };
    let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    Proxy::start_by(sockets, options).await
}

#[tokio::test]
async fn questions_share_a_connection_and_replies_come_in_any_order() {
    let mut server = sealed(4, false).await;
    let proxy = start(server.address, "dns.example", Some(server.client.clone()), PATIENCE).await;
    let client = socket().await;
    for (id, name) in ["a.x", "b.x", "c.x", "d.x"].iter().enumerate() {
        send(&client, &query(id.try_into().unwrap(), name, A, None), proxy.address).await;
    }
    for _ in 0..4 {
        let answer = receive(&client).await;
        let expected = format!("7.7.7.{}", b'a' + answer[1]);
        assert_eq!(read(&answer).answers[0].data.to_string(), expected);
    }
    assert!(server.connections.recv().await.is_some());
    assert!(server.connections.try_recv().is_err(), "one connection");
    proxy.end().await;
}

#[tokio::test]
async fn a_connection_that_was_closed_is_opened_again() {
    let server = sealed(1, true).await;
    let proxy = start(server.address, "dns.example", Some(server.client.clone()), PATIENCE).await;
    for name in ["a.x", "b.x", "c.x"] {
        assert_eq!(resolve(name, proxy.address).await.0, NoError, "{name}");
    }
    proxy.end().await;
}

#[tokio::test]
async fn a_resolver_that_is_somebody_else_is_not_believed() {
    let server = sealed(1, false).await;
    let other = sealed(1, false).await;
    for (name, client) in [
        ("elsewhere.example", Some(server.client.clone())),
        ("dns.example", Some(other.client.clone())),
        ("dns.example", None),
        ("no name", Some(server.client.clone())),
    ] {
        let proxy = start(server.address, name, client, PATIENCE).await;
        assert_eq!(resolve("a.x", proxy.address).await.0, ServFail, "{name}");
        proxy.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_hangs_takes_no_more_than_the_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let server = sealed(1, false).await;
    let proxy = start(address, "dns.example", Some(server.client), Duration::from_secs(5)).await;
    let client = socket().await;
    send(&client, &query(1, "a.x", A, None), proxy.address).await;
    let mut answer = [0; 512];
    let len = client.recv(&mut answer).await.unwrap();
    assert_eq!(read(&answer[..len]).metadata.response_code, ServFail);
    proxy.end().await;
}
