//! The relay and the name stream on real sockets, between a client that speaks as Envoy does and
//! an istiod that does what it is told.

mod ends;

use bytes::Bytes;
use hawser_proto::{
    envoy::{
        envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
        google::{protobuf::Any, rpc},
    },
    istio::nds::{NameInfo, NameTable},
    type_url,
};
use prost::Message;
use tonic::{Code, Status};

use self::ends::{Agent, FakeIstiod, end, goes_on, until};
use crate::{Flavour, Seen};

fn asks(type_url: &str, nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DiscoveryRequest::default()
    }
}

fn sends(type_url: &str, version: &str, value: Vec<u8>) -> Bytes {
    DiscoveryResponse {
        version_info: version.to_owned(),
        resources: vec![Any { type_url: type_url.to_owned(), value }],
        type_url: type_url.to_owned(),
        nonce: format!("n-{version}"),
        ..DiscoveryResponse::default()
    }
    .encode_to_vec()
    .into()
}

fn raw(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

#[tokio::test]
async fn bytes_pass_unchanged_both_ways_in_both_flavours() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let messages = [
        raw(&asks(type_url::CLUSTER, "")),
        Bytes::from_static(b""),
        Bytes::from_static(b"\xff\xfe no protobuf"),
        sends("type.googleapis.com/some.day.v9.Thing", "v1", vec![7; 100_000]),
    ];
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        let mut envoy = agent.envoy(flavour).await;
        for message in &messages {
            envoy.send(message).await;
        }
        let mut stream = istiod.accept().await;
        assert_eq!(stream.flavour, flavour);
        for message in &messages {
            assert_eq!(stream.requests.message().await.unwrap().unwrap(), message);
            stream.responses.send(Ok(message.clone())).await.unwrap();
            assert_eq!(envoy.receive().await, message);
        }
    }
}

#[tokio::test]
async fn a_response_of_100_mb_passes() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut envoy = agent.envoy(Flavour::Delta).await;
    envoy.send(&raw(&asks(type_url::CLUSTER, ""))).await;
    let stream = istiod.accept().await;
    let bytes = (0..=u8::MAX).cycle().take(100_000_000).collect();
    let large = sends(type_url::CLUSTER, "v1", bytes);

    stream.responses.send(Ok(large.clone())).await.unwrap();

    assert!(envoy.receive().await == large);
}

#[tokio::test]
async fn ends_that_both_write_before_they_read_do_not_deadlock() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut envoy = agent.envoy(Flavour::Sotw).await;
    envoy.send(&raw(&asks(type_url::CLUSTER, ""))).await;
    let mut stream = istiod.accept().await;
    let (requests, responses) = (10_000_usize, 40_usize);
    let answer = sends(type_url::CLUSTER, "v1", vec![1; 1 << 20]);
    let size = answer.len();

    let answering = async move {
        for _ in 0..responses {
            stream.responses.send(Ok(answer.clone())).await.unwrap();
        }
        // Only now does istiod read.
        for _ in 0..=requests {
            stream.requests.message().await.unwrap().unwrap();
        }
    };
    let asking = async move {
        // Each of them large enough that all together exceed every window on the way.
        let resource_names = vec!["outbound|80||a.b.svc.cluster.local".repeat(8)];
        let request = DiscoveryRequest { resource_names, ..asks(type_url::ENDPOINT, "") };
        for _ in 0..requests {
            envoy.send(&raw(&request)).await;
        }
        // Only now does Envoy.
        for _ in 0..responses {
            assert_eq!(envoy.receive().await.len(), size);
        }
        // And it stays until istiod has read all.
        envoy
    };
    let (_envoy, ()) = tokio::join!(asking, answering);
}

#[tokio::test]
async fn a_type_that_the_agent_keeps_never_reaches_envoy() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut envoy = agent.envoy(Flavour::Sotw).await;
    envoy.send(&raw(&asks(type_url::NAME_TABLE, ""))).await;
    envoy.send(&raw(&asks(type_url::CLUSTER, ""))).await;
    let mut stream = istiod.accept().await;
    let first = stream.requests.message().await.unwrap().unwrap();
    assert_eq!(first, raw(&asks(type_url::CLUSTER, "")));

    let cluster = sends(type_url::CLUSTER, "v1", vec![1]);
    for kept in [type_url::NAME_TABLE, type_url::PROXY_CONFIG, type_url::HEALTH] {
        stream.responses.send(Ok(sends(kept, "v1", vec![2]))).await.unwrap();
    }
    stream.responses.send(Ok(cluster.clone())).await.unwrap();

    assert_eq!(envoy.receive().await, cluster);
    assert_eq!(agent.seen.standing().withheld, 4);
}

