//! The mesh calls this machine: over TLS with the machine's own certificate, and who may is said in the file.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent, ca::Shape, ca::TestCa, ca::spiffe_id, free, sidecar::call_as, wait::wait_for,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::Machine;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_named_calls_a_program_that_learns_who_it_is() -> Result<()> {
    let program = Program::start().await?;
    let callers = "[spiffe://cluster.local/ns/prod/sa/*]";
    let (machine, agent, place) = listening(&program, "http", callers).await?;
    let shop = spiffe_id("prod", "shop");

    let called = answered(&machine, &agent, &shop, place).await?;
    ensure!(called.contains("HTTP/1.1 200"), "{called}");
    ensure!(called.contains("GET /orders HTTP/1.1"), "{called}");
    ensure!(called.to_lowercase().contains(&format!("uri={shop}")), "who calls: {called}");

    // One that is not named has its answer, and the program does not hear of it.
    let before = program.heard();
    let other = call_as(&machine.ca, &spiffe_id("test", "shop"), place, "/orders").await?;
    ensure!(other.reply.starts_with("HTTP/1.1 403"), "{}", other.reply);
    ensure!(other.machine == machine.identity(), "{other:?}");
    // A stranger's certificate, and none at all, are refused with the handshake.
    let strangers = TestCa::new(Shape::SelfSigned)?;
    refused(&strangers, &shop, place).await?;
    ensure!(plain(place).await? != "200", "without TLS");
    ensure!(program.heard() == before, "the program was called");
    let counted = machine.envoy("/stats?filter=rbac.denied").await?;
    ensure!(counted.trim_end().ends_with(": 1"), "it is counted: {counted}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn octets_are_for_those_who_are_named_as_well() -> Result<()> {
    let program = Program::start().await?;
    let callers = format!("[{}]", spiffe_id("prod", "shop"));
    let (machine, agent, place) = listening(&program, "tcp", &callers).await?;

    let called = answered(&machine, &agent, &spiffe_id("prod", "shop"), place).await?;

    ensure!(called.contains("GET /orders HTTP/1.1"), "as it was sent: {called}");
    let before = program.heard();
    refused(&machine.ca, &spiffe_id("prod", "other"), place).await?;
    ensure!(program.heard() == before, "the program was called");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_calls_over_https_where_that_is_said_and_nobody_is_believed() -> Result<()> {
    let program = Program::start().await?;
    let (machine, agent, place) = listening(&program, "http", "anybody").await?;
    // Whoever calls shows a certificate of no mesh, which nobody looks at.
    let strangers = TestCa::new(Shape::SelfSigned)?;

    let called = wait_for("an answer", async || {
        let called = call_as(&strangers, &spiffe_id("prod", "shop"), place, "/orders").await;
        let called = called.with_context(|| agent.tail())?;
        ensure!(called.reply.contains("HTTP/1.1 200"), "{}", called.reply);
        Ok(called)
    })
    .await?;

    ensure!(called.machine == machine.identity(), "{called:?}");
    ensure!(!called.reply.to_lowercase().contains("spiffe://"), "{}", called.reply);
    Ok(())
}

/// A machine whose program the mesh may call, with where it does.
async fn listening(
    program: &Program,
    protocol: &str,
    callers: &str,
) -> Result<(Machine, Agent, SocketAddr)> {
    let machine = Machine::new().await?;
    let place = SocketAddr::from((Ipv4Addr::LOCALHOST, free::port(Ipv4Addr::LOCALHOST.into())?));
    let inbound = format!(
        "inbound:\n  - {{address: 127.0.0.1, port: {}, to: '{}', protocol: {protocol}, \
         callers: {callers}}}\n",
        place.port(),
        program.at
    );
    machine.write(&format!("{}{inbound}", machine.text()?))?;
    let agent = machine.vm.start().await?;
    Ok((machine, agent, place))
}

/// What somebody of the mesh gets, when the listener is there.
async fn answered(machine: &Machine, agent: &Agent, who: &str, at: SocketAddr) -> Result<String> {
    wait_for("an answer", async || {
        let called = call_as(&machine.ca, who, at, "/orders").await;
        let called = called.with_context(|| agent.tail())?;
        ensure!(called.machine == machine.identity(), "{called:?}");
        ensure!(called.reply.contains("/orders"), "{}", called.reply);
        Ok(called.reply)
    })
    .await
}

/// Nothing is answered.
async fn refused(ca: &TestCa, who: &str, at: SocketAddr) -> Result<()> {
    if let Ok(called) = call_as(ca, who, at, "/orders").await {
        ensure!(called.reply.is_empty(), "{who} is answered: {}", called.reply);
    }
    Ok(())
}

/// The status of an answer to somebody who speaks no TLS, if there is one.
async fn plain(at: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(b"GET /orders HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await?;
    let mut reply = Vec::new();
    drop(tokio::time::timeout(LIMIT, stream.read_to_end(&mut reply)).await?);
    let reply = String::from_utf8_lossy(&reply).into_owned();
    Ok(reply.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// A program that knows nothing of TLS, and answers with what it was asked.
struct Program {
    at: SocketAddr,
    heard: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Program {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (at, heard) = (listener.local_addr()?, Arc::default());
        let (mut tasks, told) = (JoinSet::new(), Arc::clone(&heard));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let told = Arc::clone(&told);
                connections.spawn(async move {
                    drop(echo(stream, &told).await);
                });
            }
        });
        Ok(Self { at, heard, _tasks: tasks })
    }

    /// How many requests.
    fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

async fn echo(mut stream: TcpStream, heard: &AtomicUsize) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut request).await? > 0, "it has gone");
    }
    heard.fetch_add(1, Ordering::Relaxed);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        request.len()
    );
    stream.write_all(&[head.as_bytes(), &request].concat()).await?;
    Ok(stream.shutdown().await?)
}

const LIMIT: Duration = Duration::from_secs(10);
