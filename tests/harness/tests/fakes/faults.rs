//! Everything that istiod can be told to do wrong.

use std::time::Duration;

use hawser_harness::istiod::{Age, ConnectionState, FakeIstiod, Reach, Refuse, Seen};
use hawser_harness::wait::wait_for;
use hawser_proto::envoy::envoy::config::cluster::v3::Cluster;
use hawser_proto::type_url::CLUSTER;
use prost::Message;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::client::{Sotw, dial, first, istiod, token};

const MOMENT: Duration = Duration::from_millis(200);

async fn stream(istiod: &FakeIstiod) -> Sotw {
    let channel = dial(istiod, None).await.unwrap();
    let token = token(istiod, "vms", "web");
    let mut stream = Sotw::open(channel, &token, first(CLUSTER)).await.unwrap();
    stream.next().await.unwrap();
    stream
}

fn add(istiod: &FakeIstiod, name: &str) {
    let cluster = Cluster { name: name.to_owned(), ..Cluster::default() };
    istiod.world().change(|state| state.put(&cluster));
}

#[tokio::test]
async fn down_resets_and_closes_and_up_is_on_the_same_port() {
    let istiod = istiod().await;
    let mut before = stream(&istiod).await;
    let addr = istiod.addr();

    istiod.reach(Reach::Down).await.unwrap();

    before.next().await.unwrap_err();
    assert!(TcpStream::connect(addr).await.is_err());
    let all = |seen: &Seen| seen.connected() == 0 && seen.live().is_empty();
    istiod.until("everything closed", all).await.unwrap();
    istiod.reach(Reach::Up).await.unwrap();
    assert_eq!(istiod.addr(), addr);
    stream(&istiod).await;
}

#[tokio::test]
async fn half_open_takes_connections_and_says_nothing_while_old_ones_work() {
    let istiod = istiod().await;
    let mut before = stream(&istiod).await;
    istiod.reach(Reach::HalfOpen).await.unwrap();

    let mut mute = TcpStream::connect(istiod.addr()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut mute, b"hello?").await.unwrap();
    assert!(timeout(MOMENT, mute.read_u8()).await.is_err());
    add(&istiod, "new");
    assert_eq!(before.next().await.unwrap().resources.len(), 1);
}

#[tokio::test]
async fn frozen_neither_reads_nor_writes_and_thaws() {
    let istiod = istiod().await;
    let mut before = stream(&istiod).await;
    istiod.reach(Reach::Frozen).await.unwrap();

    add(&istiod, "new");
    assert!(timeout(MOMENT, before.next()).await.is_err());
    istiod.reach(Reach::Up).await.unwrap();
    assert_eq!(before.next().await.unwrap().resources.len(), 1);
}

#[tokio::test]
async fn a_reset_ends_what_there_is_and_lets_new_ones_in() {
    let istiod = istiod().await;
    let mut before = stream(&istiod).await;
    istiod.reset();
    before.next().await.unwrap_err();
    stream(&istiod).await;
}

#[tokio::test]
async fn goaway_lets_a_stream_live_until_the_grace_is_over() {
    let istiod = istiod().await;
    let mut before = stream(&istiod).await;
    istiod.goaway(Duration::from_millis(400));

    add(&istiod, "new");
    before.next().await.unwrap();
    let ended = before.next().await.unwrap_err();
    assert_ne!(ended.code(), Code::Ok);
}

#[tokio::test]
async fn connections_end_at_their_age() {
    let istiod = istiod().await;
    let age = Age { age: Duration::from_millis(50), grace: Duration::from_millis(50) };
    istiod.faults(|faults| faults.max_age = Some(age));
    let mut stream = stream(&istiod).await;
    stream.next().await.unwrap_err();
    let closed = |seen: &Seen| seen.connections[0].state == ConnectionState::Closed;
    istiod.until("the end of the connection", closed).await.unwrap();
}

#[tokio::test]
async fn slow_waits_before_every_response() {
    let istiod = istiod().await;
    istiod.faults(|faults| faults.delay = MOMENT);
    let began = Instant::now();
    stream(&istiod).await;
    assert!(began.elapsed() >= MOMENT);
}

#[tokio::test]
async fn discovery_is_refused_with_any_status() {
    let istiod = istiod().await;
    istiod.faults(|faults| faults.refuse_ads = Some(Refuse::new(Code::Unavailable, "not yet")));
    let channel = dial(&istiod, None).await.unwrap();
    let token = token(&istiod, "vms", "web");
    let status = Sotw::open(channel, &token, first(CLUSTER)).await.err().unwrap();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "not yet"));
}

#[tokio::test]
async fn garbage_comes_as_a_message_or_inside_a_resource() {
    let istiod = istiod().await;
    let mut good = stream(&istiod).await;
    istiod.world().change(|state| state.garbage(CLUSTER));
    let response = good.next().await.unwrap();
    assert!(Cluster::decode(response.resources[0].value.as_slice()).is_err());

    istiod.faults(|faults| faults.garble = true);
    let channel = dial(&istiod, None).await.unwrap();
    let token = token(&istiod, "vms", "web");
    let mut bad = Sotw::open(channel, &token, first(CLUSTER)).await.unwrap();
    assert_eq!(bad.next().await.unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn a_big_push_arrives_whole() {
    const SIZE: usize = 20 << 20;
    let istiod = istiod().await;
    let mut stream = stream(&istiod).await;
    istiod.world().change(|state| state.ballast(SIZE));
    let response = stream.next().await.unwrap();
    assert!(response.encoded_len() > SIZE);
}

#[tokio::test]
async fn a_request_of_more_than_4_mib_ends_the_stream() {
    let istiod = istiod().await;
    let mut stream = stream(&istiod).await;
    let mut ask = first(CLUSTER);
    ask.resource_names = vec!["x".repeat(5 << 20)];
    stream.asks.send(ask).await.unwrap();
    assert_eq!(stream.next().await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn it_ends_when_it_is_dropped() {
    let istiod = istiod().await;
    let addr = istiod.addr();
    let mut before = stream(&istiod).await;
    drop(istiod);
    before.next().await.unwrap_err();
    wait_for("the port to close", async || {
        anyhow::ensure!(TcpStream::connect(addr).await.is_err(), "still open");
        Ok(())
    })
    .await
    .unwrap();
}
