//! What Envoy and others ask, on a real socket, in both flavours.

pub(crate) mod client;
mod files;
mod revocations;

use std::sync::Arc;

use hawser_pki::KeyForm;
use hawser_proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tonic::Code;

use self::client::{
    Agent, Mesh, chain, delta, key, names, node, roots, sotw, unpack, unpack_delta,
};
use crate::{
    Options,
    secret::{Parts, Secrets},
};

#[tokio::test]
async fn default_is_key_and_chain_and_rootca_the_roots() {
    let mesh = Mesh::new();
    let agent = Agent::start();
    let identity = agent.publish(mesh.identity());
    let mut stream = agent.sotw().await;

    stream.send(sotw("default ROOTCA", "")).await;
    let response = stream.receive().await;

    assert!(response.type_url.ends_with("tls.v3.Secret"));
    assert!(!response.version_info.is_empty() && !response.nonce.is_empty());
    let secrets = unpack(&response);
    assert_eq!(names(&secrets), ["ROOTCA", "default"]);
    assert_eq!(chain(&secrets[1]), identity.chain.pem().as_bytes());
    assert_eq!(key(&secrets[1]), identity.key.encoded(KeyForm::Traditional).as_bytes());
    assert!(key(&secrets[1]).starts_with(b"-----BEGIN EC PRIVATE KEY-----"));
    assert_eq!(roots(&secrets[0]), identity.roots.pem().as_bytes());
}

#[tokio::test]
async fn the_key_is_written_in_the_form_that_is_wanted() {
    let agent = Agent::with(Options { form: KeyForm::Pkcs8, ..Options::default() });
    let identity = agent.publish(Mesh::new().identity());
    let mut stream = agent.sotw().await;
    stream.send(sotw("default", "")).await;
    let secrets = unpack(&stream.receive().await);
    assert_eq!(key(&secrets[0]), identity.key.pem().as_bytes());
    assert!(key(&secrets[0]).starts_with(b"-----BEGIN PRIVATE KEY-----"));
}

#[tokio::test]
async fn roots_are_served_before_there_is_an_identity_and_change_without_one() {
    let (one, two) = (Mesh::named("one"), Mesh::named("two"));
    let agent = Agent::start();
    let (mut stream, mut default) = (agent.sotw().await, agent.sotw().await);
    stream.send(sotw("ROOTCA", "")).await;
    default.send(sotw("default", "")).await;
    agent.trust(one.roots());
    assert_eq!(roots(&unpack(&stream.receive().await)[0]), one.root_pem().as_bytes());

    let both = one.roots().merge(&two.roots()).unwrap();
    agent.trust(both.clone());
    assert_eq!(roots(&unpack(&stream.receive().await)[0]), both.pem().as_bytes());

    // The same again is no news, and neither are the roots that an identity came with.
    agent.trust(both);
    let identity = agent.publish_alone(two.identity());
    assert_eq!(chain(&unpack(&default.receive().await)[0]), identity.chain.pem().as_bytes());
    stream.send(sotw("ROOTCA default", "")).await;
    assert_eq!(names(&unpack(&stream.receive().await)), ["ROOTCA", "default"]);
    assert_eq!(agent.counts.answers(), 4);
}

#[tokio::test]
async fn one_stream_per_secret_as_envoy_does_it() {
    let mesh = Mesh::new();
    let agent = Agent::start();
    let first = agent.publish(mesh.identity());
    let (mut default, mut rootca) = (agent.sotw().await, agent.sotw().await);
    default.send(sotw("default", "")).await;
    rootca.send(sotw("ROOTCA", "")).await;
    let nonce = default.receive().await.nonce;
    assert_ne!(nonce, rootca.receive().await.nonce, "nonces are unique");
    default.send(sotw("default", &nonce)).await;
    agent.until(|counts| counts.accepted() == 1).await;

    let second = agent.publish(mesh.identity());
    let pushed = default.receive().await;
    assert_eq!(chain(&unpack(&pushed)[0]), second.chain.pem().as_bytes());
    assert_ne!(first.chain.pem(), second.chain.pem());

    let other = Mesh::new();
    agent.publish(other.identity());
    default.receive().await;
    let pushed = rootca.receive().await;
    assert_eq!(
        roots(&unpack(&pushed)[0]),
        other.root_pem().as_bytes(),
        "roots are pushed when they change, and were not when they did not"
    );
}

