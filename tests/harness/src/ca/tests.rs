//! Dates, clipping and rotations.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

/// From when until when the first certificate of a PEM text is valid, in seconds.
fn life(pem: &str) -> (i64, i64) {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let validity = certificate.validity();
    (validity.not_before.timestamp(), validity.not_after.timestamp())
}

fn issuer(pem: &str) -> String {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    X509Certificate::from_der(&der).unwrap().1.issuer().to_string()
}

const WEB: &str = "spiffe://cluster.local/ns/vms/sa/web";
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_duration_reads_as_in_go() {
    assert_eq!(go_duration(Duration::from_secs(5)), "5s");
    assert_eq!(go_duration(Duration::from_secs(65)), "1m5s");
    assert_eq!(go_duration(MAX_TTL), "2160h0m0s");
}

#[test]
fn a_kept_root_stays_trusted_and_a_dropped_one_does_not() {
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let first = ca.root_pem();

    ca.rotate(OldRoot::Kept).unwrap();
    assert!(ca.root_pem().ends_with(&first));
    assert_eq!(ca.roots().unwrap().len(), 2);

    ca.rotate(OldRoot::Dropped).unwrap();
    assert!(!ca.root_pem().contains(&first));
    assert_eq!(ca.roots().unwrap().len(), 1);
}

#[test]
fn everything_is_dated_by_its_own_time_and_clipped_to_its_root() {
    let start = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let time = Time::standing(start);
    let ca = TestCa::with_root_ttl(Shape::Intermediate, &time, 48 * HOUR).unwrap();
    assert_eq!(life(&ca.root_pem()), (2_000_000_000 - 120, 2_000_000_000 + 172_800));

    time.advance(47 * HOUR);
    let now = 2_000_000_000 + 47 * 3600;
    let pair = ca.workload(WEB, HOUR / 2).unwrap();
    assert_eq!(life(&pair.chain), (now - 120, now + 1800));
    let clipped = ca.workload(WEB, 24 * HOUR).unwrap();
    assert_eq!(life(&clipped.chain).1, 2_000_000_000 + 172_800);
    let serving = ca.serving(&["a.example", "127.0.0.1"]).unwrap();
    assert_eq!(life(&serving.chain).0, now - 120);
    assert!(start > SystemTime::now(), "a test of a time to come");
}

#[test]
fn a_rotation_goes_step_by_step() {
    for shape in [Shape::SelfSigned, Shape::Intermediate] {
        let ca = TestCa::new(shape).unwrap();
        let old = ca.root_pem();
        let signed = || issuer(&ca.workload(WEB, HOUR).unwrap().chain);
        let served = || issuer(&ca.serving(&["a.example"]).unwrap().chain);
        let first = signed();
        assert_eq!(served(), first);

        let new = ca.prepare().unwrap();
        assert_eq!((ca.root_pem(), signed()), (old.clone(), first.clone()));
        ca.announce();
        ca.announce();
        assert_eq!((ca.root_pem(), signed()), (new.clone() + &old, first.clone()));
        ca.sign_with(Root::Newest);
        let second = signed();
        assert_ne!(second, first);
        assert_eq!(served(), first);
        ca.serve_with(Root::Newest);
        assert_eq!(served(), second);
        ca.forget_old();
        assert_eq!(ca.root_pem(), new);
        ca.serve_with(Root::Previous);
        assert_eq!((served(), signed()), (first, second));
    }
}
