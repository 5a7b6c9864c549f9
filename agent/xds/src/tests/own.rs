//! The agent's own stream.

mod changes;

use std::{sync::Arc, task::Poll};

use hawser_istiod::Istiod;
use hawser_node::Node;
use hawser_pki::Bundle;
use hawser_proto::{
    Names,
    envoy::envoy::service::discovery::v3::DiscoveryRequest,
    istio::nds::{NameInfo, NameTable},
    type_url,
};
use prost::Message;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    empty,
    ends::{FakeIstiod, Tokens, until},
    raw::Accepted,
    sends,
};
use hawser_wire::Flavour;

use crate::{Own, Seen, follow};

/// The agent's own stream, for as long as this lives.
struct Follower {
    node: watch::Sender<Arc<Node>>,
    names: watch::Receiver<Option<Names>>,
    trust: watch::Receiver<Option<Arc<Bundle>>>,
    tasks: JoinSet<()>,
}

impl Follower {
    fn start(istiod: Istiod, seen: Seen, with_trust: bool) -> Self {
        let (node, followed) = watch::channel(Arc::new(node()));
        let ((publish, names), (tell, trust)) = (watch::channel(None), watch::channel(None));
        let own = Own { names: publish, trust: with_trust.then_some(tell) };
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(async move { follow(followed, istiod, own, seen, stop).await.unwrap() });
        Self { node, names, trust, tasks }
    }

    /// Whether no task has ended.
    async fn goes_on(&mut self) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(self.tasks.poll_join_next(cx).is_pending())).await
    }
}

impl FakeIstiod {
    /// Follows names, and roots if they are wanted.
    fn follow(&self, seen: Seen, with_trust: bool) -> Follower {
        Follower::start(self.istiod(), seen, with_trust)
    }
}

fn node() -> Node {
    let metadata = serde_json::json!({"INSTANCE_IPS": "10.0.0.1", "AUTO_REGISTER_GROUP": "g"});
    Node {
        id: "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local".to_owned(),
        cluster: "vm.vms".to_owned(),
        locality: hawser_node::Locality::default(),
        ips: Vec::new(),
        metadata: metadata.as_object().unwrap().clone(),
    }
}

async fn heard(stream: &mut Accepted) -> DiscoveryRequest {
    DiscoveryRequest::decode(stream.requests.message().await.unwrap().unwrap()).unwrap()
}

fn table(name: &str) -> NameTable {
    let info = NameInfo { ips: vec!["240.240.0.1".to_owned()], ..NameInfo::default() };
    NameTable { table: [(name.to_owned(), info)].into() }
}

/// A `ProxyConfig` with one entry of `ca_certificates_pem`.
fn config(pem: &str) -> Vec<u8> {
    #[derive(Clone, PartialEq, Message)]
    struct Config {
        #[prost(string, repeated, tag = "34")]
        ca_certificates_pem: Vec<String>,
    }
    Config { ca_certificates_pem: vec![pem.to_owned()] }.encode_to_vec()
}

fn root() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    Bundle::from_pem(&pem).unwrap().pem().to_owned()
}

fn pem(trust: &watch::Receiver<Option<Arc<Bundle>>>) -> Option<String> {
    trust.borrow().as_ref().map(|bundle| bundle.pem().to_owned())
}

fn has(names: &watch::Receiver<Option<Names>>, name: &str) -> bool {
    names.borrow().as_ref().unwrap().iter().any(|entry| entry.host == name)
}

#[tokio::test]
async fn the_name_table_is_published_before_it_is_acknowledged() {
    let mut istiod = FakeIstiod::start().await;
    let agent = istiod.follow(Seen::default(), false);
    let mut stream = istiod.accept().await;
    let first = heard(&mut stream).await;
    assert_eq!(stream.flavour, Flavour::Sotw);
    assert_eq!(first.type_url, type_url::NAME_TABLE);
    assert!(first.node.unwrap().id.starts_with("sidecar~"));

    let body = table("hello.demo.svc.cluster.local").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v1", body))).await.unwrap();
    let reply = heard(&mut stream).await;

    assert_eq!((reply.version_info.as_str(), reply.response_nonce.as_str()), ("v1", "n-v1"));
    assert!(agent.names.has_changed().unwrap(), "it was there before the acknowledgement");
    assert!(has(&agent.names, "hello.demo.svc.cluster.local"));
}

