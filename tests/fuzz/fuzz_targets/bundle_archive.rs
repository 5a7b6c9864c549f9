//! The tar of a bundle, compressed or not, or in base64: from the web, from a hypervisor.

#![no_main]

use std::path::Path;

use hawser::{bundle::Bundle, config::paths};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Bundle::unpacked(Path::new("bundle"), bytes) {
        Ok(bundle) => {
            for (name, content) in bundle.files() {
                let mut known = paths::BUNDLE.iter().chain(&paths::PAIR);
                assert!(known.any(|(known, _)| *known == name), "{name}");
                assert!(content.len() <= 1 << 20, "{name}");
            }
            assert!(bundle.is(&bundle));
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            // It is shown on terminals.
            let told = problems.to_string();
            assert!(!told.chars().any(|c| c.is_control() && c != '\n'), "{told:?}");
        }
    }
});
