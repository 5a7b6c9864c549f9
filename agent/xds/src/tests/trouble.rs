//! What Envoy notices of istiod's troubles: nothing.

use hawser_proto::type_url;
use hawser_wire::Flavour;
use tonic::Status;

use super::{
    ends::{Agent, FakeIstiod, Tokens, until},
    words::{Ask, FLAVOURS, ask, tell},
};

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
        assert_eq!(stream.asked().await, ask(type_url::CLUSTER, &[]).node(NODE).of(""));

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
        let mut istiod = FakeIstiod::start().await;
        let agent = Agent::start(&istiod);
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let stream = istiod.accept().await;
        let large = tell(type_url::CLUSTER, "v1", &["a", "b", "c"]).large(8 << 20);
        let (bytes, length) = (large.bytes(flavour), large.bytes(flavour).len());
        stream.responses.send(Ok(bytes)).await.unwrap();
        // Some of it has come to Envoy when istiod goes.
        until(&agent.seen, |standing| standing.streams == 1).await;
        let broken = {
            let receiving = envoy.receive();
            tokio::pin!(receiving);
            tokio::select! {
                biased;
                _ = &mut receiving => None,
                () = tokio::time::sleep(std::time::Duration::from_millis(30)) => {
                    istiod.breaks();
                    Some(receiving.await)
                }
            }
        };
        let mut stream = istiod.accept().await;
        stream.asked().await;
        if let Some(broken) = broken.filter(|broken| *broken != large.bytes(flavour)) {
            assert_eq!(broken.len(), length);
            let refusal = ask(type_url::CLUSTER, &[]).refusing("duplicate");
            envoy.ask(&refusal).await;
        }
        let again = tell(type_url::CLUSTER, "v2", &["a"]);
        stream.tell(&again).await;
        assert_eq!(envoy.takes().await, again);
        assert_eq!(stream.asked().await.nonce, again.nonce);
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
    }
}
