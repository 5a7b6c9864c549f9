//! The xDS client against FakeIstiod: what it is given, and what it makes of bad and slow answers.

use std::time::Duration;

use hawser_harness::istiod::{Ballast, Cut, Drip, FakeIstiod, Garbage, Reach, Silence, Verdict};
use hawser_harness::wait::wait_for;
use hawser_harness::xds::{Answer, Flavour, Options, Pace, Place, XdsClient};
use hawser_proto::envoy::envoy::config::cluster::v3::Cluster;
use hawser_proto::type_url::{CLUSTER, ENDPOINT, NAME_TABLE};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use crate::client::istiod;

const BOTH: [Flavour; 2] = [Flavour::SotW, Flavour::Delta];
const MOMENT: Duration = Duration::from_millis(200);

fn cluster(name: &str) -> Cluster {
    Cluster { name: name.to_owned(), ..Cluster::default() }
}

async fn meshed() -> FakeIstiod {
    let istiod = istiod().await;
    istiod.world().change(|state| state.set([cluster("a"), cluster("b")]));
    istiod
}

async fn connect(istiod: &FakeIstiod, flavour: Flavour) -> XdsClient {
    let place = Place::Tcp(istiod.plaintext_addr());
    XdsClient::connect(&place, Options::envoy(flavour)).await.unwrap()
}

async fn subscribed(istiod: &FakeIstiod, flavour: Flavour) -> XdsClient {
    let client = connect(istiod, flavour).await;
    client.subscribe(CLUSTER, &[]).unwrap();
    client.until("clusters", |held| held.responses(CLUSTER) > 0).await.unwrap();
    client
}

#[tokio::test]
async fn it_holds_what_it_is_given_in_both_forms() {
    for flavour in BOTH {
        let istiod = meshed().await;
        let client = subscribed(&istiod, flavour).await;
        assert_eq!(client.held().names(CLUSTER), ["a", "b"]);
        client.subscribe(ENDPOINT, &["a"]).unwrap();
        client.until("endpoints", |held| held.names(ENDPOINT) == ["a"]).await.unwrap();

        istiod.world().change(|state| {
            state.remove(CLUSTER, "a");
            state.put(&cluster("c"));
        });
        client.until("the change", |held| held.names(CLUSTER) == ["b", "c"]).await.unwrap();

        istiod.until("both receipts", |seen| seen.acks(CLUSTER) == 2).await.unwrap();
        assert!(istiod.seen().nacks(CLUSTER).is_empty());
        drop(client);
        istiod.until("the end", |seen| seen.live().is_empty()).await.unwrap();
    }
}

#[tokio::test]
async fn it_refuses_by_order_and_by_its_own_judgement() {
    for flavour in BOTH {
        let istiod = meshed().await;
        let client = subscribed(&istiod, flavour).await;
        istiod.world().change(|state| state.garbage(CLUSTER));
        let held = client.until("it", |held| held.responses(CLUSTER) == 2).await.unwrap();
        assert_eq!(held.types[CLUSTER].refused, 1);
        assert_eq!(held.names(CLUSTER), ["a", "b"], "{flavour:?}");

        client.answers(CLUSTER, Answer::Nack("no more".to_owned())).unwrap();
        istiod.world().change(|state| state.set([cluster("z")]));
        let refused = |seen: &hawser_harness::istiod::Seen| seen.nacks(CLUSTER).len() == 2;
        let seen = istiod.until("the refusals", refused).await.unwrap();
        assert_eq!(seen.nacks(CLUSTER)[1], (13, "no more".to_owned()));
        assert_eq!(client.held().names(CLUSTER), ["a", "b"]);
    }
}

#[tokio::test]
async fn a_reconnecting_client_is_sent_all_or_what_differs() {
    for (honours, given) in [(false, vec!["b", "c"]), (true, vec!["c"])] {
        let istiod = meshed().await;
        istiod.honours_versions(honours);
        let client = subscribed(&istiod, Flavour::Delta).await;
        client.subscribe(ENDPOINT, &["a"]).unwrap();
        client.until("endpoints", |held| held.responses(ENDPOINT) == 1).await.unwrap();
        let held = client.held();
        drop(client);
        istiod.world().change(|state| {
            state.remove(CLUSTER, "a");
            state.put(&cluster("c"));
        });

        let client = connect(&istiod, Flavour::Delta).await;
        client.resubscribe(CLUSTER, &["*"], &held).unwrap();
        let again = client.until("clusters", |held| held.responses(CLUSTER) == 1).await.unwrap();

        assert_eq!(again.types[CLUSTER].given, given, "honours: {honours}");
        assert_eq!(again.types[CLUSTER].removed, ["a"]);
        let seen = istiod.seen();
        let first = seen.first_asked(seen.streams[1].id, CLUSTER).unwrap();
        assert_eq!(first.initial, held.versions(CLUSTER));
        assert_eq!(first.initial["a"].is_empty(), !honours);
        client.resubscribe(ENDPOINT, &["a"], &held).unwrap();
        if !honours {
            let again = client.until("endpoints", |held| held.responses(ENDPOINT) == 1).await;
            let again = again.unwrap();
            assert_eq!(again.types[ENDPOINT].given, ["a"], "an empty one of that name");
            assert!(again.types[ENDPOINT].removed.is_empty());
        }
    }
}

