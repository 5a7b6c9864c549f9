//! A token of any content.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _facts = hawser_identity::token::inspect(text, SystemTime::UNIX_EPOCH);
    }
});
