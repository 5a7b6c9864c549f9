//! The relay and the agent's own stream on real sockets, between a client that speaks as Envoy does and
//! an istiod that does what it is told.

mod ends;
mod own;

use bytes::Bytes;
use hawser_proto::{
    envoy::{
        envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
        google::{protobuf::Any, rpc},
    },
    type_url,
};
use prost::Message;
use tonic::{Code, Status};

use self::ends::{Agent, FakeIstiod, Tokens, end, until};
use hawser_wire::Flavour;

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

/// A response with nothing in it.
fn empty(type_url: &str, version: &str) -> Bytes {
    DiscoveryResponse {
        version_info: version.to_owned(),
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
async fn envoy_does_not_notice_that_istiod_was_shown_something_else() {
    let mut istiod = FakeIstiod::start().await;
    let tokens = Tokens::new();
    let agent = Agent::with(istiod.shown_tokens(&tokens.files));
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        let mut envoy = agent.envoy(flavour).await;
        let requests = [type_url::CLUSTER, type_url::LISTENER].map(|it| raw(&asks(it, "")));
        for request in &requests {
            envoy.send(request).await;
        }
        if flavour == Flavour::Sotw {
            let mut stream = istiod.accept().await;
            for request in &requests {
                assert_eq!(stream.requests.message().await.unwrap().unwrap(), request);
            }
            stream.responses.send(Err(Status::unauthenticated("who?"))).await.unwrap();
        }
        // What was refused is not shown again on the next stream.
        let mut stream = istiod.accept().await;
        for request in &requests {
            assert_eq!(stream.requests.message().await.unwrap().unwrap(), request);
        }
        let answer = sends(type_url::CLUSTER, "v1", vec![1]);
        stream.responses.send(Ok(answer.clone())).await.unwrap();
        assert_eq!(envoy.receive().await, answer);
        assert_eq!(agent.seen.standing().failure, None);
    }
}

#[tokio::test]
async fn envoy_is_told_when_istiod_knows_nothing_that_can_be_shown() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut envoy = agent.envoy(Flavour::Sotw).await;
    envoy.send(&raw(&asks(type_url::CLUSTER, ""))).await;
    let stream = istiod.accept().await;
    stream.responses.send(Err(Status::unauthenticated("who?"))).await.unwrap();
    let status = end(&mut envoy.responses).await.unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(
        status.message().starts_with("istiod did not accept what it was shown ("),
        "{status:?}"
    );
    assert_eq!(agent.seen.standing().failure.unwrap().error, status.message());
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
