//! What Envoy notices of istiod's troubles: nothing.

use hawser_proto::{
    envoy::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse},
    type_url,
};
use hawser_wire::{Flavour, write};
use prost::Message;
use tonic::Status;

use super::{
    ends::{Agent, FakeIstiod, Script, Tokens, until},
    words::{Ask, FLAVOURS, ask, tell},
};
use crate::Standing;

const NODE: &str = "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local";

/// What Envoy says of clusters on a new stream to istiod that it has, in that version.
fn rejoins(flavour: Flavour, version: &str, held: &[&str]) -> Ask {
    let first = ask(type_url::CLUSTER, &[]).node(NODE);
    match flavour {
        Flavour::Sotw => first.of(version),
        Flavour::Delta => {
            let held: Vec<_> = held.iter().map(|name| (*name, version)).collect();
            first.holding(&held)
        }
    }
}

#[tokio::test]
async fn envoys_stream_outlives_those_to_istiod_however_they_end() {
    for flavour in FLAVOURS {
        let mut istiod = FakeIstiod::start().await;
        let agent = Agent::start(&istiod);
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let mut stream = istiod.accept().await;
        stream.asked().await;
        for round in 1..6 {
            let version = format!("v{round}");
            stream.tell(&tell(type_url::CLUSTER, &version, &["a", "b"])).await;
            assert_eq!(envoy.takes().await.version, version);
            stream.asked().await;
            match round {
                1 => drop(stream),
                2 => stream.responses.send(Err(Status::permission_denied("no"))).await.unwrap(),
                3 => istiod.breaks(),
                4 => {
                    let garbage = bytes::Bytes::from_static(b"\xff\xff\xff");
                    stream.responses.send(Ok(garbage)).await.unwrap();
                }
                _ => {
                    istiod.leaves();
                    until(&agent.seen, |standing| standing.attempts > 0).await;
                    istiod.breaks();
                }
            }
            stream = istiod.accept().await;
            assert_eq!(stream.asked().await, rejoins(flavour, &version, &["a", "b"]));
        }
        assert_eq!(agent.seen.standing().unreadable, 1);
    }
}

#[tokio::test]
async fn a_receipt_of_what_another_stream_has_sent_does_not_reach_istiod() {
    for flavour in FLAVOURS {
        let mut istiod = FakeIstiod::start().await;
        let agent = Agent::start(&istiod);
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let stream = istiod.accept().await;
        stream.tell(&tell(type_url::CLUSTER, "v1", &["a"])).await;
        let told = envoy.told().await;
        drop(stream);
        let mut stream = istiod.accept().await;
        // Whether Envoy takes what is under way is not known: istiod is to say it again.
        let unsure = match flavour {
            Flavour::Sotw => ask(type_url::CLUSTER, &[]),
            Flavour::Delta => ask(type_url::CLUSTER, &[]).holding(&[("a", "")]),
        };
        assert_eq!(stream.asked().await, unsure.node(NODE));

        // Late, and with something new in it.
        let late = ask(type_url::CLUSTER, &[]).about(&told.nonce);
        envoy.ask(&late).await;
        envoy.ask(&ask(type_url::ENDPOINT, &["a"])).await;

        assert_eq!(stream.asked().await, ask(type_url::ENDPOINT, &["a"]));
    }
}

#[tokio::test]
async fn a_large_response_that_is_cut_off_is_refused_by_envoy_and_nobody_hears_of_it() {
    for flavour in FLAVOURS {
        let (source, mut streams) = Script::new();
        let agent = Agent::made_of(source);
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let mut stream = streams.recv().await.unwrap();
        assert_eq!(stream.asked(flavour).await, ask(type_url::CLUSTER, &[]).node(NODE));
        let large = tell(type_url::CLUSTER, "v1", &["a", "b", "c"]).large(1 << 20).bytes(flavour);
        let framed = write::frame(&large);
        // Of nobody's interest, but a good message: the next stream is not waited for.
        let good = write::frame(&tell(type_url::NAME_TABLE, "v1", &[]).bytes(flavour));
        for cut in [9, 300_000, (1 << 20) + 77, framed.len() - 1] {
            let cutting = async {
                stream.tell(&good).await;
                for piece in framed[..cut].chunks(16 << 10) {
                    stream.tell(piece).await;
                }
                drop(stream);
                streams.recv().await.unwrap()
            };
            // Of what was small enough to be held back, Envoy does not hear.
            let receiving = async {
                match cut {
                    9 => None,
                    _ => Some(envoy.receive().await),
                }
            };
            let (next, broken) = tokio::join!(cutting, receiving);
            stream = next;
            let again = stream.asked(flavour).await;
            assert_eq!(again, ask(type_url::CLUSTER, &[]).node(NODE), "{cut}");
            if let Some(broken) = broken {
                assert_eq!(broken.len(), large.len(), "{cut}");
                assert_ne!(broken, large, "{cut}");
                // Envoy passes over what has no type, and refuses what has one.
                let typed = match flavour {
                    Flavour::Sotw => DiscoveryResponse::decode(broken).unwrap().type_url,
                    Flavour::Delta => DeltaDiscoveryResponse::decode(broken).unwrap().type_url,
                };
                if !typed.is_empty() {
                    envoy.ask(&ask(type_url::CLUSTER, &[]).refusing("duplicate")).await;
                }
            }
        }
        let whole = tell(type_url::CLUSTER, "v2", &["a"]);
        stream.tell(&write::frame(&whole.bytes(flavour))).await;
        assert_eq!(envoy.takes().await, whole);
        // The receipt is the next that is heard of Envoy.
        assert_eq!(stream.asked(flavour).await.nonce, whole.nonce);
        assert_eq!(agent.seen.standing().types[type_url::CLUSTER].rejections, 0);
    }
}