#[tokio::test]
async fn a_cut_comes_after_just_so_many_bytes_and_istiod_is_there_again() {
    const AFTER: usize = 3_000_000;
    for flavour in BOTH {
        let istiod = meshed().await;
        let client = subscribed(&istiod, flavour).await;
        let before = client.held().bytes;
        let cut = Cut { type_url: CLUSTER.to_owned(), after: AFTER };
        istiod.faults(|faults| faults.cut = Some(cut));
        istiod.world().change(|state| state.ballast(20_000_000));

        let held = client.until("the cut", |held| held.ended.is_some()).await.unwrap();

        assert_eq!(held.ended.unwrap().0, Code::Unavailable, "no trailers");
        assert_eq!(held.bytes - before, AFTER as u64 + 5);
        assert_eq!(istiod.seen().cuts, 1);
        let client = subscribed(&istiod, flavour).await;
        assert!(client.held().names(CLUSTER).len() > 2);
    }
}

#[tokio::test]
async fn garbage_ends_the_stream_or_leaves_it_waiting() {
    for (garbage, code) in [
        (Garbage::Random(1000), Some(Code::Internal)),
        (Garbage::Longer(10), Some(Code::Ok)),
        (Garbage::Shorter(10), Some(Code::Internal)),
        (Garbage::Compressed, Some(Code::Internal)),
        (Garbage::Flag(7), Some(Code::Internal)),
        (Garbage::Huge, None),
    ] {
        let istiod = meshed().await;
        istiod.faults(|faults| faults.garbage = Some(garbage.clone()));
        let client = connect(&istiod, Flavour::Delta).await;
        client.subscribe(CLUSTER, &[]).unwrap();
        match code {
            Some(code) => {
                let held = client.until("an end", |held| held.ended.is_some()).await.unwrap();
                assert_eq!(held.ended.unwrap().0, code, "{garbage:?}");
            }
            None => {
                wait_for("its beginning", async || {
                    anyhow::ensure!(client.held().bytes > 0);
                    Ok(())
                })
                .await
                .unwrap();
                assert!(client.held().ended.is_none());
            }
        }
        assert_eq!(client.held().responses(CLUSTER), 0);
    }
}

#[tokio::test]
async fn a_silent_stream_is_noted_and_says_nothing() {
    for silence in [Silence::Headers, Silence::Messages] {
        let istiod = meshed().await;
        istiod.faults(|faults| faults.silence = Some(silence));
        let client = connect(&istiod, Flavour::Delta).await;
        client.subscribe(CLUSTER, &[]).unwrap();
        let asked = |seen: &hawser_harness::istiod::Seen| {
            !seen.asked(CLUSTER, Verdict::Subscribed).is_empty()
        };
        istiod.until("the request", asked).await.unwrap();
        let word = client.until("a word", |held| held.bytes > 0 || held.ended.is_some());
        assert!(timeout(MOMENT, word).await.is_err(), "{silence:?}");
        istiod.faults(|faults| faults.silence = None);
        istiod.world().change(|state| state.put(&cluster("c")));
        client.until("what came later", |held| held.names(CLUSTER) == ["c"]).await.unwrap();
    }
}

#[tokio::test]
async fn dripping_bytes_arrive_as_a_message_in_the_end() {
    let istiod = meshed().await;
    istiod.faults(|faults| {
        faults.drip = Some(Drip { bytes: 7, pause: Duration::from_millis(1) });
    });
    let client = subscribed(&istiod, Flavour::Delta).await;
    assert_eq!(client.held().names(CLUSTER), ["a", "b"]);
}

