//! Several endpoints, and several addresses of one.

use std::net::{Ipv4Addr, TcpListener as StdListener};

use socket2::{Domain, Socket, Type};
use tokio::time::{Instant, advance, pause, resume};

use super::*;
use crate::{Endpoint, health::Spot};

/// A server for each name, of one mesh.
async fn servers<const N: usize>(setup: &Setup, names: [&str; N]) -> Vec<Server> {
    let mut servers = Vec::new();
    for name in names {
        let pair = setup.mesh.server(name);
        servers.push(Server::start(pair, Asks::Nothing, Answer::Settings).await);
    }
    servers
}

fn endpoint(address: SocketAddr, name: &str) -> Endpoint {
    Endpoint { server_name: Some(name.to_owned()), ..address.to_string().parse().unwrap() }
}

/// Options for endpoints that are one server each, under its name.
fn listed(setup: &Setup, servers: &[Server], names: &[&str]) -> Options {
    let mut options = setup.options(&[servers[0].address]);
    let each = servers.iter().zip(names);
    options.endpoints = each.map(|(server, name)| endpoint(server.address, name)).collect();
    options
}

fn bare(options: Options) -> Istiod {
    way(options, Credentials::none())
}

#[tokio::test]
async fn the_first_endpoint_is_taken_until_it_fails_and_again_when_that_is_long_ago() {
    let setup = Setup::new();
    let names = ["istiod-a", "istiod-b"];
    let servers = servers(&setup, names).await;
    let istiod = bare(listed(&setup, &servers, &names));
    let reached = async || istiod.connect().await.unwrap();

    for _ in 0..3 {
        assert_eq!(reached().await.peer, servers[0].address);
    }
    reached().await.failed();
    let second = reached().await;
    assert_eq!(second.peer, servers[1].address);
    assert_eq!(second.endpoint(), &endpoint(servers[1].address, "istiod-b"));

    second.failed();
    reached().await;

    let first = Spot { endpoint: 0, address: servers[0].address };
    istiod.0.health.lock().accepted(first, Instant::now());
    second.accepted();
    assert_eq!(reached().await.peer, servers[0].address);
    reached().await.failed();
    assert_eq!(reached().await.peer, servers[1].address);
    pause();
    advance(Duration::from_secs(300)).await;
    resume();
    assert_eq!(reached().await.peer, servers[0].address);
}

#[tokio::test]
async fn the_addresses_of_one_endpoint_are_taken_by_chance() {
    let setup = Setup::new();
    let server = Server::start(setup.mesh.server(NAME), Asks::Nothing, Answer::Settings).await;
    let other = StdListener::bind(SocketAddr::new(
        Ipv4Addr::new(127, 9, 9, 9).into(),
        server.address.port(),
    ));
    drop(other.unwrap());
    let nobody = SocketAddr::new([127, 9, 9, 9].into(), server.address.port());
    let options = setup.options(&[nobody, server.address]);
    let mut met = 0;
    for _ in 0..40 {
        let istiod = bare(options.clone());
        assert_eq!(istiod.connect().await.unwrap().peer, server.address);
        let spot = Spot { endpoint: 0, address: nobody };
        met += usize::from(istiod.0.health.lock().avoided(spot, Instant::now()).is_some());
    }
    assert!((1..40).contains(&met), "{met} of 40 began with the first");
}

#[tokio::test]
async fn each_endpoint_has_its_own_name_and_encryption() {
    let setup = Setup::new();
    setup.write("istio-token", "a.b.c");
    let names = ["istiod-a", "istiod-b"];
    let servers = servers(&setup, names).await;
    let mut options = listed(&setup, &servers, &["istiod-x", "istiod-y"]);
    let plain = Server::start_plain(Answer::Settings).await;

    let text = refusal(options.clone()).await;
    let [a, b] = [&servers[0], &servers[1]].map(|server| server.address);
    let start = format!("{a} ({a}) shows a certificate for istiod-a, not for istiod-x");
    assert!(text.starts_with(&start), "{text}");
    let elsewhere = format!("; elsewhere: {b}: {b}: {b} ({b}) shows a certificate for istiod-b");
    assert!(text.contains(&elsewhere), "{text}");

    options.endpoints.push(Endpoint { tls: false, ..endpoint(plain.address, "unused") });
    let identity = own(setup.mesh.identity(HOUR));
    let credentials = Credentials::new(setup.sources(), identity, Clock::default());
    let connection = way(options, credentials).connect().await.unwrap();
    assert_eq!((connection.peer, connection.shown), (plain.address, Shown::Token));
    assert!(connection.what().starts_with("token file"), "{}", connection.what());
}

