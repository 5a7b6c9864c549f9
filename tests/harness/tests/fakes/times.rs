//! Two months in a moment.

use std::time::{Duration, SystemTime};

use hawser_harness::ca::{Shape, TestCa, spiffe_id};
use hawser_harness::istiod::FakeIstiod;
use hawser_harness::mesh::Mesh;
use hawser_harness::time::Time;
use hawser_harness::token::TokenSigner;
use tonic::Code;

use crate::client::{dial, token};
use crate::sign::{csr, sign};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn certificates_and_tokens_are_weighed_by_the_time_of_the_ca() {
    let time = Time::standing(SystemTime::now() + 365 * DAY);
    let ca = TestCa::at(Shape::SelfSigned, &time).unwrap();
    let istiod = FakeIstiod::start(&ca, &TokenSigner::at(&time).unwrap()).await.unwrap();
    let own = ca.workload(&spiffe_id("vms", "web"), DAY).unwrap();
    let token = token(&istiod, "vms", "web");
    let bare = async || {
        let channel = dial(&istiod, None).await.unwrap();
        sign(channel, Some(&token), csr("spiffe://x"), 0).await
    };
    let shown = async || {
        let channel = dial(&istiod, Some(&own)).await.ok()?;
        sign(channel, None, csr("spiffe://x"), 0).await.ok()
    };
    bare().await.unwrap();
    shown().await.unwrap();

    time.advance(DAY / 2);
    assert_eq!(bare().await.unwrap_err().code(), Code::Unauthenticated, "the token had an hour");
    shown().await.unwrap();

    time.advance(DAY / 2 + Duration::from_secs(1));
    assert!(shown().await.is_none(), "the certificate had a day");

    time.set(SystemTime::now() + 364 * DAY);
    assert!(dial(&istiod, None).await.is_err() || shown().await.is_none(), "before its time");
}

#[tokio::test]
async fn two_months_of_renewals_need_no_new_root() {
    let time = Time::standing(SystemTime::now());
    let ca = TestCa::at(Shape::Intermediate, &time).unwrap();
    let istiod = FakeIstiod::start(&ca, &TokenSigner::at(&time).unwrap()).await.unwrap();
    for _ in 0..60 {
        let own = ca.workload(&spiffe_id("vms", "web"), DAY).unwrap();
        time.advance(DAY - Duration::from_secs(60));
        let channel = dial(&istiod, Some(&own)).await.unwrap();
        sign(channel, None, csr("spiffe://x"), 0).await.unwrap();
    }
    let seen = istiod.seen();
    assert_eq!(seen.issued().len(), 60);
    let (first, last) = (seen.csrs[0].at, seen.csrs[59].at);
    assert!(last.duration_since(first).unwrap() > 58 * DAY);
}

#[tokio::test]
async fn a_mesh_can_be_in_a_time_of_its_own() {
    let time = Time::standing(SystemTime::now() - 30 * DAY);
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::start_at(dir.path(), Shape::SelfSigned, &time).await.unwrap();
    let token = std::fs::read_to_string(mesh.bundle_dir.join("istio-token")).unwrap();
    mesh.istiod.tokens().verify(&token, time.now()).unwrap();
    assert!(mesh.istiod.tokens().verify(&token, SystemTime::now()).is_err());
}
