//! Envoy's stream with any bytes on both sides: what Envoy says of one source's responses is never
//! told to another, and what is made here is not told to the mesh.

#![no_main]

use hawser_fuzz::pieces;
use hawser_wire::Flavour;
use hawser_xds::trial::{beside, session};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        assert!(session(flavour, pieces(bytes)));
    }
    assert!(beside(pieces(bytes)));
});
