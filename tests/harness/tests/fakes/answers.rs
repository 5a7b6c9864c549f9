//! A CA that signs and answers wrongly, and ways to be told apart that a client cannot count on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hawser_harness::ca::spiffe_id;
use hawser_harness::istiod::{ConnectionState, FakeIstiod, Seen, Serving, Wrong};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout;
use tonic::{Code, Status};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::client::{Sotw, dial, first, istiod, token};
use crate::sign::{csr, sign};

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(200);

fn wrong(istiod: &FakeIstiod, wrong: Wrong) {
    istiod.faults(|faults| faults.ca = Some(wrong));
}

async fn ask(istiod: &FakeIstiod) -> Result<Vec<String>, Status> {
    let channel = dial(istiod, None).await.unwrap();
    let token = token(istiod, "vms", "web");
    sign(channel, Some(&token), csr(&spiffe_id("vms", "web")), 3600).await
}

/// Names, beginning and end of a leaf.
fn leaf(chain: &[String]) -> (String, SystemTime, SystemTime) {
    let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    let at = |time: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(time).unwrap());
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let names = names.value.general_names.iter().map(ToString::to_string).collect();
    let validity = leaf.validity();
    (names, at(validity.not_before.timestamp()), at(validity.not_after.timestamp()))
}

/// The public key of a leaf.
fn key(chain: &[String]) -> Vec<u8> {
    let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
    X509Certificate::from_der(&der).unwrap().1.public_key().raw.to_vec()
}

