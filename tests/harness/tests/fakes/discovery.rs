//! The discovery service on the wire.

use std::time::Duration;

use hawser_harness::ca::spiffe_id;
use hawser_harness::istiod::{FakeIstiod, Flavour, Verdict};
use hawser_harness::service::{Secrets, Service};
use hawser_proto::envoy::envoy::config::core::v3::Node;
use hawser_proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use hawser_proto::istio::nds::NameTable;
use hawser_proto::type_url::{CLUSTER, LISTENER, NAME_TABLE, SECRET};
use prost::Message;
use serde_json::json;
use tokio::time::timeout;
use tonic::Code;

use crate::client::{Delta, Sotw, dial, dial_plaintext, first, first_delta, istiod, node, token};

async fn meshed() -> (FakeIstiod, Service) {
    let istiod = istiod().await;
    let service = Service::new("hello", "demo", "127.0.0.1:1".parse().unwrap()).unwrap();
    istiod.world().change(|state| {
        Service::publish(std::slice::from_ref(&service), Secrets::Agent, state);
    });
    (istiod, service)
}

#[tokio::test]
async fn a_stream_gets_what_it_asks_for_and_every_change_of_it() {
    let (istiod, service) = meshed().await;
    let token = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    let mut stream = Sotw::open(channel, &token, first(CLUSTER)).await.unwrap();

    let clusters = stream.next().await.unwrap();
    assert_eq!((clusters.type_url.as_str(), clusters.resources.len()), (CLUSTER, 1));
    assert_eq!(clusters.version_info, istiod.world().version());
    stream.answer(&clusters, None).await;
    let names = DiscoveryRequest { type_url: NAME_TABLE.to_owned(), ..Default::default() };
    stream.asks.send(names).await.unwrap();
    let table = stream.next().await.unwrap();
    let table = NameTable::decode(table.resources[0].value.as_slice()).unwrap();
    assert_eq!(table.table[&service.host()], service.name_info());

    istiod.world().change(|state| state.names(&NameTable::default()));
    let empty = stream.next().await.unwrap();
    assert!(empty.resources[0].value.is_empty(), "an empty table is pushed as such");
    stream.answer(&empty, Some("too empty")).await;

    let refused = |seen: &hawser_harness::istiod::Seen| !seen.nacks(NAME_TABLE).is_empty();
    let seen = istiod.until("the refusal", refused).await.unwrap();
    assert_eq!(seen.acks(CLUSTER), 1);
    assert_eq!(seen.nacks(NAME_TABLE), [(13, "too empty".to_owned())]);
    let stream = &seen.streams[0];
    assert_eq!(stream.flavour, Flavour::SotW);
    assert_eq!(stream.identities, [spiffe_id("vms", "web")]);
    assert_eq!(stream.headers["clusterid"], "Kubernetes");
    assert!(!stream.headers.contains_key("authorization"));
    assert_eq!(stream.metadata["ENVOY_STATUS_PORT"], 15021);
    assert!(seen.asked[0].with_node && !seen.asked[1].with_node);
}

#[tokio::test]
async fn delta_sends_differences_and_hears_the_end() {
    let (istiod, service) = meshed().await;
    let token = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    let mut stream = Delta::open(channel, &token, first_delta(LISTENER)).await.unwrap();
    let listeners = stream.next().await.unwrap();
    let name = listeners.resources[0].name.clone();
    assert_eq!(name, format!("{}_{}", service.vip.ip(), service.vip.port()));
    let ack = DeltaDiscoveryRequest {
        type_url: LISTENER.to_owned(),
        response_nonce: listeners.nonce,
        ..DeltaDiscoveryRequest::default()
    };
    stream.asks.send(ack).await.unwrap();
    istiod.until("the ACK", |seen| seen.acks(LISTENER) == 1).await.unwrap();

    istiod.world().change(|state| state.remove(LISTENER, &name));
    let gone = stream.next().await.unwrap();
    assert_eq!(gone.removed_resources, [name]);
    assert!(gone.resources.is_empty());

    drop(stream);
    let seen = istiod.until("the end of the stream", |seen| seen.live().is_empty()).await.unwrap();
    assert_eq!(seen.streams[0].ended, Some(Code::Ok));
    assert!(seen.asked(LISTENER, Verdict::Stale).is_empty());
}

