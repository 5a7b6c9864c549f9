//! What Envoy notices of istiod's troubles: nothing.

use hawser_proto::{
    envoy::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse},
    type_url,
};
use hawser_wire::{Flavour, write};
use prost::Message;
use tonic::Status;

use super::{
    ends::{Agent, FakeIstiod, Tokens, until},
    script::Script,
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

#[tokio::test]
async fn what_is_too_much_to_be_named_to_istiod_and_is_no_more_goes_from_envoy_too() {
    let flavour = Flavour::Delta;
    let (source, mut streams) = Script::new();
    let agent = Agent::made_of(source);
    let mut envoy = agent.envoy(flavour).await;
    let names: Vec<String> = (0..40_000).map(|number| format!("{number:0100}")).collect();
    let held: Vec<_> = names.iter().map(|name| (name.as_str(), "v1")).collect();
    envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE).holding(&held)).await;
    let mut stream = streams.recv().await.unwrap();
    let named = stream.asked(flavour).await.held;
    assert!(named.len() < names.len());
    let answer = tell(type_url::CLUSTER, "v2", &[&names[names.len() - 1], "new"]);
    stream.tell(&write::frame(&answer.bytes(flavour))).await;
    assert_eq!(envoy.takes().await, answer);

    let mut gone = envoy.takes().await;

    gone.removed.sort();
    let unnamed = names.iter().filter(|name| named.binary_search_by(|it| it.0.cmp(name)).is_err());
    let unnamed: Vec<_> =
        unnamed.filter(|name| **name != names[names.len() - 1]).cloned().collect();
    assert!(!unnamed.is_empty() && gone.removed == unnamed, "{}", gone.removed.len());
    // istiod hears of what it has sent, and of nothing else.
    assert_eq!(stream.asked(flavour).await.nonce, answer.nonce);
    envoy.ask(&ask(type_url::LISTENER, &[])).await;
    assert_eq!(stream.asked(flavour).await, ask(type_url::LISTENER, &[]));
}

#[tokio::test]
async fn a_first_message_that_does_not_end_keeps_nothing_from_envoy() {
    // In delta, who was told less than Envoy has by then is asked anew.
    let flavour = Flavour::Sotw;
    let types = [type_url::CLUSTER, type_url::LISTENER];
    let (source, mut streams) = Script::new();
    let agent = Agent::made_of(source);
    let mut envoy = agent.envoy(flavour).await;
    let first = ask(type_url::CLUSTER, &[]).node(NODE);
    envoy.ask(&first).await;
    let mut stream = streams.recv().await.unwrap();
    envoy.ask(&ask(type_url::LISTENER, &[])).await;
    for type_url in types {
        stream.asked(flavour).await;
        stream.tell(&write::frame(&tell(type_url, "v1", &["a"]).bytes(flavour))).await;
        envoy.takes().await;
    }
    // The receipts are taken, and with that what they are of is kept.
    stream.asked(flavour).await;
    stream.asked(flavour).await;
    drop((envoy, stream));
    let (source, mut streams) = Script::new();
    let agent = agent.restarted_hasty(source).await;

    let mut envoy = agent.envoy(flavour).await;
    envoy.ask(&first).await;
    let kept = envoy.takes().await;
    assert_eq!((kept.type_url.as_str(), kept.version.as_str()), (type_url::CLUSTER, "v1"));
    let stream = streams.recv().await.unwrap();
    let news = write::frame(&tell(type_url::CLUSTER, "v2", &["b"]).bytes(flavour));
    // When there is room for the third, the first was taken.
    for byte in news[..3].chunks(1) {
        stream.tell(byte).await;
    }
    envoy.ask(&ask(type_url::LISTENER, &[])).await;
    let kept = envoy.takes().await;
    assert_eq!((kept.type_url.as_str(), kept.version.as_str()), (type_url::LISTENER, "v1"));

    stream.tell(&news[3..]).await;
    assert_eq!(envoy.takes().await, tell(type_url::CLUSTER, "v2", &["b"]));
}
