//! What passes, and how.

use hawser_proto::{
    envoy::{
        envoy::{config::core::v3::Node, service::discovery::v3::DeltaDiscoveryRequest},
        google::protobuf::{Struct, Value, value::Kind},
    },
    type_url,
};
use hawser_wire::Flavour;
use prost::Message;
use tonic::Code;

use super::{
    ends::{Agent, Envoy, FakeIstiod, end, until},
    raw::Accepted,
    words::{Ask, FLAVOURS, Tell, ask, tell},
};

const NODE: &str = "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local";

/// A stream that has asked for clusters, and istiod's end of it.
async fn joined(agent: &Agent, istiod: &mut FakeIstiod, flavour: Flavour) -> (Envoy, Accepted) {
    let envoy = agent.envoy(flavour).await;
    envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
    let mut stream = istiod.accept().await;
    assert_eq!(stream.flavour, flavour);
    assert_eq!(stream.asked().await, ask(type_url::CLUSTER, &[]).node(NODE));
    (envoy, stream)
}

#[tokio::test]
async fn bytes_pass_unchanged_both_ways_in_both_flavours() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    for flavour in FLAVOURS {
        let envoy = agent.envoy(flavour).await;
        let first = ask(type_url::CLUSTER, &[]).node(NODE).bytes(flavour);
        // A field that nobody knows yet.
        let first = [&first[..], &[0xf2, 0x7f, 1, b'x']].concat().into();
        envoy.send(&first).await;
        let mut stream = istiod.accept().await;
        assert_eq!(stream.requests.message().await.unwrap().unwrap(), first);
        let mut envoy = envoy;
        for (version, size) in [("v1", 0), ("v2", 100), ("v3", 1 << 20)] {
            let response = tell(type_url::CLUSTER, version, &["a", "b"]).large(size);
            let response = [&response.bytes(flavour)[..], &[0xf2, 0x7f, 1, b'y']].concat().into();
            stream.responses.send(Ok(response)).await.unwrap();
            let response = tell(type_url::CLUSTER, version, &["a", "b"]).large(size);
            let expected = [&response.bytes(flavour)[..], &[0xf2, 0x7f, 1, b'y']].concat();
            assert!(envoy.receive().await == expected, "{version}");

            let receipt = ask(type_url::CLUSTER, &[]).about(&response.nonce).bytes(flavour);
            let receipt = [&receipt[..], &[0xf2, 0x7f, 1, b'z']].concat().into();
            envoy.send(&receipt).await;
            assert_eq!(stream.requests.message().await.unwrap().unwrap(), receipt);
        }
        drop(envoy);
        stream.over().await;
    }
}

#[tokio::test]
async fn a_response_of_100_mb_passes() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let (mut envoy, stream) = joined(&agent, &mut istiod, Flavour::Delta).await;
    let large = tell(type_url::CLUSTER, "v1", &["a"]).large(100_000_000).bytes(Flavour::Delta);

    stream.responses.send(Ok(large.clone())).await.unwrap();

    assert!(envoy.receive().await == large);
}

#[tokio::test]
async fn ends_that_both_write_before_they_read_do_not_deadlock() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let (mut envoy, mut stream) = joined(&agent, &mut istiod, Flavour::Delta).await;
    let (requests, responses) = (10_000_usize, 40_usize);
    let long = "outbound|80||a.b.svc.cluster.local".repeat(8);
    let answer = tell(type_url::CLUSTER, "v1", &["a"]).large(1 << 20).bytes(Flavour::Delta);
    let size = answer.len();

    let answering = async move {
        for _ in 0..responses {
            stream.responses.send(Ok(answer.clone())).await.unwrap();
        }
        // Only now does istiod read.
        for _ in 0..requests {
            stream.requests.message().await.unwrap().unwrap();
        }
    };
    let asking = async move {
        // Each of them large enough that all together exceed every window on the way.
        for number in 0..requests {
            envoy.ask(&ask(type_url::ENDPOINT, &[&format!("{number}{long}")])).await;
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
async fn a_type_that_the_agent_keeps_passes_neither_way() {
    for flavour in FLAVOURS {
        let mut istiod = FakeIstiod::start().await;
        let agent = Agent::start(&istiod);
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::NAME_TABLE, &[]).node(NODE)).await;
        envoy.ask(&ask(type_url::CLUSTER, &[])).await;
        let mut stream = istiod.accept().await;
        // The node was on the request that did not pass.
        assert_eq!(stream.asked().await, ask(type_url::CLUSTER, &[]).node(NODE));

        for kept in [type_url::NAME_TABLE, type_url::PROXY_CONFIG, type_url::HEALTH] {
            stream.tell(&tell(kept, "v1", &["a"])).await;
            stream.tell(&tell(kept, "v2", &["a"]).large(1 << 20)).await;
        }
        // Nor does what nobody asked for.
        stream.tell(&tell(type_url::ROUTE, "v1", &["a"])).await;
        let cluster = tell(type_url::CLUSTER, "v1", &["a"]);
        stream.tell(&cluster).await;

        assert_eq!(envoy.told().await, cluster);
        assert_eq!(agent.seen.standing().withheld, 8);
    }
}

