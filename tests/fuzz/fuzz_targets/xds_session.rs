//! Envoy's stream with any bytes on both sides: what Envoy says of one source's responses is never
//! told to another.

#![no_main]

use hawser_fuzz::pieces;
use hawser_wire::Flavour;
use hawser_xds::trial::session;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        assert!(session(flavour, pieces(bytes)));
    }
});
