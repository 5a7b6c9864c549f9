//! Who is served, and for whom istiod is called.

use hawser_proto::type_url;
use hawser_wire::write;
use tokio::time::Instant;
use tonic::Code;

use super::{
    ends::{Agent, end},
    script::Script,
    words::{FLAVOURS, ask, tell},
};
use crate::downstream::{KEPT_FOR_ENVOY, MOST_STREAMS};

const NODE: &str = "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local";

#[tokio::test(start_paused = true)]
async fn a_stream_on_which_nothing_is_asked_calls_nobody_and_is_ended() {
    for flavour in FLAVOURS {
        let (source, mut streams) = Script::new();
        let agent = Agent::made_of(source);
        let mut envoy = agent.envoy(flavour).await;

        let ended = end(&mut envoy.responses).await.unwrap();

        assert_eq!(ended.code(), Code::DeadlineExceeded);
        assert!(streams.try_recv().is_err());
        // Whoever asks is served as long as it likes.
        let envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let mut stream = streams.recv().await.unwrap();
        assert_eq!(stream.asked(flavour).await, ask(type_url::CLUSTER, &[]).node(NODE));
    }
}

#[tokio::test]
async fn streams_that_a_program_leaves_lying_about_do_not_keep_envoy_out() {
    let flavour = FLAVOURS[1];
    for (agent, most) in [
        (Agent::made_of(Script::new().0), MOST_STREAMS - KEPT_FOR_ENVOY),
        (Agent::of_envoys(Script::new().0), MOST_STREAMS),
    ] {
        let mut open = Vec::new();
        for _ in 0..most {
            open.push(agent.envoy(flavour).await);
        }
        let refused = agent.opens(flavour).await.err().map(|status| status.code());
        assert_eq!(refused, Some(Code::ResourceExhausted));
    }
}

#[tokio::test(start_paused = true)]
async fn what_istiod_does_not_like_is_asked_again_ever_more_rarely_though_it_answers_first() {
    for flavour in FLAVOURS {
        let (source, mut streams) = Script::refusing();
        let agent = Agent::made_of(source);
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let begun = Instant::now();
        for version in 0..20 {
            let stream = streams.recv().await.unwrap();
            let good = tell(type_url::CLUSTER, &version.to_string(), &["a"]);
            stream.tell(&write::frame(&good.bytes(flavour))).await;
            envoy.takes().await;
        }
        // Of those that are just lost, 20 streams last less than 40 s.
        assert!(begun.elapsed().as_secs() > 40, "{:?}", begun.elapsed());
    }
}