#[tokio::test]
async fn a_blackholed_istiod_neither_takes_nor_refuses_and_comes_back() {
    let istiod = meshed().await;
    let before = subscribed(&istiod, Flavour::Delta).await;
    istiod.reach(Reach::Blackholed).await.unwrap();

    for addr in [istiod.addr(), istiod.plaintext_addr()] {
        assert!(timeout(MOMENT, TcpStream::connect(addr)).await.is_err());
    }
    istiod.world().change(|state| state.put(&cluster("c")));
    let word = before.until("a word", |held| held.responses(CLUSTER) > 1);
    assert!(timeout(MOMENT, word).await.is_err());

    istiod.reach(Reach::Up).await.unwrap();
    before.until("what waited", |held| held.names(CLUSTER).len() == 3).await.unwrap();
    subscribed(&istiod, Flavour::SotW).await;
}

#[tokio::test]
async fn a_restart_cuts_without_a_word_and_is_on_the_same_port() {
    let istiod = meshed().await;
    let client = subscribed(&istiod, Flavour::Delta).await;
    istiod.restart().await.unwrap();
    let held = client.until("the end", |held| held.ended.is_some()).await.unwrap();
    assert_eq!(held.ended.unwrap().0, Code::Unavailable);
    let client = subscribed(&istiod, Flavour::Delta).await;
    istiod.crash();
    client.until("the end", |held| held.ended.is_some()).await.unwrap();
    subscribed(&istiod, Flavour::Delta).await;
}

#[tokio::test]
async fn a_slow_reader_holds_back_what_is_sent() {
    let istiod = meshed().await;
    let place = Place::Tcp(istiod.plaintext_addr());
    let options = Options { window: 64 * 1024, ..Options::envoy(Flavour::Delta) };
    let client = XdsClient::connect(&place, options).await.unwrap();
    client.subscribe(CLUSTER, &[]).unwrap();
    client.until("clusters", |held| held.responses(CLUSTER) > 0).await.unwrap();
    client.pace(Some(Pace { bytes: 1, pause: Duration::from_secs(3600) })).unwrap();
    istiod.world().change(|state| state.ballast(8 << 20));

    istiod.until("the push", |seen| seen.answered.len() == 2).await.unwrap();
    assert!(client.held().bytes < 1 << 20, "and it rests after its first bytes");
    assert_eq!(client.held().responses(CLUSTER), 1);
}

#[tokio::test]
async fn what_is_not_kept_is_counted_and_taken() {
    for flavour in BOTH {
        let istiod = meshed().await;
        let options = Options { keeps: false, ..Options::envoy(flavour) };
        let place = Place::Tcp(istiod.plaintext_addr());
        let client = XdsClient::connect(&place, options).await.unwrap();
        client.subscribe(CLUSTER, &[]).unwrap();
        istiod.until("the first receipt", |seen| seen.acks(CLUSTER) == 1).await.unwrap();
        let ballast = Ballast { bytes: 5_000_000, piece: 10_000, round: 1 };
        istiod.world().change(|state| state.ballast_of(ballast));
        istiod.until("the receipt", |seen| seen.acks(CLUSTER) == 2).await.unwrap();
        let held = client.held();
        assert_eq!(held.responses(CLUSTER), 2);
        assert!(held.types[CLUSTER].bytes > 5_000_000 && held.bytes > 5_000_000);
    }
}

#[tokio::test]
async fn a_program_with_grpc_is_seen_as_what_it_is() {
    let istiod = meshed().await;
    let place = Place::Tcp(istiod.plaintext_addr());
    let client = XdsClient::connect(&place, Options::grpc()).await.unwrap();
    client.subscribe(CLUSTER, &["a"]).unwrap();
    client.until("clusters", |held| held.responses(CLUSTER) > 0).await.unwrap();
    let seen = istiod.seen();
    assert_eq!(seen.streams[0].metadata["GENERATOR"], "grpc");
    assert_eq!(seen.streams[0].node.user_agent_name, "gRPC Go");
}

#[tokio::test]
async fn istiods_of_one_mesh_share_world_and_registry_but_not_what_they_see() {
    let one = meshed().await;
    let two = one.start_beside().await.unwrap();
    one.workload_group("vms", "web", "");
    assert!(two.seen().registry.groups.contains_key("vms/web"));
    let first = subscribed(&one, Flavour::Delta).await;
    let second = subscribed(&two, Flavour::SotW).await;

    two.world().change(|state| state.put(&cluster("c")));

    for client in [&first, &second] {
        client.until("the change", |held| held.names(CLUSTER).len() == 3).await.unwrap();
    }
    assert_eq!((one.seen().streams.len(), two.seen().streams.len()), (1, 1));
    assert_ne!(one.seen().streams[0].id, two.seen().streams[0].id);
    one.reach(Reach::Down).await.unwrap();
    assert!(second.held().ended.is_none());
    drop(one);
    subscribed(&two, Flavour::Delta).await.subscribe(NAME_TABLE, &[]).unwrap();
}
