//! A resolv.conf with any content.

#![no_main]

use hawser_dns::resolv;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = resolv::parse(bytes, |name| (name == "eth0").then_some(1));
    assert!(found.servers.iter().all(|server| server.port() != 0));
    assert!(found.search.iter().all(|domain| !domain.is_empty()));
});
