//! A state file of any content.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _body = hawser_state::decode(bytes, 1);
});
