//! Tests of reading queries and records.

use super::*;

/// A query for `www.x`, type A, class IN, with these counts and this behind its question.
fn query(flags: [u8; 2], counts: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let [high, low] = flags;
    let [qd, an, ns, ar] = counts;
    let mut message = vec![7, 9, high, low, 0, qd, 0, an, 0, ns, 0, ar];
    message.extend_from_slice(b"\x03WWW\x01x\0\0\x01\0\x01");
    message.extend_from_slice(rest);
    message
}

const OPT: &[u8] = b"\0\0\x29\x10\x00\0\0\x80\0\0\0";
const SOA: &[u8] = b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x02ab";
const TSIG: &[u8] = b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\0";

#[test]
fn a_query_is_read() {
    let read = Query::parse(&query([1, 0x10], [1, 0, 0, 0], b"")).unwrap();
    assert_eq!(read.flags, [1, 0x10]);
    assert_eq!((read.kind, read.class), (kind::A, IN));
    assert_eq!((read.question_end, read.edns), (23, None));
    assert_eq!(read.payload(), 512);
}

#[test]
fn the_opt_record_is_found_among_others() {
    let opt = Edns { payload: 4096, version: 0, dnssec_ok: true };
    let cases = [
        ([1, 0, 0, 1], OPT.to_vec()),
        ([1, 0, 0, 2], [OPT, TSIG].concat()),
        ([1, 0, 0, 2], [TSIG, OPT].concat()),
        ([1, 0, 1, 1], [SOA, OPT].concat()),
        ([1, 1, 0, 1], [SOA, OPT, b"behind"].concat()),
    ];
    for (counts, rest) in cases {
        let read = Query::parse(&query([0, 0], counts, &rest)).unwrap();
        assert_eq!(read.edns, Some(opt), "{counts:?}");
        assert_eq!(read.payload(), 4096);
    }
}

#[test]
fn two_opt_records_or_one_that_is_not_the_roots_are_not_sound() {
    let other = b"\0\0\x29\x04\0\0\0\0\0\0\0".as_slice();
    for (count, rest, payload, sound) in [
        (0, [b"".as_slice(), b""], 512, true),
        (1, [OPT, b""], 4096, true),
        (2, [OPT, other], 1024, false),
        (1, [b"\x01a", OPT], 4096, false),
    ] {
        let read = Query::parse(&query([0, 0], [1, 0, 0, count], &rest.concat())).unwrap();
        assert_eq!((read.payload(), read.sound), (payload, sound), "{rest:?}");
    }
}

#[test]
fn a_payload_below_512_counts_as_512() {
    let small = b"\0\0\x29\x00\x10\0\0\0\0\0\0";
    let read = Query::parse(&query([0, 0], [1, 0, 0, 1], small)).unwrap();
    assert_eq!(read.payload(), 512);
}

#[test]
fn an_opt_record_is_answered_in_kind() {
    let edns = Edns { payload: 512, version: 3, dnssec_ok: true };
    assert_eq!(edns.reply(4096, 1), *b"\0\0\x29\x10\0\x01\0\x80\0\0\0");
}

#[test]
fn what_is_no_query_is_dropped_or_named() {
    let format = NoQuery::Code(rcode::FORMAT_ERROR);
    let with_opcode = |opcode: u8| query([opcode << 3, 0], [1, 0, 0, 0], b"");
    let cases = [
        (vec![], NoQuery::Silent),
        (vec![0; 11], NoQuery::Silent),
        (query([0x80, 0], [1, 0, 0, 0], b""), NoQuery::Silent),
        (with_opcode(2), NoQuery::Code(rcode::NOT_IMPLEMENTED)),
        (with_opcode(4), NoQuery::Code(rcode::NOT_IMPLEMENTED)),
        (with_opcode(15), NoQuery::Code(rcode::NOT_IMPLEMENTED)),
        (query([0, 0], [0, 0, 0, 0], b""), format),
        (query([0, 0], [2, 0, 0, 0], b""), format),
        (query([0, 0], [1, 2, 0, 0], b""), format),
        (query([0, 0], [1, 0, 2, 0], b""), format),
        (query([0, 0], [1, 0, 0, 3], b""), format),
        // counts beyond the octets
        (query([0, 0], [1, 1, 0, 0], b""), format),
        (query([0, 0], [1, 0, 0, 1], &OPT[..10]), format),
        // the question is cut, or points at itself
        (query([0, 0], [1, 0, 0, 0], b"")[..22].to_vec(), format),
        ([&query([0, 0], [1, 0, 0, 0], b"")[..12], b"\xc0\x0c\0\x01\0\x01"].concat(), format),
    ];
    for (message, expected) in cases {
        assert_eq!(Query::parse(&message).unwrap_err(), expected, "{}", message.escape_ascii());
    }
}

#[test]
fn a_record_is_passed_over_by_its_lengths() {
    let record = Record::read(SOA, 0).unwrap();
    assert_eq!((record.kind, record.of_root, record.fields, record.end), (6, false, 4, 14));
    for cut in 0..SOA.len() {
        assert!(Record::read(&SOA[..cut], 0).is_none(), "{cut}");
    }
    // label lengths with the reserved bits
    assert!(Record::read(b"\x40a\0\0\x01\0\x01\0\0\0\0\0\0", 0).is_none());
}