#[tokio::test]
async fn a_bad_table_is_refused_and_the_last_one_stays_through_the_loss_of_istiod() {
    let mut istiod = FakeIstiod::start().await;
    let seen = Seen::default();
    let agent = istiod.follow(seen.clone(), false);
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    let body = table("a").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v1", body))).await.unwrap();
    heard(&mut stream).await;
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v2", vec![0xff]))).await.unwrap();
    let reply = heard(&mut stream).await;
    assert_eq!((reply.version_info.as_str(), reply.response_nonce.as_str()), ("v1", "n-v2"));
    assert_eq!(reply.error_detail.unwrap().code, 13);
    assert!(has(&agent.names, "a"));
    drop(stream);

    let mut stream = istiod.accept().await;
    assert!(heard(&mut stream).await.node.is_some(), "a new stream introduces itself");
    assert!(has(&agent.names, "a"));
    let body = table("b").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v3", body))).await.unwrap();
    until(&seen, |standing| {
        standing.names.table.as_ref().is_some_and(|table| table.version == "v3")
    })
    .await;
    assert!(has(&agent.names, "b"));
    let standing = seen.standing().names;
    assert!(standing.joined.is_some());
    assert_eq!(standing.rejected.unwrap().version, "v2");
    assert_eq!(standing.failure.unwrap().error, "istiod ended the stream");
}

#[tokio::test]
async fn without_istiod_there_is_no_table_and_no_end() {
    let nobody = FakeIstiod::nobody().await;
    let seen = Seen::default();
    let mut agent = nobody.follow(seen.clone(), true);
    until(&seen, |standing| standing.names.failure.is_some()).await;
    assert!(agent.names.borrow().is_none() && agent.trust.borrow().is_none());
    assert!(agent.goes_on().await, "it goes on trying");
    let failure = seen.standing().names.failure.unwrap();
    assert!(failure.error.starts_with("istiod is not reachable: cannot connect"), "{failure:?}");
}

#[tokio::test]
async fn roots_of_the_mesh_are_published_before_they_are_acknowledged() {
    let mut istiod = FakeIstiod::start().await;
    let seen = Seen::default();
    let mut agent = istiod.follow(seen.clone(), true);
    let mut stream = istiod.accept().await;
    assert_eq!(heard(&mut stream).await.type_url, type_url::NAME_TABLE);
    let asks = heard(&mut stream).await;
    assert_eq!((asks.type_url.as_str(), asks.node), (type_url::PROXY_CONFIG, None));
    assert!(seen.standing().trust.asked);

    let (one, two) = (root(), root());
    for (version, roots) in [("v1", &one), ("v2", &two)] {
        let body = config(roots);
        stream.responses.send(Ok(sends(type_url::PROXY_CONFIG, version, body))).await.unwrap();
        let reply = heard(&mut stream).await;
        assert_eq!((&*reply.type_url, &*reply.version_info), (type_url::PROXY_CONFIG, version));
        assert_eq!(reply.error_detail, None);
        assert!(agent.trust.has_changed().unwrap(), "it was there before the acknowledgement");
        agent.trust.mark_unchanged();
        assert_eq!(pem(&agent.trust).as_ref(), Some(roots));
    }
    // The same again is taken, and is no news.
    let body = config(&format!("{two}{two}"));
    stream.responses.send(Ok(sends(type_url::PROXY_CONFIG, "v3", body))).await.unwrap();
    assert_eq!(heard(&mut stream).await.version_info, "v3");
    assert!(!agent.trust.has_changed().unwrap());
    until(&seen, |standing| {
        standing.trust.bundle.as_ref().is_some_and(|bundle| bundle.version == "v3")
    })
    .await;
    let trust = seen.standing().trust;
    assert_eq!((trust.bundle.unwrap().resources, trust.rejected), (1, None));
}

