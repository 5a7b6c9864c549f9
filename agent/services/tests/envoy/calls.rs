//! HTTP, gRPC and TCP reach who they are for, and nobody else.

use anyhow::{Result, ensure};
use hawser_harness::{
    ca::spiffe_id,
    eastwest::{Member, Shows, Speaks, cart},
    http1::call,
    wait::wait_for,
    workload::Answer,
};
use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::machine::{Machine, me};

const REVIEWS: &str = "reviews.prod.svc.cluster.local";
const CART: &str = "cart.prod.svc.cluster.local";
const STORE: &str = "store.prod.svc.cluster.local";

fn members() -> [Member; 3] {
    [
        Member::new("reviews", "prod", 9080, Speaks::Http),
        Member::new("cart", "prod", 7070, Speaks::Grpc),
        Member::new("store", "prod", 5432, Speaks::Tcp),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_reaches_its_service_and_both_ends_know_each_other() -> Result<()> {
    let mut machine = Machine::start(&members(), 1).await?;
    let (port, tcp) = (Machine::port()?, Machine::port()?);
    let log = machine.dir().join("access.log");
    machine
        .file(&format!(
            "access_log: {}\n\
             services:\n\
             - {{host: {REVIEWS}, port: 9080, local_port: {port}, identity: ns/prod/sa/reviews, aliases: [shop]}}\n\
             - {{host: {CART}, port: 7070, local_port: {port}, protocol: grpc, identity: ns/prod/sa/cart}}\n\
             - {{host: {STORE}, port: 5432, local_port: {tcp}, protocol: tcp, identity: ns/prod/sa/store}}\n",
            log.display()
        ))
        .await?;

    let reply = machine.until(REVIEWS, port, "/here", 200).await?;
    let answer: Answer = reply.json()?;
    assert_eq!((answer.caller, answer.workload), (me(), spiffe_id("prod", "reviews")));
    assert_eq!((answer.path, answer.protocol), ("/here".to_owned(), "HTTP/1.1".to_owned()));

    // By every name that DNS answers for, however it is written.
    let there = machine.at(REVIEWS, port);
    for name in ["shop", "reviews.prod", "reviews.prod.svc", "Reviews.Prod", "reviews", "shop:1"] {
        let reply = call(there, &Method::GET, "/", &[("host", name)]).await?;
        ensure!(reply.status == 200, "{name}: {} {}", reply.status, reply.body);
    }
    let nobody = call(there, &Method::GET, "/", &[("host", "ratings.prod")]).await?;
    assert_eq!(nobody.status, 404);
    ensure!(nobody.body.contains("hawser services show"), "{}", nobody.body);

    // The other shares address and port.
    assert_eq!(machine.at(CART, port), there);
    let found = cart::find(there, &format!("{CART}:{port}"), "book").await?;
    assert_eq!(found.item, "book");
    assert_eq!((found.caller, found.workload), (me(), spiffe_id("prod", "cart")));

    // TCP has an address of its own, and what comes back is what was sent.
    let store = machine.at(STORE, tcp);
    assert_ne!(store.ip(), there.ip());
    assert_eq!(echoed(TcpStream::connect(store).await?).await?, "hello");

    wait_for("the access log", async || {
        let log = std::fs::read_to_string(&log)?;
        for wanted in [r#""path":"/here""#, r#""peer":"spiffe://cluster.local/ns/prod/sa/store""#] {
            ensure!(log.contains(wanted), "{log}");
        }
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_a_workload_that_is_somebody_else() -> Result<()> {
    let mut members = members();
    members[0].shows = Shows::Of("other".to_owned());
    members[2].shows = Shows::Strangers;
    let mut machine = Machine::start(&members, 1).await?;
    let (port, tcp) = (Machine::port()?, Machine::port()?);
    machine
        .file(&format!(
            "services:\n\
             - {{host: {REVIEWS}, port: 9080, local_port: {port}, identity: ns/prod/sa/reviews}}\n\
             - {{host: {STORE}, port: 5432, local_port: {tcp}, protocol: tcp, identity: ns/prod/sa/store}}\n\
             - {{host: gone.prod.svc.cluster.local, port: 80, local_port: {port}, identity: ns/prod/sa/gone}}\n",
        ))
        .await?;

    machine.until(REVIEWS, port, "/", 503).await?;
    wait_for("what was not believed to be counted", async || {
        machine.get(REVIEWS, port, "/").await?;
        ensure!(machine.stat("hawser/9080.*ssl.fail_verify_san").await? > 0, "not yet");
        Ok(())
    })
    .await?;
    ensure!(echoed(TcpStream::connect(machine.at(STORE, tcp)).await?).await.is_err(), "it spoke");
    // The gateway knows no such name, and closes.
    machine.until("gone.prod.svc.cluster.local", port, "/", 503).await?;

    // One of several ids will do.
    machine
        .file(&format!(
            "services:\n\
             - {{host: {REVIEWS}, port: 9080, local_port: {port}, identity: [ns/prod/sa/reviews, ns/prod/sa/other]}}\n",
        ))
        .await?;
    machine.until(REVIEWS, port, "/", 200).await?;
    Ok(())
}

pub(crate) async fn echoed(mut stream: TcpStream) -> Result<String> {
    stream.write_all(b"hello").await?;
    let mut back = [0; 5];
    stream.read_exact(&mut back).await?;
    Ok(String::from_utf8(back.to_vec())?)
}
