//! Keys, chains, bundles and SPIFFE ids of any content.

#![no_main]

use hawser_pki::{Bundle, Chain, PrivateKey, SpiffeId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(chain) = Chain::from_pem(text) {
        let _id = chain.spiffe_id();
    }
    let _bundle = Bundle::from_pem(text);
    let _key = PrivateKey::from_pem(text);
    if let Ok(id) = SpiffeId::parse(text) {
        assert_eq!(id.to_string(), text);
    }
});