#[tokio::test]
async fn a_stream_that_asks_first_waits_for_the_identity() {
    let mesh = Mesh::new();
    let agent = Agent::start();
    let (mut whole, mut changes) = (agent.sotw().await, agent.delta().await);
    whole.send(sotw("default", "")).await;
    changes.send(delta("ROOTCA", "")).await;
    agent.until(|counts| counts.streams() == 2).await;

    agent.publish(mesh.identity());

    assert_eq!(names(&unpack(&whole.receive().await)), ["default"]);
    assert_eq!(names(&unpack_delta(&changes.receive().await)), ["ROOTCA"]);
}

#[tokio::test]
async fn added_names_only_are_answered_and_stale_requests_are_passed_over() {
    let mesh = Mesh::new();
    let agent = Agent::start();
    agent.publish(mesh.identity());
    let mut stream = agent.sotw().await;
    stream.send(sotw("default", "")).await;
    let first = stream.receive().await;

    stream.send(sotw("default ROOTCA", &first.nonce)).await;
    let second = stream.receive().await;
    assert_eq!(names(&unpack(&second)), ["ROOTCA"]);

    stream.send(sotw("default", &first.nonce)).await;
    stream.send(sotw("", &second.nonce)).await;
    stream.send(sotw("default", &second.nonce)).await;
    let third = stream.receive().await;
    assert_eq!(names(&unpack(&third)), ["default"], "after all were given up, it begins anew");
    assert_eq!(agent.counts.stale(), 1);
}

#[tokio::test]
async fn a_rejection_is_counted_and_not_answered_in_either_flavour() {
    let mesh = Mesh::new();
    let agent = Agent::start();
    agent.publish(mesh.identity());
    let (mut whole, mut changes) = (agent.sotw().await, agent.delta().await);
    whole.send(sotw("default", "")).await;
    let nonce = whole.receive().await.nonce;
    whole.send(DiscoveryRequest { error_detail: refusal(), ..sotw("default", &nonce) }).await;
    changes.send(delta("default", "")).await;
    let nonce = changes.receive().await.nonce;
    changes.send(DeltaDiscoveryRequest { error_detail: refusal(), ..delta("", &nonce) }).await;
    agent.until(|counts| counts.rejected() == 2).await;

    let next = agent.publish(mesh.identity());

    let pushed = unpack(&whole.receive().await);
    assert_eq!(chain(&pushed[0]), next.chain.pem().as_bytes());
    let pushed = unpack_delta(&changes.receive().await);
    assert_eq!(chain(&pushed[0]), next.chain.pem().as_bytes());
    assert_eq!(agent.counts.answers(), 4);
}

fn refusal() -> Option<hawser_proto::envoy::google::rpc::Status> {
    let message = "no\nsuch key".to_owned();
    Some(hawser_proto::envoy::google::rpc::Status { code: 13, message, details: Vec::new() })
}

#[tokio::test]
async fn a_client_that_comes_back_is_served_and_one_with_delta_not_sent_what_it_has() {
    let mesh = Mesh::new();
    let agent = Agent::start();
    agent.publish(mesh.identity());
    let mut stream = agent.delta().await;
    stream.send(delta("default", "")).await;
    let held = stream.receive().await.resources.remove(0);
    drop(stream);

    let mut whole = agent.sotw().await;
    whole.send(sotw("default", "1-1")).await;
    assert_eq!(whole.receive().await.version_info, held.version, "versions are of the content");

    let mut stream = agent.delta().await;
    let known = [(held.name, held.version)].into_iter().collect();
    stream
        .send(DeltaDiscoveryRequest { initial_resource_versions: known, ..delta("default", "") })
        .await;
    stream.send(delta("ROOTCA", "")).await;
    assert_eq!(names(&unpack_delta(&stream.receive().await)), ["ROOTCA"]);
}

/// Names that are nobody's, or nearly somebody's.
const FOREIGN: [&str; 8] = [
    "kubernetes://web",
    "file-cert:/a",
    "file-cert:a~b",
    "file-root:relative",
    "file-root:/a~/b",
    "",
    "DEFAULT",
    "default ",
];

