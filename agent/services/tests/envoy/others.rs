//! Others: who calls through this machine, and whom of it the mesh calls.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use hawser_harness::{
    ca::spiffe_id,
    eastwest::{Member, Speaks},
    sidecar::call_as,
    wait::wait_for,
    workload::Answer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};

use crate::machine::{LOCALHOST, Machine, me};

const REVIEWS: &str = "reviews.prod.svc.cluster.local";
const STORE: &str = "store.prod.svc.cluster.local";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_calls_through_this_machine_and_all_others_are_closed_and_counted() -> Result<()>
{
    let members = [
        Member::new("reviews", "prod", 9080, Speaks::Http),
        Member::new("store", "prod", 5432, Speaks::Tcp),
    ];
    let mut machine = Machine::start(&members, 1).await?;
    let (port, tcp) = (Machine::port()?, Machine::port()?);
    let own: IpAddr = format!("127.88.{}.7", fastrand::u8(..)).parse()?;
    machine
        .file(&format!(
            "forwarder: {{address: {own}, allow: [127.77.0.0/16]}}\n\
             services:\n\
             - {{host: {REVIEWS}, port: 9080, local_port: {port}, identity: ns/prod/sa/reviews}}\n\
             - {{host: {STORE}, port: 5432, local_port: {tcp}, protocol: tcp, identity: ns/prod/sa/store}}\n",
        ))
        .await?;

    // Names lead to this machine for everybody, its own programs among them.
    assert_eq!(machine.at(REVIEWS, port).ip(), own);
    assert_eq!(machine.at(STORE, tcp).ip(), own);
    for entry in machine.names()?.iter() {
        assert_eq!(entry.ips().collect::<Vec<_>>(), [own.to_string()]);
    }
    let ask = format!("GET /here HTTP/1.1\r\nhost: {REVIEWS}\r\nconnection: close\r\n\r\n");
    for from in ["127.77.3.4".parse()?, own] {
        let said = wait_for("an answer", async || {
            let said = from_to(from, SocketAddr::new(own, port), ask.as_bytes()).await?;
            ensure!(said.starts_with("HTTP/1.1 200"), "{said}");
            Ok(said)
        });
        let answer: Answer =
            serde_json::from_str(said.await?.split("\r\n\r\n").nth(1).unwrap_or_default())?;
        assert_eq!((answer.caller, answer.path), (me(), "/here".to_owned()));
        let said = from_to(from, SocketAddr::new(own, tcp), b"hello").await?;
        assert_eq!(said, "hello");
    }
    for port in [port, tcp] {
        let refused = from_to("127.78.0.1".parse()?, SocketAddr::new(own, port), b"hello").await;
        ensure!(refused.as_deref().unwrap_or_default() == "", "{refused:?}");
    }
    assert_eq!(machine.stat(&format!("listener.{own}.*no_filter_chain_match")).await?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_called_by_those_of_the_mesh_who_may_and_learns_who_it_was() -> Result<()> {
    let mut machine = Machine::start(&[], 0).await?;
    let (http, tcp, open, meshed) =
        (Machine::port()?, Machine::port()?, Machine::port()?, Machine::port()?);
    let program = TcpListener::bind((LOCALHOST, 0)).await?;
    let to = program.local_addr()?.port();
    let mut tasks = JoinSet::new();
    tasks.spawn(tell(program));
    machine
        .file(&format!(
            "access_log: journal\n\
             inbound:\n\
             - {{port: {http}, address: 127.0.0.1, to: {to}, callers: ['spiffe://cluster.local/ns/prod/*', ns/test/sa/one]}}\n\
             - {{port: {tcp}, address: 127.0.0.1, to: {to}, protocol: tcp, callers: ['spiffe://cluster.local/ns/prod/*']}}\n\
             - {{port: {meshed}, address: 127.0.0.1, to: {to}, callers: mesh}}\n\
             - {{port: {open}, address: 127.0.0.1, to: {to}, callers: anybody}}\n",
        ))
        .await?;
    let at = |port| SocketAddr::new(LOCALHOST, port);
    let (may, one, other) =
        (spiffe_id("prod", "web"), spiffe_id("test", "one"), spiffe_id("test", "other"));

    let called = wait_for("the port", async || call_as(&machine.ca, &may, at(http), "/x").await);
    let called = called.await?;
    assert_eq!(called.machine, me());
    ensure!(called.reply.contains(&format!("URI={may}")), "{}", called.reply);
    let called = call_as(&machine.ca, &one, at(http), "/x").await?;
    ensure!(called.reply.contains(&format!("URI={one}")), "{}", called.reply);
    let refused = call_as(&machine.ca, &other, at(http), "/x").await?.reply;
    ensure!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    ensure!(machine.stat("rbac.denied").await? == 1, "not counted");

    let called = call_as(&machine.ca, &may, at(tcp), "/x").await?;
    ensure!(called.reply.contains("GET /x"), "{}", called.reply);
    let refused = call_as(&machine.ca, &other, at(tcp), "/x").await;
    ensure!(refused.as_ref().map_or(true, |called| called.reply.is_empty()), "{refused:?}");
    ensure!(machine.stat("ssl.fail_verify_san").await? == 1, "not counted");

    wait_for("the access log among what Envoy says", async || {
        let log = machine.log()?;
        ensure!(log.contains(&format!(r#""caller":"{may}""#)), "{log}");
        Ok(())
    })
    .await?;

    let called = call_as(&machine.ca, &other, at(meshed), "/x").await?;
    ensure!(called.reply.contains(&format!("URI={other}")), "{}", called.reply);
    let called = call_as(&machine.ca, &other, at(open), "/x").await?;
    ensure!(called.reply.starts_with("HTTP/1.1 200"), "{}", called.reply);
    ensure!(!called.reply.contains("URI="), "{}", called.reply);
    Ok(())
}

/// Says something from an address to an address, and hears what is answered until the other is done,
/// or until it was as much.
async fn from_to(from: IpAddr, to: SocketAddr, said: &[u8]) -> Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(to).await?;
    stream.write_all(said).await?;
    let mut heard = Vec::new();
    while stream.read_buf(&mut heard).await? > 0 && heard != said {}
    Ok(String::from_utf8(heard)?)
}

/// Tells everybody what it was told.
async fn tell(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\n") {
                if !matches!(stream.read_buf(&mut heard).await, Ok(1..)) {
                    return;
                }
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", heard.len());
            drop(stream.write_all(&[head.as_bytes(), &heard].concat()).await);
        });
    }
}
