//! One machine calls for many that know nothing of the mesh: they ask it for names, and it is all names.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use hawser_harness::{
    dig::Dig,
    envoy::envoy_binary,
    http1::{self, Reply, call_from},
    netns::Net,
    wait::wait_for,
    workload::Answer,
};
use hickory_proto::op::ResponseCode;
use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::timeout,
};

use super::Machine;

#[test]
fn two_hundred_machines_call_through_it_and_a_stranger_is_refused() -> Result<()> {
    let site = Site::build()?;
    site.runtime.block_on(async {
        let machine = site.machine("").await?;
        let agent = machine.vm.start().await?;
        let host = machine.eastwest.member("reviews")?.host();
        let place = Place { host: host.clone(), port: machine.port("reviews")? };
        let first = CLIENTS.0;
        site.from(first, &place).await.with_context(|| agent.tail())?;

        let mut clients = JoinSet::new();
        for client in 0..COUNT {
            let (place, own) = (place.clone(), of(first, client));
            clients.spawn_on(async move { calls(own, &place).await }, site.clients.handle());
        }
        while let Some(called) = clients.join_next().await {
            let answer: Answer = called??.json()?;
            ensure!(answer.caller == machine.identity(), "the mesh knows one: {answer:?}");
        }

        // Its own programs go the same way.
        let own: Answer = calls(FORWARDER, &place).await?.json()?;
        ensure!(own.caller == machine.identity(), "{own:?}");
        let octets = site.echo(first, machine.port("store")?).await?;
        ensure!(octets == b"there and back", "{octets:?}");
        stranger(&site, &machine, &place).await?;
        ensure!(site.from(first, &place).await?.status == 200, "the others go on");
        Ok(())
    })
}

#[test]
fn it_speaks_tls_with_its_own_certificate_where_that_is_said() -> Result<()> {
    let site = Site::build()?;
    site.runtime.block_on(async {
        let machine = site.machine("  tls: own\n").await?;
        let agent = machine.vm.start().await?;
        let address = SocketAddr::from((FORWARDER, machine.port("reviews")?));
        let roots = machine.dir().join("roots.pem");
        hawser_state::write_file(&roots, 0o644, machine.ca.root_pem().as_bytes())?;
        let host = machine.eastwest.member("reviews")?.host();
        let url = format!("{host}:{}", address.port());

        // Its certificate names no host, so the chain is what can be checked, not a name.
        let shown = wait_for("a TLS server", async || {
            let (address, roots) = (address.to_string(), roots.display().to_string());
            let request = format!("GET /here HTTP/1.1\r\nhost: {url}\r\nconnection: close\r\n\r\n");
            let client =
                site.clients.spawn(async move { s_client(&address, &roots, &request).await });
            let shown = client.await??;
            ensure!(shown.contains("HTTP/1.1 200"), "{shown} {}", agent.tail());
            Ok(shown)
        })
        .await?;

        ensure!(shown.contains("Verify return code: 0 (ok)"), "{shown}");
        ensure!(shown.contains(&machine.identity()), "what it answers: {shown}");
        let plain = site.from(CLIENTS.0, &Place { host, port: address.port() }).await;
        ensure!(plain.is_err(), "who does not speak TLS is answered: {plain:?}");
        Ok(())
    })
}

