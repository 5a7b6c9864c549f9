//! A reply from anybody to a question that was asked: what is passed on is well formed and fits.

#![no_main]

use hawser_dns::{
    Search, Style,
    answer::{Action, Errand, Transport, View, answer},
    message::{HEADER, Record, flag, kind, number, rcode},
    reply,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut dice = fastrand::Rng::with_seed(1);
    let search = Search::default();
    let view = View { table: None, search: &search, style: Style::Plain, far: false };
    let Action::Relay(errand) = answer(QUERY, &view, Transport::Udp, &mut dice, &mut Vec::new())
    else {
        panic!("an unknown name is relayed");
    };
    // Finding out the identifier is not what this is about.
    let mut reply = bytes.to_vec();
    if let Some(id) = reply.first_chunk_mut() {
        *id = ID;
    }
    if reply::check(&reply, u16::from_be_bytes(ID), &QUERY[HEADER..errand.question_end]).is_none() {
        return;
    }
    for known in [false, true] {
        for limit in [512, errand.limit] {
            for style in [Style::Plain, Style::Istio] {
                passed_on(&reply, Errand { known, limit, style, ..errand });
            }
        }
    }
});

fn passed_on(reply: &[u8], errand: Errand) {
    let mut passed = reply.to_vec();
    reply::pass_on(&mut passed, QUERY, &errand);

    assert!(passed.len() <= errand.limit);
    assert_eq!(passed[..2], QUERY[..2]);
    if passed.len() > HEADER {
        assert_eq!(passed[HEADER..errand.question_end], QUERY[HEADER..errand.question_end]);
    }
    if errand.known {
        assert_ne!(passed[3] & flag::RCODE, rcode::NAME_ERROR);
    }
    if reply.len() <= errand.limit {
        return;
    }
    if errand.style == Style::Istio {
        assert_eq!(passed[3] & flag::RCODE, rcode::SERVER_FAILURE);
    } else {
        assert_ne!(passed[2] & flag::TRUNCATED, 0);
    }
    let (mut at, mut options) = (errand.question_end, 0);
    for count in [6, 8, 10] {
        for _ in 0..number(&passed, count).expect("a header") {
            let record = Record::read(&passed, at).expect("as many records as the header says");
            options += usize::from(record.kind == kind::OPT);
            at = record.end;
        }
    }
    assert_eq!(at, passed.len());
    assert!(errand.style == Style::Plain || options == 0);
}

/// Of the query that goes to the resolver.
const ID: [u8; 2] = [0xab, 0xcd];
/// `www.example` A, from a client that takes 1232 octets.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\
    \x03www\x07example\0\0\x01\0\x01\
    \0\0\x29\x04\xd0\0\0\0\0\0\0";