#[tokio::test]
async fn a_name_that_is_not_ours_never_yields_the_key() {
    let mesh = Mesh::new();
    let agent = Agent::start();
    agent.publish(mesh.identity());
    let mut changes = agent.delta().await;
    for name in FOREIGN {
        let mut request = delta("", "");
        request.resource_names_subscribe.push(name.to_owned());
        changes.send(request).await;
        let response = changes.receive().await;
        assert_eq!(response.removed_resources, [name]);
        assert!(response.resources.is_empty());
    }
    for name in FOREIGN {
        let mut whole = agent.sotw().await;
        let mut request = sotw("default", "");
        request.resource_names.push(name.to_owned());
        whole.send(request).await;
        assert_eq!(names(&unpack(&whole.receive().await)), ["default"]);
    }
    assert_eq!(agent.counts.unknown(), 16);
}

#[tokio::test]
async fn a_stream_that_wants_only_names_that_are_not_ours_ends_and_says_which() {
    let agent = Agent::start();
    agent.publish(Mesh::new().identity());
    for name in FOREIGN {
        let mut whole = agent.sotw().await;
        let mut request = sotw("", "");
        request.resource_names.push(name.to_owned());
        whole.send(request).await;
        let refusal = whole.end().await.unwrap();
        assert_eq!(refusal.code(), Code::NotFound);
        assert!(refusal.message().contains(&format!("{name:?}")), "{refusal:?}");
    }
    let mut whole = agent.sotw().await;
    whole.send(sotw("default kubernetes://web", "")).await;
    let nonce = whole.receive().await.nonce;
    whole.send(sotw("kubernetes://web", &nonce)).await;
    assert_eq!(whole.end().await.unwrap().code(), Code::NotFound);
}

#[tokio::test]
async fn a_stream_must_introduce_itself_with_its_first_message_only() {
    let mesh = Mesh::new();
    let agent = Agent::start();
    agent.publish(mesh.identity());
    for anonymous in [None, node("")] {
        let mut stream = agent.sotw().await;
        stream.send(DiscoveryRequest { node: anonymous, ..sotw("default", "") }).await;
        let refusal = stream.end().await.unwrap();
        assert_eq!(refusal.code(), Code::InvalidArgument);
        assert_eq!(refusal.message(), "missing node information");
    }
    let mut stream = agent.sotw().await;
    stream.send(sotw("default", "")).await;
    let nonce = stream.receive().await.nonce;
    stream.send(DiscoveryRequest { node: None, ..sotw("default ROOTCA", &nonce) }).await;
    assert_eq!(names(&unpack(&stream.receive().await)), ["ROOTCA"]);
}

#[tokio::test]
async fn too_many_names_end_the_stream_and_fetching_is_refused() {
    let agent = Agent::start();
    let mut stream = agent.delta().await;
    let many = (0..200).map(|index| index.to_string()).collect();
    let request = DeltaDiscoveryRequest { resource_names_subscribe: many, ..delta("", "") };
    stream.send(request).await;
    assert_eq!(stream.end().await.unwrap().code(), Code::ResourceExhausted);

    let refusal = agent.fetch().await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unimplemented);
    assert!(refusal.message().contains("StreamSecrets"));
}

#[tokio::test]
async fn a_stop_ends_all_streams_gracefully_while_envoy_stays() {
    let agent = Agent::start();
    let (mut whole, mut changes) = (agent.sotw().await, agent.delta().await);
    whole.send(sotw("default", "")).await;
    changes.send(delta("default", "")).await;
    agent.until(|counts| counts.streams() == 2).await;

    let served = agent.stop();

    assert!(whole.end().await.is_none() && changes.end().await.is_none());
    // Envoy stays, and does not hold the agent.
    served.await;
}

#[test]
fn versions_are_of_the_content_and_reveal_none_of_it() {
    let mesh = Mesh::new();
    let secrets = |identity: &Arc<hawser_pki::Identity>| {
        let trusted = Some(Arc::new(identity.roots.clone()));
        Secrets::new(Parts { identity: Some(identity.clone()), trusted, ..Parts::default() })
    };
    let (identity, next) = (Arc::new(mesh.identity()), Arc::new(mesh.identity()));
    let (one, two, other) = (secrets(&identity), secrets(&identity), secrets(&next));
    for names in [&["default"][..], &["ROOTCA"], &["ROOTCA", "default"]] {
        let version = one.version_of(names.iter().copied());
        assert_eq!(version.len(), 16);
        assert_eq!(version, two.version_of(names.iter().copied()));
        let same_roots = names == ["ROOTCA"];
        assert_eq!(version == other.version_of(names.iter().copied()), same_roots);
    }
}