#[tokio::test]
async fn garbage_and_oversized_frames_end_a_stream_to_the_source_and_not_envoys() {
    for flavour in FLAVOURS {
        let (source, mut streams) = Script::new();
        let agent = Agent::made_of(source);
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let frames: [&[u8]; 5] = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            &[1, 0, 0, 0, 4, 1, 2, 3, 4],
            &[0, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff],
            &[0, 0, 0x10, 0, 0, 0x0b, 0xff, 0xff, 0xff],
        ];
        let good = write::frame(&tell(type_url::NAME_TABLE, "v1", &[]).bytes(flavour));
        for frame in frames {
            let stream = streams.recv().await.unwrap();
            stream.tell(&good).await;
            stream.tell(frame).await;
            stream.answers.closed().await;
        }
        let mut stream = streams.recv().await.unwrap();
        stream.asked(flavour).await;
        let whole = tell(type_url::CLUSTER, "v2", &["a"]);
        stream.tell(&write::frame(&whole.bytes(flavour))).await;
        assert_eq!(envoy.takes().await, whole);
        assert_eq!(agent.seen.standing().unreadable, 5);
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_an_error_in_the_middle_of_a_response_is_told_as_such() {
    for flavour in FLAVOURS {
        let (source, mut streams) = Script::new();
        let agent = Agent::made_of(source);
        let envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let good = write::frame(&tell(type_url::NAME_TABLE, "v1", &[]).bytes(flavour));
        for (cut, middle) in [(0, false), (3, true), (good.len() - 1, true)] {
            let stream = streams.recv().await.unwrap();
            stream.tell(&[&good[..], &good[..cut]].concat()).await;
            stream.tell(&[]).await;
            stream.answers.closed().await;
            let told = |standing: &Standing| {
                let error = standing.failure.as_ref().map(|failure| failure.error.as_str());
                error.is_some_and(|error| error.ends_with("in the middle of a response") == middle)
            };
            until(&agent.seen, told).await;
        }
        assert_eq!(agent.seen.standing().unreadable, 2);
    }
}

#[tokio::test]
async fn what_envoy_took_is_given_to_it_while_istiod_is_away() {
    for flavour in FLAVOURS {
        let mut istiod = FakeIstiod::start().await;
        let agent = Agent::start(&istiod);
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let mut stream = istiod.accept().await;
        stream.asked().await;
        stream.tell(&tell(type_url::CLUSTER, "v1", &["a", "b"])).await;
        envoy.takes().await;
        stream.asked().await;
        stream.tell(&tell(type_url::CLUSTER, "v2", &["c"])).await;
        let refused = envoy.told().await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).about(&refused.nonce).refusing("no")).await;
        stream.asked().await;
        istiod.leaves();
        drop((envoy, stream));

        // The machine is started again.
        let agent = agent.restarted(istiod.istiod()).await;
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let kept = envoy.takes().await;
        let mut names = kept.names();
        names.sort_unstable();
        assert_eq!((names, kept.version.as_str()), (vec!["a", "b"], "v1"));
        until(&agent.seen, |standing| standing.stale.is_some()).await;
        let shown = agent.metrics.render();
        assert!(shown.contains("istio_agent_xds_proxy_responses 1\n"), "{shown}");
        assert!(!shown.contains("istio_agent_istiod_connection_failures 0\n"), "{shown}");
        assert!(!shown.contains("hawser_xds_stale_seconds 0\n"), "{shown}");

        // istiod is back: the same stream is joined to it, and says what Envoy has.
        istiod.breaks();
        let mut stream = istiod.accept().await;
        assert_eq!(stream.asked().await, rejoins(flavour, "v1", &["a", "b"]));
        stream.tell(&tell(type_url::CLUSTER, "v3", &["a"])).await;
        assert_eq!(envoy.takes().await.version, "v3");
        until(&agent.seen, |standing| standing.stale.is_none()).await;
    }
}

#[tokio::test]
async fn envoy_does_not_notice_that_istiod_was_shown_something_else() {
    let mut istiod = FakeIstiod::start().await;
    let tokens = Tokens::new();
    let agent = Agent::with(istiod.shown_tokens(&tokens.files));
    for flavour in FLAVOURS {
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        if flavour == Flavour::Sotw {
            let stream = istiod.accept().await;
            stream.responses.send(Err(Status::unauthenticated("who?"))).await.unwrap();
        }
        // What was refused is not shown again on the next stream.
        let mut stream = istiod.accept().await;
        assert_eq!(stream.asked().await, ask(type_url::CLUSTER, &[]).node(NODE));
        let answer = tell(type_url::CLUSTER, "v1", &["a"]);
        stream.tell(&answer).await;
        assert_eq!(envoy.told().await, answer);
        drop(envoy);
        stream.over().await;
    }
}