#[tokio::test]
async fn a_first_request_is_judged_as_istiod_judges_it() {
    let (istiod, _) = meshed().await;
    let id = |id: &str| Some(Node { id: id.to_owned(), ..node(&json!({})) });
    let own = "spiffe://cluster.local/ns/vms/sa/web";
    for (node, code, text) in [
        (None, Code::InvalidArgument, "missing node information".to_owned()),
        (id(""), Code::InvalidArgument, "missing node information".to_owned()),
        (id("vm"), Code::InvalidArgument, "missing parts in the service node \"vm\"".to_owned()),
        (
            id("vm~10.0.0.9~a~b"),
            Code::InvalidArgument,
            "invalid node type (valid types: [sidecar router waypoint ztunnel]) in the service \
             node \"vm~10.0.0.9~a~b\""
                .to_owned(),
        ),
        (
            Some(node(&json!({ "NAMESPACE": "other" }))),
            Code::PermissionDenied,
            format!("authorization failed: no identities ([{own}]) matched other/web"),
        ),
        (
            Some(node(&json!({ "SERVICE_ACCOUNT": "other" }))),
            Code::PermissionDenied,
            format!("authorization failed: no identities ([{own}]) matched vms/other"),
        ),
        (
            Some(node(&json!({ "AUTO_REGISTER_GROUP": "none" }))),
            Code::FailedPrecondition,
            "auto-registration WorkloadEntry of vm-1.vms failed: cannot find WorkloadGroup \
             vms/none"
                .to_owned(),
        ),
    ] {
        let token = token(&istiod, "vms", "web");
        let channel = dial(&istiod, None).await.unwrap();
        let ask = DiscoveryRequest { node, ..first(CLUSTER) };
        let status = Sotw::open(channel, &token, ask).await.err().unwrap();
        assert_eq!((status.code(), status.message()), (code, text.as_str()));
    }
}

#[tokio::test]
async fn metadata_of_the_wrong_type_is_refused() {
    let (istiod, _) = meshed().await;
    let token = token(&istiod, "vms", "web");
    for (metadata, kind) in [
        (
            json!({ "LABELS": "x" }),
            "string into Go struct field BootstrapNodeMetadata2.NodeMetadata.LABELS of type map[string]string",
        ),
        (json!({ "DNS_CAPTURE": true }), "NodeMetadata.DNS_CAPTURE"),
        (json!({ "POD_PORTS": [] }), "NodeMetadata.POD_PORTS"),
        (json!({ "ENVOY_STATUS_PORT": "15021" }), "NodeMetadata.ENVOY_STATUS_PORT"),
    ] {
        let channel = dial(&istiod, None).await.unwrap();
        let ask = DiscoveryRequest { node: Some(node(&metadata)), ..first(CLUSTER) };
        let status = Sotw::open(channel, &token, ask).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(kind), "{}", status.message());
    }
}

#[tokio::test]
async fn credentials_are_needed_with_tls_and_not_asked_for_in_plaintext() {
    let (istiod, _) = meshed().await;
    let channel = dial(&istiod, None).await.unwrap();
    let status = Sotw::open(channel, "rubbish", first(CLUSTER)).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(status.message(), "authentication failure");

    let own = istiod.ca().workload(&spiffe_id("vms", "web"), Duration::from_secs(600)).unwrap();
    let channel = dial(&istiod, Some(&own)).await.unwrap();
    Sotw::open(channel, "rubbish", first(CLUSTER)).await.unwrap();

    let channel = dial_plaintext(istiod.plaintext_addr()).await.unwrap();
    let mut stream = Sotw::open(channel, "rubbish", first(CLUSTER)).await.unwrap();
    assert_eq!(stream.next().await.unwrap().resources.len(), 1);
    assert!(istiod.seen().streams[1].identities.is_empty());
}

#[tokio::test]
async fn headers_come_with_the_first_response_and_not_before() {
    let (istiod, _) = meshed().await;
    let token = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    // Nobody answers PCDS in a mesh of one root, so there is nothing to send headers with.
    let silent = first(hawser_proto::type_url::PROXY_CONFIG);
    let mut opening = std::pin::pin!(Sotw::open(channel, &token, silent));
    assert!(timeout(Duration::from_millis(300), opening.as_mut()).await.is_err());

    istiod.world().change(|state| state.trust(&["one\n", "two\n"]));
    let response = opening.await.unwrap().next().await.unwrap();
    let bundle = String::from_utf8_lossy(&response.resources[0].value).into_owned();
    assert!(bundle.contains("one\n") && bundle.contains("two\n"));
}

#[tokio::test]
async fn secrets_are_none_of_istiods_business_unless_a_test_makes_them() {
    let (istiod, _) = meshed().await;
    let token = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    let ask = DiscoveryRequest { resource_names: vec!["default".to_owned()], ..first(SECRET) };
    let status = Sotw::open(channel, &token, ask).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn refusing_what_was_never_subscribed_brings_istiod_down() {
    let (istiod, _) = meshed().await;
    let token = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    let mut stream = Sotw::open(channel, &token, first(CLUSTER)).await.unwrap();
    let mut response = stream.next().await.unwrap();
    response.type_url = NAME_TABLE.to_owned();

    stream.answer(&response, Some("never heard of it")).await;

    stream.next().await.unwrap_err();
    assert_eq!(istiod.seen().crashes, 1);
}