#[tokio::test]
async fn how_istiod_ends_a_stream_is_how_envoy_sees_it() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    for status in [None, Some(Status::permission_denied("namespace does not match"))] {
        let mut envoy = agent.envoy(Flavour::Sotw).await;
        envoy.send(&raw(&asks(type_url::CLUSTER, ""))).await;
        let stream = istiod.accept().await;
        if let Some(status) = &status {
            stream.responses.send(Err(status.clone())).await.unwrap();
        }
        drop(stream);

        let seen = end(&mut envoy.responses).await;

        assert_eq!(seen.as_ref().map(Status::code), status.as_ref().map(Status::code));
        if let (Some(seen), Some(status)) = (seen, status) {
            assert!(seen.message().ends_with(status.message()), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn an_istiod_that_is_away_or_goes_away_is_unavailable_with_the_reason() {
    let nobody = FakeIstiod::nobody().await;
    let agent = Agent::start(&nobody);
    let mut envoy = agent.envoy(Flavour::Delta).await;
    envoy.send(&raw(&asks(type_url::CLUSTER, ""))).await;
    let status = end(&mut envoy.responses).await.unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("cannot connect to 127.0.0.1:"), "{status:?}");
    assert_eq!(agent.seen.standing().failure.unwrap().error, status.message());

    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut envoy = agent.envoy(Flavour::Delta).await;
    envoy.send(&raw(&asks(type_url::CLUSTER, ""))).await;
    let stream = istiod.accept().await;
    stream.responses.send(Ok(sends(type_url::CLUSTER, "v1", Vec::new()))).await.unwrap();
    envoy.receive().await;
    istiod.cut();
    let status = end(&mut envoy.responses).await.unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().starts_with("the connection to istiod broke: "), "{status:?}");
}

#[tokio::test]
async fn several_streams_are_relayed_side_by_side_and_counted() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut pairs = Vec::new();
    for flavour in [Flavour::Sotw, Flavour::Delta, Flavour::Sotw] {
        let envoy = agent.envoy(flavour).await;
        envoy.send(&raw(&asks(type_url::CLUSTER, ""))).await;
        pairs.push((envoy, istiod.accept().await));
    }
    for (index, (envoy, stream)) in pairs.iter_mut().enumerate() {
        let answer = sends(type_url::CLUSTER, &index.to_string(), Vec::new());
        stream.responses.send(Ok(answer.clone())).await.unwrap();
        assert_eq!(envoy.receive().await, answer);
    }
    until(&agent.seen, |standing| (standing.streams, standing.joined) == (3, 3)).await;

    // Envoy leaves: its stream to istiod ends too, and the others go on.
    let (envoy, mut stream) = pairs.remove(0);
    stream.requests.message().await.unwrap().unwrap();
    drop(envoy);
    assert!(matches!(stream.requests.message().await, Ok(None) | Err(_)));
    until(&agent.seen, |standing| (standing.streams, standing.joined) == (2, 2)).await;
    drop(pairs);
    until(&agent.seen, |standing| (standing.streams, standing.joined) == (0, 0)).await;
}

#[tokio::test]
async fn what_envoy_takes_and_what_it_refuses_is_seen() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut envoy = agent.envoy(Flavour::Sotw).await;
    envoy.send(&raw(&asks(type_url::LISTENER, ""))).await;
    let stream = istiod.accept().await;
    for version in ["v1", "v2"] {
        stream.responses.send(Ok(sends(type_url::LISTENER, version, vec![1]))).await.unwrap();
        envoy.receive().await;
    }
    envoy.send(&raw(&asks(type_url::LISTENER, "n-v2"))).await;
    until(&agent.seen, |standing| {
        standing.types.get(type_url::LISTENER).is_some_and(|listeners| listeners.accepted.is_some())
    })
    .await;
    stream.responses.send(Ok(sends(type_url::LISTENER, "v3", vec![1]))).await.unwrap();
    envoy.receive().await;
    let refusal = rpc::Status { code: 13, message: "no such filter".to_owned(), details: vec![] };
    let error_detail = Some(refusal);
    envoy.send(&raw(&DiscoveryRequest { error_detail, ..asks(type_url::LISTENER, "n-v3") })).await;
    until(&agent.seen, |standing| {
        standing.types.get(type_url::LISTENER).is_some_and(|listeners| listeners.rejections == 1)
    })
    .await;

    let listeners = agent.seen.standing().types.remove(type_url::LISTENER).unwrap();
    assert_eq!(listeners.responses, 3);
    assert_eq!(listeners.sent.unwrap().version, "v3");
    assert_eq!(listeners.accepted.unwrap().version, "v2");
    let rejected = listeners.rejected.unwrap();
    assert_eq!((rejected.version.as_str(), rejected.error.as_str()), ("v3", "no such filter"));
}

