//! Keys, chains, bundles and SPIFFE ids of any content: as text, and as what PEM wraps.

#![no_main]

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hawser_pki::{Bundle, Chain, Identity, PrivateKey, SpiffeId};
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

    let key = PrivateKey::from_pem(&pem("PRIVATE KEY", KEY)).expect("a key");
    let roots = Bundle::from_pem(text).or_else(|_| Bundle::from_pem(&pem("CERTIFICATE", ROOT)));
    if let Ok(identity) = Identity::new(key, chain, roots.expect("roots")) {
        assert_eq!(identity.chain.spiffe_id().ok().as_ref(), Some(identity.spiffe_id()));
    }
}

fn bundle(text: &str) {
    let Ok(bundle) = Bundle::from_pem(text) else { return };
    let again = Bundle::from_pem(bundle.pem()).expect("a bundle");
    assert_eq!(again.ders(), bundle.ders());
    assert_eq!(again.skipped(), 0);
}

fn key(text: &str) {
    let Ok(key) = PrivateKey::from_pem(text) else { return };
    let again = PrivateKey::from_pem(key.pem()).expect("a key");
    assert_eq!(again.pem(), key.pem());
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}

/// The key of the leaf among the seeds; it opens nothing.
const KEY: &[u8] = include_bytes!("../seeds/certificates/key.der");
const ROOT: &[u8] = include_bytes!("../seeds/certificates/root.der");
