//! What registries answer, what images are called and what pull secrets hold, of any content; and
//! filters, of which a structure is the deepest.

#![no_main]

use std::sync::LazyLock;

use hawser_wasm::{
    Modules, Options,
    oci::{
        challenge::Challenge,
        login::of_secret,
        manifest::{Document, Layer},
        reference::Reference,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    static MODULES: LazyLock<Modules> =
        LazyLock::new(|| Modules::new(Options::new(std::env::temp_dir().join("hawser-fuzz-wasm"))));
    MODULES.in_use(bytes);
    for kind in ["", "application/vnd.oci.image.index.v1+json"] {
        match Document::read(bytes, kind) {
            Ok(Document::Image(Layer { digest, .. }) | Document::Index(digest)) => {
                assert!(is_digest(&digest), "{digest}");
            }
            Err(_) => {}
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _login = of_secret(text, "r.example");
    if let Some(Challenge::Bearer { realm, .. }) = Challenge::read(text) {
        assert!(realm.len() <= text.len());
    }
    if let Ok(reference) = Reference::parse(text) {
        let name = reference.to_string();
        assert!(!name.contains(['?', '#', '%', ' ', '\\']) && !name.contains(".."), "{name}");
        let again = Reference::parse(name.strip_prefix("oci://").expect("its scheme"));
        assert_eq!(again.expect("its own name").to_string(), name);
    }
});

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|sum| sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
