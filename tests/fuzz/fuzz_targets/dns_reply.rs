//! A reply from anybody to a question that was asked.

#![no_main]

use hawser_dns::{answer::{Action, Transport, answer}, reply};
use libfuzzer_sys::fuzz_target;

const QUERY: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";

fuzz_target!(|bytes: &[u8]| {
    let mut dice = fastrand::Rng::with_seed(1);
    let Action::Relay(errand) = answer(QUERY, None, Transport::Udp, &mut dice, &mut Vec::new()) else {
        panic!("an unknown name is relayed");
    };
    let question = &QUERY[12..errand.question_end];
    if reply::check(bytes, 0x1234, question).is_some() {
        let mut passed = bytes.to_vec();
        reply::pass_on(&mut passed, QUERY, &errand);
        assert!(passed.len() <= errand.limit.max(12));
    }
});