#[test]
fn one_of_a_group_goes_when_those_who_call_have_gone() -> Result<()> {
    let site = Site::build()?;
    site.runtime.block_on(async {
        let machine = site.machine("").await?;
        let mut agent = machine.vm.start().await?;
        let host = machine.eastwest.member("reviews")?.host();
        let place = Place { host, port: machine.port("reviews")? };
        site.from(CLIENTS.0, &place).await?;
        let store = SocketAddr::from((FORWARDER, machine.port("store")?));
        let held = TcpSocket::new_v4()?.connect(store).await?;
        let ready = SocketAddr::from((Ipv4Addr::LOCALHOST, port(&machine, "status_port")?));
        ensure!(probed(ready).await? == 200, "{}", agent.tail());

        let late = machine.vm.hawser(&["drain", "--wait", "--limit", "1s"]).await?;

        let said = crate::rig::said(&late);
        ensure!(late.status.code() == Some(75), "a connection is left: {said}");
        ensure!(said.contains("a load balancer is told"), "{said}");
        // The load balancer hears of it, and who has not heard is served all the same.
        ensure!(probed(ready).await? == 503, "{}", agent.tail());
        ensure!(site.from(CLIENTS.0, &place).await?.status == 200, "{}", agent.tail());
        drop(held);
        let done = machine.vm.hawser(&["drain", "--wait", "--limit", "20s"]).await?;
        ensure!(done.status.success(), "{}", crate::rig::said(&done));
        ensure!(agent.terminate().await?.success(), "{}", agent.tail());
        Ok(())
    })
}

/// What a machine gets whose address is in no network that may call.
async fn stranger(site: &Site, machine: &Machine, place: &Place) -> Result<()> {
    let refused = Dig::a(&place.host);
    let answer = ask(site, STRANGER, refused).await?;
    ensure!(answer.code() == ResponseCode::Refused, "{:?}", answer.code());
    for port in [place.port, machine.port("store")?] {
        let closed = site.clients.spawn(async move { first_octet(STRANGER, port).await });
        ensure!(closed.await?? == 0, "something is said to a stranger at {port}");
    }
    let counted = machine.envoy("/stats?filter=no_filter_chain_match").await?;
    let sum: u64 =
        counted.lines().filter_map(|line| line.split_once(": ")?.1.parse::<u64>().ok()).sum();
    ensure!(sum == 2, "both are counted: {counted}");
    Ok(())
}

async fn ask(site: &Site, from: Ipv4Addr, dig: Dig<'_>) -> Result<hawser_harness::dig::Answer> {
    let name = dig.name.to_owned();
    let asked = async move { Dig::a(&name).ask_from(from.into(), (FORWARDER, 53).into()).await };
    site.clients.spawn(asked).await?
}

/// How many octets come over a connection on which nothing is said.
async fn first_octet(from: Ipv4Addr, port: u16) -> Result<usize> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect((FORWARDER, port).into()).await?;
    let mut octet = [0];
    let read = timeout(LIMIT, stream.read(&mut octet)).await.context("it is left open")?;
    // Cut off, or ended.
    Ok(read.unwrap_or_default())
}

/// Asks for the name and calls what it is told, as a program on a plain machine does.
async fn calls(own: Ipv4Addr, place: &Place) -> Result<Reply> {
    let answer = Dig::a(&place.host).ask_from(own.into(), (FORWARDER, 53).into()).await?;
    ensure!(answer.addresses() == [IpAddr::V4(FORWARDER)], "{:?}", answer.addresses());
    let host = format!("{}:{}", place.host, place.port);
    let at = (FORWARDER, place.port).into();
    let reply = call_from(own.into(), at, &Method::GET, "/here", &[("host", &host)]).await?;
    ensure!(reply.status == 200, "{own}: {} {}", reply.status, reply.body);
    Ok(reply)
}

async fn probed(status: SocketAddr) -> Result<u16> {
    Ok(http1::call(status, &Method::GET, "/healthz/ready", &[]).await?.status)
}

async fn s_client(address: &str, roots: &str, request: &str) -> Result<String> {
    let mut client = tokio::process::Command::new("openssl");
    client.args(["s_client", "-connect", address, "-CAfile", roots, "-ign_eof"]);
    client.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    client.stderr(std::process::Stdio::piped()).kill_on_drop(true);
    let mut client = client.spawn().context("run openssl")?;
    let mut input = client.stdin.take().context("no stdin")?;
    input.write_all(request.as_bytes()).await?;
    let output = timeout(LIMIT, client.wait_with_output()).await.context("it goes on")??;
    Ok(crate::rig::said(&output))
}

