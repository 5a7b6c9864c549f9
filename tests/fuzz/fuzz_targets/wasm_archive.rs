//! A downloaded module in boxes of any content: what comes out is a module, of the size it may
//! have, or nothing is said to have come out.

#![no_main]

use hawser_wasm::unbox::{Boxed, unbox};
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 4096;

fuzz_target!(|bytes: &[u8]| {
    for boxed in [Boxed::Anyhow, Boxed::Layer, Boxed::Not] {
        let mut module = Vec::new();
        let Ok(length) = unbox(&mut &*bytes, boxed, LIMIT, &mut module) else { continue };
        assert_eq!(length, module.len() as u64);
        assert!(length <= LIMIT);
        assert!(module.starts_with(b"\0asm"));
        if boxed == Boxed::Not || bytes.starts_with(b"\0asm") {
            assert_eq!(module, bytes);
        }
    }
});