#[tokio::test]
async fn a_response_without_resources_passes_like_any_other() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    for flavour in FLAVOURS {
        let (mut envoy, mut stream) = joined(&agent, &mut istiod, flavour).await;
        let nothing = tell(type_url::CLUSTER, "v1", &[]);
        stream.tell(&nothing).await;
        assert_eq!(envoy.told().await, nothing);
        drop(envoy);
        stream.over().await;
    }
}

#[tokio::test]
async fn several_streams_are_served_side_by_side_and_counted() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut pairs = Vec::new();
    for flavour in [Flavour::Sotw, Flavour::Delta, Flavour::Sotw] {
        pairs.push(joined(&agent, &mut istiod, flavour).await);
    }
    for (index, (envoy, stream)) in pairs.iter_mut().enumerate() {
        let answer = tell(type_url::CLUSTER, &index.to_string(), &["a"]);
        stream.tell(&answer).await;
        assert_eq!(envoy.told().await, answer);
    }
    eprintln!("told");
    until(&agent.seen, |standing| {
        eprintln!("{} {}", standing.streams, standing.joined);
        (standing.streams, standing.joined) == (3, 3)
    })
    .await;
    eprintln!("joined");

    // Envoy leaves: its stream to istiod ends too, and the others go on.
    let (envoy, mut stream) = pairs.remove(0);
    drop(envoy);
    assert!(matches!(stream.requests.message().await, Ok(None) | Err(_)));

    until(&agent.seen, |standing| (standing.streams, standing.joined) == (2, 2)).await;
    drop(pairs);
    until(&agent.seen, |standing| (standing.streams, standing.joined) == (0, 0)).await;
}

#[tokio::test]
async fn what_envoy_takes_and_what_it_refuses_is_seen_and_istiod_told() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    for flavour in FLAVOURS {
        let (mut envoy, mut stream) = joined(&agent, &mut istiod, flavour).await;
        stream.tell(&tell(type_url::CLUSTER, "v1", &["a"])).await;
        let taken = envoy.told().await;
        let receipt = ask(type_url::CLUSTER, &[]).about(&taken.nonce);
        envoy.ask(&receipt).await;
        assert_eq!(stream.asked().await, receipt);
        stream.tell(&tell(type_url::CLUSTER, "v2", &["a"])).await;
        let refused = envoy.told().await;
        let refusal = ask(type_url::CLUSTER, &[]).about(&refused.nonce).refusing("no such filter");
        envoy.ask(&refusal).await;
        assert_eq!(stream.asked().await, refusal);
        drop(envoy);
        stream.over().await;
    }
    let clusters = agent.seen.standing().types.remove(type_url::CLUSTER).unwrap();
    assert_eq!(clusters.responses, 4);
    assert_eq!(clusters.sent.unwrap().version, "v2");
    assert_eq!(clusters.accepted.unwrap().version, "v1");
    let rejected = clusters.rejected.unwrap();
    assert_eq!((rejected.version.as_str(), rejected.error.as_str()), ("v2", "no such filter"));
}

#[tokio::test]
async fn a_client_that_makes_no_sense_is_told_so() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    for flavour in FLAVOURS {
        let (mut envoy, mut stream) = joined(&agent, &mut istiod, flavour).await;
        envoy.send(&bytes::Bytes::from_static(b"\xff\xfe no protobuf")).await;
        assert_eq!(end(&mut envoy.responses).await.unwrap().code(), Code::InvalidArgument);
        stream.over().await;
    }
}