#[tokio::test]
async fn no_roots_are_not_spoken_of_and_bad_ones_are_refused_once() {
    let mut istiod = FakeIstiod::start().await;
    let seen = Seen::default();
    let agent = istiod.follow(seen.clone(), true);
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    heard(&mut stream).await;
    let good = root();
    stream.responses.send(Ok(sends(type_url::PROXY_CONFIG, "v1", config(&good)))).await.unwrap();
    heard(&mut stream).await;

    stream.responses.send(Ok(empty(type_url::PROXY_CONFIG, "v2"))).await.unwrap();
    stream.responses.send(Ok(sends(type_url::PROXY_CONFIG, "v3", vec![0xff]))).await.unwrap();
    let reply = heard(&mut stream).await;
    assert_eq!((&*reply.version_info, &*reply.response_nonce), ("v1", "n-v3"));
    assert!(reply.error_detail.unwrap().message.starts_with("trust bundle cannot be decoded"));
    // What istiod hears next is about the next thing it said.
    let body = table("a").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "n1", body))).await.unwrap();
    let reply = heard(&mut stream).await;
    assert_eq!((&*reply.type_url, &*reply.version_info), (type_url::NAME_TABLE, "n1"));

    assert_eq!(pem(&agent.trust), Some(good));
    assert!(has(&agent.names, "a"));
    let trust = seen.standing().trust;
    assert_eq!((trust.bundle.unwrap().version, trust.rejected.unwrap().version), {
        ("v1".to_owned(), "v3".to_owned())
    });
}

#[tokio::test]
async fn names_come_from_an_istiod_that_has_no_roots_to_send() {
    let mut istiod = FakeIstiod::start().await;
    let agent = istiod.follow(Seen::default(), true);
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    heard(&mut stream).await;
    for version in ["v1", "v2"] {
        let body = table(version).encode_to_vec();
        stream.responses.send(Ok(sends(type_url::NAME_TABLE, version, body))).await.unwrap();
        assert_eq!(heard(&mut stream).await.version_info, version);
        assert!(has(&agent.names, version));
    }
    assert_eq!(pem(&agent.trust), None);
}

#[tokio::test]
async fn roots_outlive_the_loss_of_istiod() {
    let mut istiod = FakeIstiod::start().await;
    let agent = istiod.follow(Seen::default(), true);
    let good = root();
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    heard(&mut stream).await;
    stream.responses.send(Ok(sends(type_url::PROXY_CONFIG, "v1", config(&good)))).await.unwrap();
    heard(&mut stream).await;
    drop(stream);

    let mut stream = istiod.accept().await;
    assert_eq!(heard(&mut stream).await.type_url, type_url::NAME_TABLE);
    let asks = heard(&mut stream).await;
    assert_eq!(asks.type_url, type_url::PROXY_CONFIG);
    assert_eq!((&*asks.version_info, &*asks.response_nonce), ("", ""), "it begins anew");
    assert_eq!(pem(&agent.trust), Some(good));
}

#[tokio::test]
async fn an_istiod_that_does_not_know_who_asks_is_shown_something_else_at_once() {
    let mut istiod = FakeIstiod::start().await;
    let seen = Seen::default();
    let tokens = Tokens::new();
    let agent = Follower::start(istiod.shown_tokens(&tokens.files), seen.clone(), false);
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    stream.responses.send(Err(Status::unauthenticated("no such account"))).await.unwrap();

    let mut stream = istiod.accept().await;
    assert!(heard(&mut stream).await.node.is_some());
    assert_eq!(seen.standing().names.failure, None, "nothing is wrong yet");
    let body = table("a").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v1", body))).await.unwrap();
    heard(&mut stream).await;
    assert!(has(&agent.names, "a"));
}

#[tokio::test]
async fn when_nothing_else_is_left_to_show_it_says_what_was_shown() {
    let mut istiod = FakeIstiod::start().await;
    let seen = Seen::default();
    let tokens = Tokens::new();
    let _agent = Follower::start(istiod.shown_tokens(&tokens.files), seen.clone(), false);
    for _ in &tokens.files {
        let mut stream = istiod.accept().await;
        heard(&mut stream).await;
        stream.responses.send(Err(Status::unauthenticated("no such account"))).await.unwrap();
    }
    until(&seen, |standing| standing.names.failure.is_some()).await;
    let error = seen.standing().names.failure.unwrap().error;
    assert!(error.starts_with("istiod did not accept what it was shown ("), "{error}");
    assert!(error.contains(&*tokens.files[1].to_string_lossy()), "{error}");
    assert!(error.ends_with(": no such account"), "{error}");
}