/// Whether a leaf chains to the roots of its answer, by their signature.
fn chains(chain: &[String]) -> bool {
    let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(chain.last().unwrap().as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let builder = rustls::server::WebPkiClientVerifier::builder_with_provider(
        roots.into(),
        rustls::crypto::aws_lc_rs::default_provider().into(),
    );
    let now = rustls_pki_types::UnixTime::now();
    builder.build().unwrap().verify_client_cert(&der, &[], now).is_ok()
}

#[tokio::test]
async fn a_good_answer_is_good() {
    let istiod = istiod().await;
    let chain = ask(&istiod).await.unwrap();
    let asked = istiod.seen().csrs.remove(0);
    assert_eq!(key(&chain), asked.request.unwrap().public_key);
    assert!(chains(&chain));
}

#[tokio::test]
async fn a_silent_ca_says_nothing_and_its_connection_lives() {
    let istiod = istiod().await;
    wrong(&istiod, Wrong::Silence);
    assert!(timeout(MOMENT, ask(&istiod)).await.is_err());
    let seen = istiod.seen();
    assert_eq!(seen.csrs.last().unwrap().wrong, Some(Wrong::Silence));
    assert!(seen.issued().is_empty());
}

#[tokio::test]
async fn a_connection_is_cut_in_the_middle_and_no_other_one_is() {
    let istiod = istiod().await;
    let channel = dial(&istiod, None).await.unwrap();
    let token = token(&istiod, "vms", "web");
    let mut other =
        Sotw::open(channel, &token, first(hawser_proto::type_url::CLUSTER)).await.unwrap();
    other.next().await.unwrap();
    wrong(&istiod, Wrong::Cut);

    let status = ask(&istiod).await.unwrap_err();

    assert_ne!(status.code(), Code::Ok);
    let closed = |seen: &Seen| seen.connections[1].state == ConnectionState::Closed;
    istiod.until("the end of the connection", closed).await.unwrap();
    assert_eq!(istiod.seen().connected(), 1);
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_errors_of_the_call() {
    let istiod = istiod().await;
    for one in [Wrong::Undecodable, Wrong::Truncated] {
        wrong(&istiod, one.clone());
        let status = ask(&istiod).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{one:?} {status:?}");
        assert_eq!(istiod.seen().csrs.last().unwrap().wrong, Some(one));
    }
    // Who may not have one is told so.
    let channel = dial(&istiod, None).await.unwrap();
    let status = sign(channel, None, csr("spiffe://x"), 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn chains_are_empty_short_or_no_certificates() {
    let istiod = istiod().await;
    wrong(&istiod, Wrong::Empty);
    assert!(ask(&istiod).await.unwrap().is_empty());
    wrong(&istiod, Wrong::Short);
    let chain = ask(&istiod).await.unwrap();
    assert_eq!(chain.len(), 1);
    assert!(leaf(&chain).0.contains("sa/web"));
    wrong(&istiod, Wrong::NotPem);
    let chain = ask(&istiod).await.unwrap();
    assert!(!chain.is_empty() && chain.iter().all(|one| !one.contains("BEGIN")), "{chain:?}");
}

#[tokio::test]
async fn leaves_are_for_another_identity_key_time_or_root() {
    let istiod = istiod().await;
    let other = spiffe_id("vms", "other");
    wrong(&istiod, Wrong::Identity(other.clone()));
    let chain = ask(&istiod).await.unwrap();
    assert!(leaf(&chain).0.contains(&other) && chains(&chain));

    wrong(&istiod, Wrong::Key);
    let chain = ask(&istiod).await.unwrap();
    let asked = istiod.seen().csrs.pop().unwrap().request.unwrap();
    assert_ne!(key(&chain), asked.public_key);
    assert!(chains(&chain));

    let now = SystemTime::now();
    wrong(&istiod, Wrong::NotYetValid(HOUR));
    let (_, from, until) = leaf(&ask(&istiod).await.unwrap());
    assert!(from > now + HOUR - 2 * MOMENT * 5 && until > now + HOUR + HOUR / 2);

    wrong(&istiod, Wrong::Expired(HOUR));
    let (_, from, until) = leaf(&ask(&istiod).await.unwrap());
    assert!(from < until && until < now);

    wrong(&istiod, Wrong::Root);
    let chain = ask(&istiod).await.unwrap();
    assert_eq!(*chain.last().unwrap(), istiod.ca().root_pem());
    assert!(!chains(&chain));
}

#[tokio::test]
async fn a_cap_shortens_what_was_asked_for() {
    let istiod = istiod().await;
    istiod.faults(|faults| faults.ttl_cap = Some(Duration::from_secs(600)));
    let (_, from, until) = leaf(&ask(&istiod).await.unwrap());
    assert_eq!(until.duration_since(from).unwrap(), Duration::from_secs(720));
}

#[tokio::test]
async fn a_ca_that_ignores_certificates_takes_them_and_wants_a_token_all_the_same() {
    let istiod = istiod().await;
    istiod.faults(|faults| faults.ignores_certificates = true);
    let identity = spiffe_id("vms", "web");
    let own = istiod.ca().workload(&identity, HOUR).unwrap();
    for token in [None, Some("rubbish")] {
        let channel = dial(&istiod, Some(&own)).await.unwrap();
        let status = sign(channel, token, csr("spiffe://x"), 0).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(status.message(), "request authenticate failure");
    }
    let channel = dial(&istiod, Some(&own)).await.unwrap();
    let token = token(&istiod, "vms", "other");
    sign(channel.clone(), Some(&token), csr("spiffe://x"), 0).await.unwrap();
    let seen = istiod.seen();
    assert!(seen.csrs.iter().all(|csr| csr.shown.certificate));
    assert_eq!(seen.csrs.last().unwrap().identities, [spiffe_id("vms", "other")]);

    // Discovery is istiod's own, and heeds them.
    let mut stream =
        Sotw::open(channel, "rubbish", first(hawser_proto::type_url::CLUSTER)).await.unwrap();
    stream.next().await.unwrap();
    assert_eq!(istiod.seen().streams[0].identities, [identity]);
}

#[tokio::test]
async fn a_certificate_that_tls_rejects_is_no_good_with_a_token_either() {
    let istiod = istiod().await;
    istiod.faults(|faults| faults.rejects_certificates = true);
    let own = istiod.ca().workload(&spiffe_id("vms", "web"), HOUR).unwrap();
    let token = token(&istiod, "vms", "web");
    let refused = match dial(&istiod, Some(&own)).await {
        Err(_) => true,
        Ok(channel) => sign(channel, Some(&token), csr("spiffe://x"), 0).await.is_err(),
    };
    assert!(refused);
    let refused = |seen: &Seen| matches!(seen.connections[0].state, ConnectionState::Refused(_));
    istiod.until("a refused handshake", refused).await.unwrap();
    assert!(istiod.seen().csrs.is_empty());

    let channel = dial(&istiod, None).await.unwrap();
    sign(channel, Some(&token), csr("spiffe://x"), 0).await.unwrap();
}

#[tokio::test]
async fn what_it_serves_with_can_be_expired_or_for_others() {
    let istiod = istiod().await;
    for (serving, good) in [
        (Serving::Expired(HOUR), false),
        (Serving::Names(vec!["elsewhere.example".to_owned(), "127.0.0.1".to_owned()]), false),
        (Serving::Good, true),
    ] {
        istiod.faults(|faults| faults.serving = serving.clone());
        assert_eq!(dial(&istiod, None).await.is_ok(), good, "{serving:?}");
    }
}
