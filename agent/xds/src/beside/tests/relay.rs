//! Both, through the relay, to an Envoy.

use std::sync::Arc;

use bytes::Bytes;
use hawser_proto::type_url;
use hawser_wire::Flavour;
use tokio::sync::watch;

use crate::{
    Beside, Local, Supplied, Supply,
    tests::{
        ends::{Agent, Envoy, FakeIstiod, until},
        words::{Tell, ask, tell},
    },
};

const NODE: &str = "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local";
const OURS: &str = "hawser/9080//reviews";

/// What is made here: clusters of these names, in that version.
fn supply(version: &str, names: &[&str]) -> Arc<Supply> {
    let told = tell(type_url::CLUSTER, version, names);
    let stock = names.iter().map(|name| {
        let body = Bytes::from(told.body(name));
        ((*name).to_owned(), Supplied { version: version.to_owned(), body })
    });
    Arc::new(Supply([(type_url::CLUSTER, stock.collect())].into()))
}

fn started(istiod: &FakeIstiod) -> (Agent, watch::Sender<Arc<Supply>>) {
    let (edit, stock) = watch::channel(supply("1", &[OURS]));
    let local = Local::new("services.yaml", stock);
    (Agent::made_of(Arc::new(Beside::new(Arc::new(istiod.istiod()), local))), edit)
}

async fn takes(envoy: &Envoy, told: &Tell) {
    envoy.ask(&ask(&told.type_url, &[]).about(&told.nonce)).await;
}

#[tokio::test]
async fn envoy_is_told_what_the_mesh_says_and_then_what_is_made_here() {
    let mut istiod = FakeIstiod::start().await;
    let (agent, edit) = started(&istiod);
    let mut envoy = agent.envoy(Flavour::Delta).await;
    envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE).holding(&[(OURS, "0")])).await;
    let mut stream = istiod.accept().await;
    assert_eq!(stream.asked().await, ask(type_url::CLUSTER, &[]).node(NODE));
    let theirs = tell(type_url::CLUSTER, "v1", &["a"]);
    stream.tell(&theirs).await;
    assert_eq!(envoy.told().await, theirs);
    let ours = envoy.told().await;
    assert_eq!((ours.names(), ours.type_url.as_str()), (vec![OURS], type_url::CLUSTER));

    // What Envoy says of ours istiod does not hear, and the other way round.
    takes(&envoy, &ours).await;
    envoy.ask(&ask(type_url::CLUSTER, &[]).about(&ours.nonce).refusing("no")).await;
    takes(&envoy, &theirs).await;
    assert_eq!(stream.asked().await, ask(type_url::CLUSTER, &[]).about(&theirs.nonce));
    until(&agent.seen, |standing| {
        let of = type_url::CLUSTER;
        standing.made.get(of).is_some_and(|made| made.refuses && made.responses == 1)
            && standing.types.get(of).is_some_and(|types| !types.refuses && types.responses == 1)
    })
    .await;

    // An edit comes while istiod is silent.
    edit.send_replace(supply("2", &["hawser/1//other"]));
    let ours = envoy.told().await;
    assert_eq!(ours.names(), ["hawser/1//other"]);
    takes(&envoy, &ours).await;
    assert_eq!(envoy.told().await.removed, [OURS]);
}

#[tokio::test]
async fn an_edit_reaches_envoy_while_istiod_is_away_and_what_it_said_gets_stale_all_the_same() {
    let mut istiod = FakeIstiod::start().await;
    let (agent, edit) = started(&istiod);
    let mut envoy = agent.envoy(Flavour::Delta).await;
    envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
    let stream = istiod.accept().await;
    stream.tell(&tell(type_url::CLUSTER, "v1", &["a"])).await;
    for _ in 0..2 {
        let told = envoy.told().await;
        takes(&envoy, &told).await;
    }
    istiod.leaves();
    drop(stream);
    until(&agent.seen, |standing| standing.joined == 0).await;
    for version in ["2", "3"] {
        edit.send_replace(supply(version, &[OURS]));
        let told = envoy.told().await;
        assert_eq!(told.resources[0].1, version);
        takes(&envoy, &told).await;
    }
    let heard = agent.seen.standing().heard();
    edit.send_replace(supply("4", &[OURS]));
    envoy.told().await;
    assert_eq!(agent.seen.standing().heard(), heard, "istiod has said nothing");

    // The next istiod hears of its own, and nothing of ours.
    istiod.breaks();
    let mut stream = istiod.accept().await;
    let again = ask(type_url::CLUSTER, &[]).node(NODE).holding(&[("a", "v1")]);
    assert_eq!(stream.asked().await, again);
}

#[tokio::test]
async fn an_envoy_that_starts_without_istiod_has_what_is_made_here() {
    let istiod = FakeIstiod::nobody().await;
    let (agent, _edit) = started(&istiod);
    let mut envoy = agent.envoy(Flavour::Delta).await;
    envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
    assert_eq!(envoy.told().await.names(), [OURS]);
    assert_eq!(agent.seen.standing().joined, 0);
}

#[tokio::test]
async fn nothing_of_ours_falls_into_a_message_of_others() {
    let mut istiod = FakeIstiod::start().await;
    let (agent, edit) = started(&istiod);
    let mut envoy = agent.envoy(Flavour::Delta).await;
    envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
    let stream = istiod.accept().await;
    stream.tell(&tell(type_url::CLUSTER, "v0", &["a"])).await;
    for _ in 0..2 {
        envoy.told().await;
    }
    let mut versions = Vec::new();
    let edits = async {
        for number in 0..20 {
            edit.send_replace(supply(&format!("e{number}"), &[OURS]));
            let large = tell(type_url::CLUSTER, &format!("v{number}"), &["a"]).large(2 << 20);
            stream.tell(&large).await;
        }
    };
    let reads = async {
        // Each of them can be read, whatever comes between.
        while !(versions.contains(&"v19".to_owned()) && versions.contains(&"e19".to_owned())) {
            let told = envoy.told().await;
            versions.push(told.resources[0].1.clone());
            takes(&envoy, &told).await;
        }
    };
    tokio::join!(edits, reads);
}

#[tokio::test]
async fn one_file_alone_goes_the_way_that_istiod_goes() {
    let (edit, stock) = watch::channel(supply("1", &[OURS]));
    let agent = Agent::made_of(Arc::new(Local::new("services.yaml", stock)));
    for flavour in crate::tests::words::FLAVOURS {
        let mut envoy = agent.envoy(flavour).await;
        envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
        let mut told = envoy.told().await;
        for version in ["2", "3"] {
            assert_eq!(told.names(), [OURS]);
            takes(&envoy, &told).await;
            edit.send_replace(supply(&format!("{version}{}", flavour.name()), &[OURS]));
            told = envoy.told().await;
        }
        let standing = agent.seen.standing();
        assert_eq!(standing.source.as_deref(), Some("services.yaml"));
        assert!(standing.made.is_empty());
    }
}