fn port(machine: &Machine, key: &str) -> Result<u16> {
    let settings: toml::Table = machine.vm.toml()?.parse()?;
    let port = settings["envoy"][key].as_integer().context("no port")?;
    Ok(u16::try_from(port)?)
}

/// A service, as a program knows it.
#[derive(Debug, Clone)]
struct Place {
    host: String,
    port: u16,
}

/// The network of the forwarder, and beyond a cable that of machines which know nothing of a mesh. The
/// thread that has made it is in the first.
///
/// In the order in which they go.
struct Site {
    runtime: Runtime,
    /// Whose threads are in the network of the others.
    clients: Runtime,
    _far: Net,
    _near: Net,
}

impl Site {
    fn build() -> Result<Self> {
        // What may have to be fetched is fetched before this thread is where nothing can be.
        envoy_binary()?;
        let (near, far) = (Net::new("near")?, Net::new("far")?);
        near.join(&far, FORWARDER, GATE)?;
        let mut addresses = String::new();
        for client in 0..COUNT {
            addresses.push_str(&format!("address add {}/32 dev cable0\n", of(CLIENTS.0, client)));
        }
        addresses.push_str(&format!("address add {STRANGER}/32 dev cable0\n"));
        batch(&far, &addresses)?;
        batch(&near, &format!("route add {STRANGER}/32 dev cable0\n"))?;
        let clients = inside(&far)?;
        near.enter()?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime, clients, _far: far, _near: near })
    }

    /// A machine that calls for those of one network; more may be said of it.
    async fn machine(&self, more: &str) -> Result<Machine> {
        let machine = Machine::new().await?;
        // DNS is where it follows from the file.
        let settings = machine.vm.toml()?.replace("listen = \"127.0.0.1:0\"\n", "");
        machine.vm.settings(&settings)?;
        let allow = CLIENTS.1;
        let forwarder = format!("forwarder:\n  address: {FORWARDER}\n  allow: [{allow}]\n{more}");
        machine.write(&format!("{}{forwarder}", machine.text()?))?;
        Ok(machine)
    }

    /// A call from one of the machines, when it comes through.
    async fn from(&self, own: Ipv4Addr, place: &Place) -> Result<Reply> {
        wait_for("an answer through the forwarder", async || {
            let place = place.clone();
            self.clients.spawn(async move { calls(own, &place).await }).await?
        })
        .await
    }

    /// Octets to a service and back.
    async fn echo(&self, own: Ipv4Addr, port: u16) -> Result<Vec<u8>> {
        let exchange = async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind((own, 0).into())?;
            let mut stream = socket.connect((FORWARDER, port).into()).await?;
            stream.write_all(b"there and back").await?;
            let mut back = vec![0; 14];
            timeout(LIMIT, stream.read_exact(&mut back)).await.context("nothing comes")??;
            Ok(back)
        };
        self.clients.spawn(exchange).await?
    }
}

/// A runtime whose threads are in a network: they are in that of the one that starts them.
fn inside(net: &Net) -> Result<Runtime> {
    thread::scope(|scope| {
        let built = scope.spawn(|| {
            net.enter()?;
            anyhow::Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
        });
        built.join().map_err(|_panic| anyhow!("the thread in the network has panicked"))?
    })
}

fn batch(net: &Net, lines: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("batch");
    hawser_state::write_file(&path, 0o644, lines.as_bytes())?;
    let name = net.path();
    let mut ip = Command::new("ip");
    ip.arg("-n").arg(name.file_name().unwrap_or_default()).arg("-batch").arg(&path);
    let output = ip.output().context("run ip")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn of(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number)
}

const FORWARDER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GATE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The first of those who may call, and the network that they are all in.
const CLIENTS: (Ipv4Addr, &str) = (Ipv4Addr::new(10, 77, 0, 10), "10.77.0.0/24");
const COUNT: u32 = 200;
/// In another network.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 9);
const LIMIT: Duration = Duration::from_secs(10);
