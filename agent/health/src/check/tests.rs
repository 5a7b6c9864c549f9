//! Questions to workloads on loopback, who answer what they are told to.

mod exec;
mod grpc;
mod http;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::*;
use crate::{Tcp, Thresholds, Units};

const FOR_EVER: Duration = Duration::from_secs(3600);

/// A workload, for as long as this lives, and what it has heard.
struct Workload {
    address: SocketAddr,
    heard: mpsc::Receiver<Heard>,
    _tasks: JoinSet<()>,
}

/// One connection: who made it, and what was said on it.
struct Heard {
    from: SocketAddr,
    request: String,
}

impl Workload {
    /// Reads the head of a request on each connection and writes the next of these answers, the
    /// last of them again and again. `ADDRESS` in them is its own.
    async fn says(answers: Vec<String>) -> Self {
        Self::at("127.0.0.1:0", answers).await
    }

    async fn at(address: &str, answers: Vec<String>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = Vec::new();
            for at in 0.. {
                let (mut stream, from) = listener.accept().await.unwrap();
                let request = head(&mut stream).await;
                let answer = answers.get(at).or(answers.last()).unwrap();
                let answer = answer.replace("ADDRESS", &address.to_string());
                stream.write_all(answer.as_bytes()).await.ok();
                // It stays open, so that nobody waits for its end.
                open.push(stream);
                tell.send(Heard { from, request }).await.unwrap();
            }
        });
        Self { address, heard, _tasks: tasks }
    }

    async fn heard(&mut self) -> Heard {
        self.heard.recv().await.unwrap()
    }
}

/// Reads up to the empty line, or to the end.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(read).unwrap()
}

/// Asks without a limit, so that no test depends on time.
async fn ask(method: Method) -> Result<(), String> {
    ask_at("127.0.0.1", &method).await
}

/// The same of a machine whose first address this is.
async fn ask_at(first: &str, method: &Method) -> Result<(), String> {
    once(method, Some(first.parse().unwrap()), FOR_EVER).await
}

fn tcp(address: SocketAddr) -> Method {
    Method::Tcp(Tcp { host: Some(address.ip().to_string()), port: address.port() })
}

/// An address where nobody listens: it is taken while the socket is there, so that no other test
/// gets it.
fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn a_port_that_takes_a_connection_is_well_and_one_that_does_not_is_not() {
    let mut workload = Workload::says(vec![String::new()]).await;

    assert_eq!(ask(tcp(workload.address)).await, Ok(()));

    let heard = workload.heard().await;
    assert_eq!(heard.from.ip().to_string(), "127.0.0.6", "interception lets it alone");
    assert_eq!(heard.request, "");
    let (_taken, nobody) = nobody();
    let reason = ask(tcp(nobody)).await.unwrap_err();
    assert!(reason.starts_with(&format!("cannot connect to {nobody}: Connection refused")));
}

#[tokio::test]
async fn a_target_that_the_usual_source_does_not_reach_is_asked_from_another() {
    let mut workload = Workload::at("[::1]:0", vec![String::new()]).await;

    assert_eq!(ask(tcp(workload.address)).await, Ok(()));

    // Whoever intercepts IPv6 gives this machine ::6 too.
    let from = workload.heard().await.from.ip().to_string();
    assert!(["::1", "::6"].contains(&&*from), "{from}");
}

#[tokio::test]
async fn whoever_is_not_named_is_the_first_address_of_the_machine() {
    let mut workload = Workload::at("127.0.0.9:0", vec![String::new()]).await;
    let method = Method::Tcp(Tcp { host: None, port: workload.address.port() });

    assert_eq!(ask_at("127.0.0.9", &method).await, Ok(()));

    workload.heard().await;
    let elsewhere = ask_at("127.0.0.10", &method).await.unwrap_err();
    assert!(elsewhere.starts_with("cannot connect to 127.0.0.10:"), "{elsewhere}");
}

#[tokio::test]
async fn localhost_is_every_loopback() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let workload = Workload::at(address, vec![String::new()]).await;
        let port = workload.address.port();
        let method = Method::Tcp(Tcp { host: Some("LocalHost".to_owned()), port });
        assert_eq!(ask(method).await, Ok(()), "{address}");
    }
}

#[tokio::test]
async fn a_host_without_an_address_is_named() {
    // Longer than a label may be, so that no name server is asked.
    let name = "x".repeat(64);
    let method = Method::Tcp(Tcp { host: Some(name.clone()), port: 1 });

    let reason = ask(method).await.unwrap_err();

    assert!(reason.starts_with(&format!("{name}: ")), "{reason}");
}

#[test]
fn a_target_is_shown_as_people_write_it() {
    let cases = [
        (Some("db"), None, "db:1"),
        (Some("::1"), Some("10.0.0.5"), "[::1]:1"),
        (None, Some("10.0.0.5"), "10.0.0.5:1"),
        (None, Some("fd00::5"), "[fd00::5]:1"),
        (None, None, "localhost:1"),
    ];
    for (name, first, expected) in cases {
        let first = first.map(|first| first.parse().unwrap());
        assert_eq!(Target::new(name, first, 1).to_string(), expected);
    }
}

#[tokio::test]
async fn all_that_a_probe_asks_has_to_be_well() {
    let workload = Workload::says(vec![String::new()]).await;
    let (_taken, nobody) = nobody();
    let (well, ill) = (tcp(workload.address), tcp(nobody));
    for (methods, reasons) in [
        (vec![], 0),
        (vec![well.clone(), well.clone()], 0),
        (vec![well.clone(), ill.clone()], 1),
        (vec![ill.clone(), well, ill], 2),
    ] {
        let probe = Probe {
            methods,
            initial_delay: Duration::ZERO,
            timeout: FOR_EVER,
            period: FOR_EVER,
            thresholds: Thresholds { success: 1, failure: 1 },
        };
        let found = all(&probe, None).await.err().unwrap_or_default();
        assert_eq!(found.matches("cannot connect").count(), reasons, "{found}");
    }
}

#[tokio::test]
async fn a_unit_that_nobody_has_is_not_well() {
    let units = Units::named(["hawser-there-is-none"]).unwrap();

    let reason = ask(Method::Units(units)).await.unwrap_err();

    // By systemd itself where it runs, and otherwise that it does not.
    assert!(reason.contains("hawser-there-is-none") || reason.contains("system"), "{reason}");
}
