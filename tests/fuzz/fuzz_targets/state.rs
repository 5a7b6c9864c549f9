//! A state file of any content.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match hawser_state::decode(bytes, VERSION) {
        Ok(body) => assert!(bytes.ends_with(body)),
        Err(damage) => assert!(!damage.to_string().is_empty()),
    }
});

const VERSION: u16 = 1;
