//! Keys, chains, bundles and SPIFFE ids of any content: as text, and as what PEM wraps.

#![no_main]

use std::time::{Duration, SystemTime};

use hawser_fuzz::{ROOT, assert_issued, pem};
use hawser_pki::{Bundle, Chain, Described, Identity, KeyForm, PrivateKey, SpiffeId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        chain(text);
        bundle(text);
        key(text);
        if let Ok(id) = SpiffeId::parse(text) {
            assert_eq!(id.to_string(), text);
        }
    }
    if let Ok(shown) = Described::of(bytes) {
        let all = [&shown.subject, &shown.issuer].into_iter().chain(&shown.names);
        assert!(all.flat_map(|text| text.chars()).all(|c| !c.is_control()));
    }
    // Mutations of base64 hardly ever reach the decoder behind it.
    let certificate = pem("CERTIFICATE", bytes);
    chain(&certificate);
    bundle(&certificate);
    for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        key(&pem(label, bytes));
    }
});

// What is good once is good again in the form that it was brought into.

fn chain(text: &str) {
    let Ok(chain) = Chain::from_pem(text) else { return };
    let again = Chain::from_pem(chain.pem()).expect("a chain");
    assert_eq!(again.ders(), chain.ders());
    if let Some(later) = chain.not_after().checked_add(Duration::from_secs(1)) {
        assert!(!chain.valid_at(later));
    }
    let _id = chain.spiffe_id();

    let root = pem("CERTIFICATE", ROOT);
    for roots in [&root, text] {
        let Ok(roots) = Bundle::from_pem(roots) else { continue };
        if let Ok(identity) = Identity::new(hawser_fuzz::key(), chain.clone(), roots) {
            assert_eq!(chain.spiffe_id().ok().as_ref(), identity.spiffe_id());
            assert_issued(&identity);
        }
    }
}

fn bundle(text: &str) {
    let Ok(bundle) = Bundle::from_pem(text) else { return };
    let again = Bundle::from_pem(bundle.pem()).expect("a bundle");
    assert_eq!(again.ders(), bundle.ders());
    assert_eq!(again.skipped(), 0);

    assert!(bundle.without(&again).is_none());
    let first = bundle.first_expiry().expect("an end");
    let before = bundle.unexpired_at(SystemTime::UNIX_EPOCH.min(first)).expect("all of them");
    assert_eq!(before, bundle);
    if let Some(later) = first.checked_add(Duration::from_secs(1)) {
        let left = bundle.unexpired_at(later).map_or(0, |left| left.len());
        assert!(left < bundle.len());
    }
}

fn key(text: &str) {
    let Ok(key) = PrivateKey::from_pem(text) else { return };
    let again = PrivateKey::from_pem(key.pem()).expect("a key");
    assert_eq!(again.pem(), key.pem());
    for form in [KeyForm::Traditional, KeyForm::Pkcs8] {
        let again = PrivateKey::from_pem(&key.encoded(form)).expect("a key");
        assert_eq!(again.kind(), key.kind());
        assert!(again.encoded(form) == key.encoded(form));
    }
}