#[tokio::test]
async fn a_stop_ends_all_streams_gracefully_while_envoy_stays() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut joined = agent.envoy(Flavour::Sotw).await;
    joined.send(&raw(&asks(type_url::CLUSTER, ""))).await;
    let _stream = istiod.accept().await;
    let mut waiting = agent.envoy(Flavour::Delta).await;

    let stopped = agent.stop();

    assert!(end(&mut joined.responses).await.is_none());
    assert!(end(&mut waiting.responses).await.is_none());
    // Envoy stays, and does not hold the agent.
    stopped.await;
}

fn table(name: &str) -> NameTable {
    let info = NameInfo { ips: vec!["240.240.0.1".to_owned()], ..NameInfo::default() };
    NameTable { table: [(name.to_owned(), info)].into() }
}

#[tokio::test]
async fn the_name_table_is_published_before_it_is_acknowledged() {
    let mut istiod = FakeIstiod::start().await;
    let (mut names, _follower) = istiod.follow(Seen::default());
    let mut stream = istiod.accept().await;
    let first = stream.requests.message().await.unwrap().unwrap();
    let first = DiscoveryRequest::decode(first).unwrap();
    assert_eq!(stream.flavour, Flavour::Sotw);
    assert_eq!(first.type_url, type_url::NAME_TABLE);
    assert!(first.node.unwrap().id.starts_with("sidecar~"));

    let body = table("hello.demo.svc.cluster.local").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v1", body))).await.unwrap();
    let reply = stream.requests.message().await.unwrap().unwrap();

    let reply = DiscoveryRequest::decode(reply).unwrap();
    assert_eq!((reply.version_info.as_str(), reply.response_nonce.as_str()), ("v1", "n-v1"));
    assert!(names.has_changed().unwrap(), "it was there before the acknowledgement");
    let published = names.borrow_and_update().clone().unwrap();
    assert!(published.table.contains_key("hello.demo.svc.cluster.local"));
}

#[tokio::test]
async fn a_bad_table_is_refused_and_the_last_one_stays_through_the_loss_of_istiod() {
    let mut istiod = FakeIstiod::start().await;
    let seen = Seen::default();
    let (names, _follower) = istiod.follow(seen.clone());
    let mut stream = istiod.accept().await;
    stream.requests.message().await.unwrap().unwrap();
    let body = table("a").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v1", body))).await.unwrap();
    stream.requests.message().await.unwrap().unwrap();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v2", vec![0xff]))).await.unwrap();
    let reply = stream.requests.message().await.unwrap().unwrap();
    let reply = DiscoveryRequest::decode(reply).unwrap();
    assert_eq!((reply.version_info.as_str(), reply.response_nonce.as_str()), ("v1", "n-v2"));
    assert_eq!(reply.error_detail.unwrap().code, 13);
    assert!(names.borrow().as_ref().unwrap().table.contains_key("a"));
    drop(stream);

    let mut stream = istiod.accept().await;
    let first = stream.requests.message().await.unwrap().unwrap();
    let first = DiscoveryRequest::decode(first).unwrap();
    assert!(first.node.is_some(), "a new stream introduces itself");
    assert!(names.borrow().as_ref().unwrap().table.contains_key("a"));
    let body = table("b").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v3", body))).await.unwrap();
    until(&seen, |standing| {
        standing.names.table.as_ref().is_some_and(|table| table.version == "v3")
    })
    .await;
    assert!(names.borrow().as_ref().unwrap().table.contains_key("b"));
    let standing = seen.standing().names;
    assert!(standing.joined.is_some());
    assert_eq!(standing.rejected.unwrap().version, "v2");
    assert_eq!(standing.failure.unwrap().error, "istiod ended the stream");
}

#[tokio::test]
async fn without_istiod_there_is_no_table_and_no_end() {
    let nobody = FakeIstiod::nobody().await;
    let seen = Seen::default();
    let (names, mut follower) = nobody.follow(seen.clone());
    until(&seen, |standing| standing.names.failure.is_some()).await;
    assert!(names.borrow().is_none());
    assert!(goes_on(&mut follower).await, "it goes on trying");
    let failure = seen.standing().names.failure.unwrap();
    assert!(failure.error.starts_with("istiod is not reachable: cannot connect"), "{failure:?}");
}
