//! A resolv.conf with any content.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _conf = hawser_dns::resolv::parse(bytes, |_| Some(1));
});