#[tokio::test]
async fn a_stop_ends_all_streams_gracefully_while_envoy_stays() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let (mut busy, _stream) = joined(&agent, &mut istiod, Flavour::Sotw).await;
    let mut waiting = agent.envoy(Flavour::Delta).await;

    let stopped = agent.stop();

    assert!(end(&mut busy.responses).await.is_none());
    assert!(end(&mut waiting.responses).await.is_none());
    // Envoy stays, and does not hold the agent.
    stopped.await;
}

#[tokio::test]
async fn health_is_told_after_the_workload_is_known_and_then_when_it_changes() {
    for flavour in FLAVOURS {
        let mut istiod = FakeIstiod::start().await;
        let agent = Agent::start(&istiod);
        agent.health.send_replace(Some(Err("starting".to_owned())));
        let (envoy, mut stream) = joined(&agent, &mut istiod, flavour).await;
        let health = ask(type_url::HEALTH, &[]);
        envoy.ask(&ask(type_url::LISTENER, &[])).await;
        assert_eq!(stream.asked().await, ask(type_url::LISTENER, &[]));
        assert_eq!(stream.asked().await, health.clone().refusing("starting"));
        agent.health.send_replace(Some(Ok(())));
        assert_eq!(stream.asked().await, health);

        // Whoever comes next does not know.
        drop(stream);
        let mut stream = istiod.accept().await;
        let types: Vec<Ask> = vec![stream.asked().await, stream.asked().await];
        assert_eq!(
            [&types[0].type_url, &types[1].type_url],
            [type_url::CLUSTER, type_url::LISTENER]
        );
        assert_eq!(stream.asked().await, health);
    }
}

#[tokio::test]
async fn a_machine_that_moves_says_so_on_a_new_stream() {
    for flavour in FLAVOURS {
        let mut istiod = FakeIstiod::start().await;
        let agent = Agent::start(&istiod);
        let (mut envoy, stream) = joined(&agent, &mut istiod, flavour).await;
        stream.tell(&tell(type_url::CLUSTER, "v1", &["a"])).await;
        let told: Tell = envoy.told().await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).about(&told.nonce)).await;

        let moved = "sidecar~10.0.0.2~vm.vms~vms.svc.cluster.local";
        agent.node.send_modify(|node| {
            let mut other = (**node).clone();
            other.id = moved.to_owned();
            *node = other.into();
        });

        let mut stream = istiod.accept().await;
        assert_eq!(stream.asked().await.node.as_deref(), Some(moved));
    }
}

#[tokio::test]
async fn what_a_program_refuses_is_shown_as_its_own_for_as_long_as_it_is_there() {
    let mut istiod = FakeIstiod::start().await;
    let agent = Agent::start(&istiod);
    let mut program = agent.envoy(Flavour::Delta).await;
    let grpc = Value { kind: Some(Kind::StringValue("grpc".to_owned())) };
    let node = Node {
        id: NODE.to_owned(),
        metadata: Some(Struct { fields: [("GENERATOR".to_owned(), grpc)].into() }),
        ..Node::default()
    };
    let first = DeltaDiscoveryRequest {
        node: Some(node),
        type_url: type_url::CLUSTER.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    program.send(&first.encode_to_vec().into()).await;
    let mut stream = istiod.accept().await;
    stream.asked().await;
    for (version, refused) in [("v1", true), ("v2", false), ("v3", true)] {
        stream.tell(&tell(type_url::CLUSTER, version, &["a"])).await;
        let nonce = program.told().await.nonce;
        let receipt = ask(type_url::CLUSTER, &[]).about(&nonce);
        program.ask(&if refused { receipt.refusing("no") } else { receipt }).await;
        stream.asked().await;
        until(&agent.seen, |standing| standing.refusing.len() == usize::from(refused)).await;
    }
    let standing = agent.seen.standing();
    assert!(standing.types.is_empty(), "{standing:?}");
    assert_eq!(standing.refusing[&(NODE.to_owned(), type_url::CLUSTER.to_owned())].error, "no");

    drop(program);
    until(&agent.seen, |standing| standing.programs == 0 && standing.refusing.is_empty()).await;
}
