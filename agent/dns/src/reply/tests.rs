//! Tests of replies: which are taken, and what the client gets.

use super::*;
use crate::message::IN;

const QUESTION: &[u8] = b"\x03WwW\x01x\0\0\x01\0\x01";
const OPT: &[u8] = b"\0\0\x29\x10\x00\0\0\0\0\0\0";

/// A record of type A for the question's name.
fn record(octet: u8) -> Vec<u8> {
    vec![0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, octet]
}

fn reply(code: u8, question: &[u8], counts: [u8; 3], records: &[u8]) -> Vec<u8> {
    let [an, ns, ar] = counts;
    let mut reply = vec![0xab, 0xcd, 0x81, 0x80 | code, 0, 1, 0, an, 0, ns, 0, ar];
    reply.extend_from_slice(question);
    reply.extend_from_slice(records);
    reply
}

fn packet() -> Vec<u8> {
    [b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0", QUESTION].concat()
}

fn errand(limit: usize) -> Errand {
    let question_end = HEADER + QUESTION.len();
    Errand { question_end, limit, edns: None, known: false, style: Style::Plain }
}

#[test]
fn a_reply_needs_identifier_and_question() {
    let good = reply(0, QUESTION, [1, 0, 0], &record(1));
    let lower = QUESTION.to_ascii_lowercase();
    let mut other_type = QUESTION.to_vec();
    other_type[8] = b'a';
    let mut asked_type = QUESTION.to_vec();
    asked_type[8] = b'A';

    assert_eq!(check(&good, 0xabcd, QUESTION), Some(Heard::Answer));
    assert_eq!(check(&good, 0xabcd, &lower), Some(Heard::Answer));
    assert_eq!(check(&good, 0xabce, QUESTION), None);
    assert_eq!(check(&good, 0xabcd, b"\x03wwx\x01x\0\0\x01\0\x01"), None);
    // letters are letters in the name alone
    assert_eq!(check(&reply(0, &other_type, [0; 3], b""), 0xabcd, &asked_type), None);
    let query = [&[0xab, 0xcd, 1, 0], &good[4..]].concat();
    assert_eq!(check(&query, 0xabcd, QUESTION), None, "not a response");
    let update = [&[0xab, 0xcd, 0xa8, 0], &good[4..]].concat();
    assert_eq!(check(&update, 0xabcd, QUESTION), None, "another operation");
    for cut in 0..HEADER + QUESTION.len() {
        assert_eq!(check(&good[..cut], 0xabcd, QUESTION), None, "{cut}");
    }
}

#[test]
fn what_another_resolver_may_know_better_is_a_refusal() {
    for (code, heard) in [
        (0, Heard::Answer),
        (1, Heard::Refusal),
        (2, Heard::Refusal),
        (3, Heard::Answer),
        (4, Heard::Refusal),
        (5, Heard::Refusal),
        (9, Heard::Answer),
    ] {
        let reply = reply(code, QUESTION, [0; 3], b"");
        assert_eq!(check(&reply, 0xabcd, QUESTION), Some(heard), "{code}");
    }
}

#[test]
fn a_refusal_may_do_without_the_question_and_an_answer_may_not() {
    let bare = |code| vec![0xab, 0xcd, 0x80, code, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(check(&bare(1), 0xabcd, QUESTION), Some(Heard::Refusal));
    assert_eq!(check(&bare(0), 0xabcd, QUESTION), None);
    assert_eq!(check(&bare(3), 0xabcd, QUESTION), None);
}

#[test]
fn the_client_gets_its_own_identifier_and_letters() {
    let lower = QUESTION.to_ascii_lowercase();
    let mut message = reply(3, &lower, [1, 0, 1], &[&record(1), OPT].concat());

    pass_on(&mut message, &packet(), &errand(512));

    let mut expected = reply(3, QUESTION, [1, 0, 1], &[&record(1), OPT].concat());
    expected[..2].copy_from_slice(b"\x12\x34");
    assert_eq!(message, expected);
}

#[test]
fn a_known_name_is_not_said_not_to_exist() {
    for (known, given, code) in [(true, 3, 0), (false, 3, 3), (true, 2, 2), (true, 0, 0)] {
        let mut message = reply(given, QUESTION, [0; 3], b"");
        pass_on(&mut message, &packet(), &Errand { known, ..errand(512) });
        assert_eq!(message[3] & 0x0f, code, "{given}");
    }
}

#[test]
fn a_reply_that_is_too_long_loses_its_last_records_and_says_so() {
    let records: Vec<u8> = (0..40).flat_map(record).collect();
    let question_end = HEADER + QUESTION.len();
    // sections, limit → counts that are left, OPT kept
    let cases = [
        ([40, 0, 0], "", 512, [30, 0, 0]),
        ([40, 0, 0], "", question_end + 16, [1, 0, 0]),
        ([40, 0, 0], "", question_end + 15, [0, 0, 0]),
        ([10, 20, 10], "", 512, [10, 20, 0]),
        ([10, 15, 15], "", 512, [10, 15, 5]),
        ([40, 0, 1], "last", 512, [29, 0, 1]),
        ([0, 0, 41], "last", 512, [0, 0, 30]),
        ([0, 0, 41], "first", 512, [0, 0, 30]),
        ([40, 0, 1], "last", question_end + 10, [0, 0, 0]),
    ];
    for (counts, opt, limit, left) in cases {
        let records = match opt {
            "last" => [&records, OPT].concat(),
            "first" => [OPT, &records].concat(),
            _ => records.clone(),
        };
        let mut message = reply(0, QUESTION, counts, &records);

        pass_on(&mut message, &packet(), &errand(limit));

        let kept = [6, 8, 10].map(|at| number(&message, at).unwrap());
        assert_eq!(kept, left, "{counts:?} {opt} {limit}");
        assert_ne!(message[2] & flag::TRUNCATED, 0);
        assert!(message.len() <= limit);
        assert_eq!(end_of(&message, question_end), message.len(), "whole records, nothing behind");
    }
}

#[test]
fn in_istios_style_a_reply_that_is_too_long_is_a_failure() {
    let records: Vec<u8> = (0..40).flat_map(record).collect();
    let istio = Errand { style: Style::Istio, ..errand(512) };
    let mut message = reply(0, QUESTION, [40, 0, 0], &records);
    message[2] |= flag::TRUNCATED;

    let mut whole = message.clone();
    pass_on(&mut whole, &packet(), &Errand { limit: 4096, ..istio });
    assert_eq!(whole[2..], message[2..], "TC is passed on");

    pass_on(&mut message, &packet(), &istio);
    let expected = [b"\x12\x34\x81\x02\0\x01\0\0\0\0\0\0", QUESTION].concat();
    assert_eq!(message, expected);
}

#[test]
fn a_reply_that_the_kernel_cut_is_cut_at_a_record() {
    let mut message = reply(0, QUESTION, [40, 0, 0], &record(1).repeat(40));
    message.truncate(600);

    pass_on(&mut message, &packet(), &errand(599));

    assert_eq!(number(&message, 6), Some(36));
    assert_eq!(end_of(&message, HEADER + QUESTION.len()), message.len());
}

fn end_of(message: &[u8], mut at: usize) -> usize {
    let count = |section| number(message, section).unwrap();
    for _ in 0..count(6) + count(8) + count(10) {
        let record = Record::read(message, at).unwrap();
        assert!(record.kind == kind::OPT || number(message, record.fields) == Some(IN));
        at = record.end;
    }
    at
}
