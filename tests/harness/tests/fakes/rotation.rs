//! A root that is replaced, in either order, step by step.

use std::time::Duration;

use hawser_harness::ca::{Certified, OldRoot, Root, spiffe_id};
use hawser_harness::istiod::{FakeIstiod, Verdict};
use hawser_proto::type_url::PROXY_CONFIG;
use prost::Message;

use crate::client::{Delta, Sotw, dial, first, first_delta, istiod, token};
use crate::sign::{csr, sign};

const HOUR: Duration = Duration::from_secs(3600);

/// The roots of an answer to somebody who shows `own`; `None` if he does not get so far.
async fn asked(istiod: &FakeIstiod, own: &Certified) -> Option<String> {
    let channel = dial(istiod, Some(own)).await.ok()?;
    sign(channel, None, csr("spiffe://x"), 0).await.ok()?.pop()
}

#[tokio::test]
async fn roots_first_then_the_signer_locks_nobody_out() {
    let istiod = istiod().await;
    let ca = istiod.ca();
    let web = spiffe_id("vms", "web");
    let old_root = ca.root_pem();
    let old = ca.workload(&web, HOUR).unwrap();

    let new_root = ca.prepare().unwrap();
    assert_eq!(asked(&istiod, &old).await.unwrap(), old_root);
    ca.announce();
    assert_eq!(asked(&istiod, &old).await.unwrap(), new_root.clone() + &old_root);
    ca.sign_with(Root::Newest);
    let new = ca.workload(&web, HOUR).unwrap();
    for own in [&old, &new] {
        assert!(asked(&istiod, own).await.is_some());
    }
    ca.serve_with(Root::Newest);
    assert!(asked(&istiod, &old).await.is_some());
    ca.forget_old();
    assert!(asked(&istiod, &old).await.is_none());
    assert_eq!(asked(&istiod, &new).await.unwrap(), new_root);
}

#[tokio::test]
async fn signer_first_locks_out_who_knows_the_old_root_alone() {
    let istiod = istiod().await;
    let ca = istiod.ca();
    let old = ca.workload(&spiffe_id("vms", "web"), HOUR).unwrap();
    let knows_the_old_alone = ca.roots().unwrap();

    ca.rotate(OldRoot::Dropped).unwrap();

    assert!(asked(&istiod, &old).await.is_none());
    let serving = ca.serving(&["istiod.example"]).unwrap();
    assert!(!leads_to(&serving, knows_the_old_alone));
    assert!(leads_to(&serving, ca.roots().unwrap()));
}

fn leads_to(own: &Certified, roots: rustls::RootCertStore) -> bool {
    use rustls::client::WebPkiServerVerifier;
    use rustls_pki_types::pem::PemObject;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.into());
    let leaf = rustls_pki_types::CertificateDer::from_pem_slice(own.chain.as_bytes()).unwrap();
    let (name, now) = ("istiod.example".try_into().unwrap(), rustls_pki_types::UnixTime::now());
    let verifier = builder.build().unwrap();
    rustls::client::danger::ServerCertVerifier::verify_server_cert(
        &*verifier,
        &leaf,
        &[],
        &name,
        &[],
        now,
    )
    .is_ok()
}

/// The field of a `ProxyConfig` that the roots are in.
#[derive(Clone, PartialEq, Message)]
struct Roots {
    #[prost(string, repeated, tag = "34")]
    pem: Vec<String>,
}

#[tokio::test]
async fn a_trust_bundle_comes_only_to_who_has_asked_and_when_there_is_one() {
    let istiod = istiod().await;
    let good = token(&istiod, "vms", "web");
    let channel = dial(&istiod, None).await.unwrap();
    // Another stream, to see that nothing comes to it: what it has asked for comes next.
    let mut other =
        Sotw::open(channel, &good, first(hawser_proto::type_url::CLUSTER)).await.unwrap();
    other.next().await.unwrap();
    let channel = dial(&istiod, None).await.unwrap();
    let opened = tokio::time::timeout(
        Duration::from_millis(200),
        Sotw::open(channel, &good, first(PROXY_CONFIG)),
    );
    assert!(opened.await.is_err(), "no answer while there is no bundle");

    istiod.world().change(|state| state.trust(&["one", "two"]));
    let channel = dial(&istiod, None).await.unwrap();
    let mut sotw = Sotw::open(channel, &good, first(PROXY_CONFIG)).await.unwrap();
    let channel = dial(&istiod, None).await.unwrap();
    let mut delta = Delta::open(channel, &good, first_delta(PROXY_CONFIG)).await.unwrap();
    let (whole, part) = (sotw.next().await.unwrap(), delta.next().await.unwrap());

    let roots = Roots::decode(whole.resources[0].value.as_slice()).unwrap();
    assert_eq!(roots.pem, ["one", "two"]);
    assert_eq!((whole.type_url.as_str(), whole.resources.len()), (PROXY_CONFIG, 1));
    assert_eq!(part.resources[0].name, "");
    let inner = part.resources[0].resource.as_ref().unwrap();
    assert_eq!(inner.value, whole.resources[0].value);
    sotw.answer(&whole, None).await;
    istiod.until("an ACK", |seen| seen.acks(PROXY_CONFIG) == 1).await.unwrap();

    istiod.world().change(|state| state.trust(&["three"]));
    let pushed = sotw.next().await.unwrap();
    assert_eq!(Roots::decode(pushed.resources[0].value.as_slice()).unwrap().pem, ["three"]);
    delta.next().await.unwrap();
    istiod.world().change(|state| state.no_trust());
    assert!(sotw.next().await.unwrap().resources.is_empty());
    let seen = istiod.seen();
    assert_eq!(seen.asked(PROXY_CONFIG, Verdict::Subscribed).len(), 3);
    let cluster_stream = seen.streams[0].id;
    assert!(seen.answered.iter().filter(|one| one.stream == cluster_stream).count() == 1);
}
