//! Registration of machines, and what they say of their health.

use std::time::Duration;

use hawser_harness::istiod::{Flavour, Health, Seen};
use hawser_harness::xds::{Held, Options, Place, XdsClient};
use hawser_proto::envoy::envoy::config::endpoint::v3::ClusterLoadAssignment;
use hawser_proto::envoy::envoy::service::discovery::v3::DiscoveryRequest;
use hawser_proto::envoy::google::rpc::Status as Detail;
use hawser_proto::istio::nds::NameTable;
use hawser_proto::type_url::{ENDPOINT, HEALTH, NAME_TABLE};
use prost::Message;
use serde_json::json;
use tonic::Code;

use crate::client::{Sotw, dial, dial_plaintext, first, istiod, node, token};

const ENTRY: &str = "vms/web-10.0.0.9-net1";

fn joining() -> DiscoveryRequest {
    let metadata = json!({
        "AUTO_REGISTER_GROUP": "web", "NETWORK": "net1", "LABELS": { "app": "web" },
        "PROXY_CONFIG": { "readinessProbe": { "httpGet": { "port": 80 } } },
    });
    DiscoveryRequest { node: Some(node(&metadata)), ..first(NAME_TABLE) }
}

fn report(problem: Option<&str>) -> DiscoveryRequest {
    let detail = |text: &str| Detail { code: 13, message: text.to_owned(), details: vec![] };
    DiscoveryRequest {
        type_url: HEALTH.to_owned(),
        error_detail: problem.map(detail),
        ..DiscoveryRequest::default()
    }
}

fn healthy(seen: &Seen) -> Option<bool> {
    seen.registry.entries.get(ENTRY)?.health.as_ref().map(Result::is_ok)
}

#[tokio::test]
async fn a_machine_is_registered_while_it_is_connected_and_a_grace_longer() {
    let istiod = istiod().await;
    istiod.workload_group("vms", "web", "web");
    istiod.world().change(|state| state.names(&NameTable::default()));
    istiod.grace(Duration::from_millis(50));
    let token = token(&istiod, "vms", "web");

    let channel = dial(&istiod, None).await.unwrap();
    let one = Sotw::open(channel.clone(), &token, joining()).await.unwrap();
    let two = Sotw::open(channel, &token, joining()).await.unwrap();
    let entry = istiod.seen().registry.entries[ENTRY].clone();
    assert_eq!((entry.address.as_str(), entry.network.as_str()), ("10.0.0.9", "net1"));
    assert_eq!(entry.labels["app"], "web");
    assert_eq!(entry.streams.len(), 2);
    assert!(entry.health_checked && entry.health.is_none());

    drop(one);
    let left = |seen: &Seen| seen.registry.entries[ENTRY].streams.len() == 1;
    let seen = istiod.until("the first stream to end", left).await.unwrap();
    assert!(seen.registry.entries[ENTRY].disconnected.is_none());
    drop(two);
    let gone = |seen: &Seen| seen.registry.entries.is_empty();
    istiod.until("the entry to be cleaned up", gone).await.unwrap();
}

#[tokio::test]
async fn health_is_kept_with_the_entry_and_passed_over_when_it_comes_first() {
    let istiod = istiod().await;
    istiod.workload_group("vms", "web", "");
    istiod.world().change(|state| state.names(&NameTable::default()));
    let token = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    let stream = {
        let opening = Sotw::open(channel, &token, joining());
        opening.await.unwrap()
    };
    for (problem, expected) in [(None, true), (Some("connection refused"), false)] {
        stream.asks.send(report(problem)).await.unwrap();
        let told = |seen: &Seen| healthy(seen) == Some(expected);
        istiod.until("the report", told).await.unwrap();
    }
    let problem = Some("connection refused".to_owned());
    assert_eq!(istiod.seen().health.last(), Some(&Health { stream: 0, problem }));
}

#[tokio::test]
async fn an_entry_is_an_endpoint_while_it_is_well_and_in_the_grace() {
    const CLUSTER: &str = "outbound|80||web";
    let istiod = istiod().await;
    istiod.workload_group("vms", "web", "");
    istiod.serve_group("vms", "web", CLUSTER, 8080);
    istiod.grace(Duration::from_millis(100));
    let place = Place::Tcp(istiod.plaintext_addr());
    let watcher = XdsClient::connect(&place, Options::envoy(Flavour::Delta)).await.unwrap();
    watcher.subscribe(ENDPOINT, &[CLUSTER]).unwrap();
    let endpoints = |held: &Held| {
        let value = held.types.get(ENDPOINT)?.resources.get(CLUSTER)?.1.clone();
        Some(ClusterLoadAssignment::decode(value).unwrap().endpoints.len())
    };
    let until = async |what: &str, count: usize| {
        watcher.until(what, |held| endpoints(held) == Some(count)).await.unwrap()
    };
    until("nothing yet", 0).await;

    istiod.world().change(|state| state.names(&NameTable::default()));
    let token = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    let stream = Sotw::open(channel, &token, joining()).await.unwrap();
    assert!(istiod.seen().registry.entries[ENTRY].health.is_none());
    assert!(istiod.seen().registry.serving("vms/web").is_empty());
    for (problem, count) in [(None, 1), (Some("down"), 0), (None, 1)] {
        stream.asks.send(report(problem)).await.unwrap();
        until("the report", count).await;
    }
    drop(stream);
    until("the end of the grace", 0).await;
    assert!(istiod.seen().registry.entries.is_empty());
}

#[tokio::test]
async fn the_end_of_an_older_stream_than_the_newest_is_overlooked() {
    let istiod = istiod().await;
    istiod.workload_group("vms", "web", "");
    istiod.world().change(|state| state.names(&NameTable::default()));
    istiod.grace(Duration::from_millis(20));
    let token = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    let old = Sotw::open(channel.clone(), &token, joining()).await.unwrap();
    let new = Sotw::open(channel, &token, joining()).await.unwrap();
    let left = |count| move |seen: &Seen| seen.registry.entries[ENTRY].streams.len() == count;

    drop(new);
    istiod.until("the newest to go", left(1)).await.unwrap();
    drop(old);
    istiod.until("the last to go", left(0)).await.unwrap();

    let entry = istiod.seen().registry.entries[ENTRY].clone();
    assert!(entry.connected.is_some() && entry.disconnected.is_none(), "it is kept for ever");
}

#[tokio::test]
async fn only_a_verified_machine_of_the_right_account_registers() {
    let istiod = istiod().await;
    istiod.workload_group("vms", "web", "other");
    let token = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    let status = Sotw::open(channel, &token, joining()).await.err().unwrap();
    let text = "registration of WorkloadEntry service account mismatch: \"web\" vs \"other\"";
    assert_eq!((status.code(), status.message()), (Code::Unknown, text));

    let channel = dial_plaintext(istiod.plaintext_addr()).await.unwrap();
    let status = Sotw::open(channel, &token, joining()).await.err().unwrap();
    let text = "registration of WorkloadEntry requires a verified identity";
    assert_eq!((status.code(), status.message()), (Code::Unknown, text));
}
