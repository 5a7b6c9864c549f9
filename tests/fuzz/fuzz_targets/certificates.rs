//! Keys, chains, bundles and SPIFFE ids of any content: as text, and as what PEM wraps.

#![no_main]

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hawser_pki::{Bundle, Chain, Identity, PrivateKey, SpiffeId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        all(text);
        if let Ok(id) = SpiffeId::parse(text) {
            assert_eq!(id.to_string(), text);
        }
    }
    // Mutations of base64 hardly ever reach the decoder behind it.
    for label in ["CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        let base64 = BASE64_STANDARD.encode(bytes);
        all(&format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n"));
    }
});

/// What is good once is good again in the form that it was brought into.
fn all(text: &str) {
    let chain = Chain::from_pem(text);
    if let Ok(chain) = &chain {
        let again = Chain::from_pem(chain.pem()).expect("a chain");
        assert_eq!(again.ders(), chain.ders());
        assert!(!chain.valid_at(chain.not_after() + std::time::Duration::from_secs(1)));
        let _id = chain.spiffe_id();
    }
    let bundle = Bundle::from_pem(text);
    if let Ok(bundle) = &bundle {
        let again = Bundle::from_pem(bundle.pem()).expect("a bundle");
        assert_eq!(again.ders(), bundle.ders());
        assert_eq!(again.skipped(), 0);
    }
    let key = PrivateKey::from_pem(text);
    if let Ok(key) = &key {
        let again = PrivateKey::from_pem(key.pem()).expect("a key");
        assert_eq!(again.pem(), key.pem());
    }
    if let (Ok(key), Ok(chain), Ok(bundle)) = (key, chain, bundle) {
        let _identity = Identity::new(key, chain, bundle);
    }
}