#[tokio::test]
async fn every_endpoint_and_address_that_was_tried_is_named() {
    let setup = Setup::new();
    let mut options = setup.options(&["127.0.0.1:1".parse().unwrap()]);
    options.hosts = [("a", [127, 9, 9, 9]), ("a", [127, 9, 9, 8]), ("b", [127, 9, 9, 7])]
        .map(|(name, address)| (name.to_owned(), address.into()))
        .into_iter()
        .collect();
    options.endpoints =
        ["a:1", "b:1", "c.invalid:1"].map(|endpoint| endpoint.parse().unwrap()).into();

    let text = refusal(options.clone()).await;
    let start = "cannot connect to istiod: a:1: 127.9.9.8:1 refused, 127.9.9.9:1 refused; \
                 b:1: 127.9.9.7:1 refused; c.invalid:1: not resolved (";
    assert!(text.starts_with(start), "{text}");

    options.endpoints = (0..100).map(|_| "a:1".parse().unwrap()).collect();
    let text = refusal(options).await;
    assert!(text.ends_with(", and 188 more") && text.len() < 1000, "{text}");
}

#[tokio::test]
async fn no_endpoint_at_all_is_refused_before_the_first_dial() {
    let setup = Setup::new();
    let mut options = setup.options(&["127.0.0.1:1".parse().unwrap()]);
    options.endpoints.clear();
    let learned = watch::channel(None).1;
    let error = Istiod::new(options, Credentials::none(), learned, Clock::default()).unwrap_err();
    assert!(matches!(error, Error::NoEndpoint), "{error:?}");
}

/// Takes no connection and says so to nobody: its queue is full.
fn black_hole() -> (Socket, Vec<std::net::TcpStream>) {
    let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    hole.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    for _ in 0..8 {
        let soon = Duration::from_millis(50);
        let Ok(stream) = std::net::TcpStream::connect_timeout(&address, soon) else { break };
        queued.push(stream);
    }
    (hole, queued)
}

#[tokio::test]
async fn an_address_that_swallows_everything_does_not_hold_up_the_next() {
    let setup = Setup::new();
    let server = Server::start(setup.mesh.server(NAME), Asks::Nothing, Answer::Settings).await;
    let (hole, _queued) = black_hole();
    let hole = hole.local_addr().unwrap().as_socket().unwrap();
    let mut options = setup.options(&[server.address]);
    options.endpoints.insert(0, endpoint(hole, NAME));
    // Waited for in full, this would never end.
    options.connect_timeout = Duration::from_secs(86_400);

    let istiod = bare(options);
    assert_eq!(istiod.connect().await.unwrap().peer, server.address);
    let first = Spot { endpoint: 0, address: hole };
    assert!(istiod.0.health.lock().avoided(first, Instant::now()).is_some(), "nor the next dial");
}

#[tokio::test]
async fn a_name_that_is_not_resolved_any_more_is_sought_where_it_was() {
    let setup = Setup::new();
    let server = Server::start(setup.mesh.server(NAME), Asks::Nothing, Answer::Settings).await;
    let mut options = setup.options(&[server.address]);
    options.hosts = Hosts::default();
    options.endpoints =
        vec![Endpoint { host: "istiod.invalid".to_owned(), ..endpoint(server.address, NAME) }];
    let istiod = bare(options);
    let error = istiod.connect().await.unwrap_err();
    assert!(matches!(error, Error::Resolve { .. }), "{error:?}");

    let spot = Spot { endpoint: 0, address: server.address };
    istiod.0.health.lock().accepted(spot, Instant::now());
    assert_eq!(istiod.connect().await.unwrap().peer, server.address);

    drop(server);
    let text = Chain(&istiod.connect().await.unwrap_err()).to_string();
    assert!(text.contains("not resolved (") && text.contains(" refused"), "{text}");
}
