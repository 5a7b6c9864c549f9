//! A token of any content: as text, and as claims of a token that is whole otherwise.

#![no_main]

use std::time::SystemTime;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use hawser_istiod::token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        inspect(text);
    }
    inspect(&format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(bytes)));
});

fn inspect(token: &str) {
    match token::inspect(token, SystemTime::UNIX_EPOCH) {
        Ok(facts) => assert!(!facts.audiences.is_empty()),
        Err(problem) => assert!(!problem.to_string().is_empty()),
    }
}
