//! What is refused, and what is beyond the limits.

use super::*;

/// What a message is read as, in whatever chunks. `None`: it is malformed.
fn outcome(flavour: Flavour, message: &[u8]) -> Option<Tail> {
    let whole = read(flavour, message, usize::MAX);
    assert_eq!(read(flavour, message, 1), whole, "byte by byte");
    whole.ok().map(|(_, tail)| tail)
}

#[test]
fn what_is_no_message_is_malformed() {
    let table: [(&str, &[u8]); 16] = [
        ("a cut tag", &[0x80]),
        ("a tag beyond 32 bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("field number 0", &[0x02, 0]),
        ("an unknown wire type", &[0x0e]),
        ("a length beyond the end", &[0x22, 5, b'a']),
        ("a length beyond all memory", &[0x22, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ("a varint beyond 64 bits", &[0x78, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]),
        ("an endless varint", &[0x78, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ("a group that does not end", &[0x7b]),
        ("a group that does not begin", &[0x7c]),
        ("a group that ends as another", &[0x7b, 0x84, 0x01]),
        ("text that is none", &[0x22, 1, 0xff]),
        ("a number for a type", &[0x20, 1]),
        ("a number for a resource", &[0x10, 1]),
        ("a resource that is no message", &[0x12, 1, 0xff]),
        ("a field beyond its resource", &[0x12, 2, 0x0a, 2, b'a', b'b']),
    ];
    for (what, message) in table {
        for flavour in [Flavour::Sotw, Flavour::Delta] {
            assert_eq!(outcome(flavour, message), None, "{what}");
        }
    }
}

#[test]
fn a_message_that_is_shorter_or_longer_than_announced_is_malformed() {
    let message = usual(Flavour::Sotw, 1, 10);
    let mut reader = Reader::new(Flavour::Sotw, message.len() + 2);
    push(&mut reader, &message).unwrap();
    assert_eq!(reader.end(), Err(Malformed));
    let mut reader = Reader::new(Flavour::Sotw, message.len() - 1);
    assert_eq!(push(&mut reader, &message), Err(Malformed));
}

#[test]
fn a_single_byte_behind_a_field_is_malformed_before_it_comes() {
    let any = written(&[Field::Bytes(1, TYPE.into()), Field::Bytes(2, vec![8; 9])]);
    // One byte more than there is, at one level after the other.
    let around = |message: &[u8], more: usize| {
        let mut into = Vec::new();
        write::header(&mut into, 2, message.len() + more);
        into.extend_from_slice(message);
        into
    };
    let table = [
        ("in a response", Flavour::Sotw, around(&any, 0)),
        ("in an Any", Flavour::Sotw, around(&any, 1)),
        ("in a resource", Flavour::Delta, around(&around(&any, 0), 1)),
        ("in the Any of a resource", Flavour::Delta, around(&around(&any, 1), 1)),
    ];
    for (what, flavour, message) in table {
        let mut reader = Reader::new(flavour, message.len() + 1);
        assert_eq!(push(&mut reader, &message[..message.len() - 1]), Err(Malformed), "{what}");
        assert_eq!((reader.releasable(), reader.ending().is_none()), (0, true), "{what}");
    }
}

#[test]
fn the_empty_message_is_one() {
    let reader = Reader::new(Flavour::Delta, 0);
    assert_eq!((reader.releasable(), reader.type_url()), (0, None));
    assert_eq!(reader.end(), Ok(Tail::default()));
}

#[test]
fn a_type_that_changes_after_it_was_told_is_malformed() {
    let any = |type_url: &str| written(&[Field::Bytes(1, type_url.into())]);
    let type_of = |type_url: &str| Field::Bytes(4, type_url.into());
    let resource = |type_url: &str| Field::Bytes(2, any(type_url));
    let table = [
        ("the response's own", vec![type_of("a"), type_of("b")], None),
        ("emptied", vec![type_of("a"), type_of("")], None),
        ("not the resource's", vec![resource("a"), type_of("b")], None),
        ("twice the same", vec![type_of("a"), resource("a"), type_of("a")], Some("a")),
        ("the response comes first", vec![type_of("a"), resource("b")], Some("a")),
        ("the first resource alone", vec![resource("a"), resource("b")], Some("a")),
        ("the resource, the response empty", vec![resource("a"), type_of("")], Some("a")),
        ("a wrapper", vec![resource(WRAPPER), type_of("a")], Some("a")),
        ("nobody", vec![resource(""), resource("b")], Some("")),
    ];
    for (what, fields, expected) in table {
        let seen = outcome(Flavour::Sotw, &written(&fields)).map(|tail| tail.type_url);
        assert_eq!(seen.as_deref(), expected, "{what}");
    }
}

#[test]
fn texts_beyond_their_limits_are_malformed() {
    let text = |number, length| written(&[Field::Bytes(number, vec![b'a'; length])]);
    for number in [1, 4, 5, 6] {
        assert!(outcome(Flavour::Delta, &text(number, TEXT)).is_some());
        assert_eq!(outcome(Flavour::Delta, &text(number, TEXT + 1)), None);
    }
    let removed = |count| text(6, TEXT).repeat(count);
    assert!(outcome(Flavour::Delta, &removed(REMOVED / TEXT)).is_some());
    assert_eq!(outcome(Flavour::Delta, &removed(REMOVED / TEXT + 1)), None);
}

#[test]
fn what_would_have_to_be_held_back_has_a_limit() {
    let unknown = |length| Field::Bytes(77, vec![0; length]);
    let any = written(&[Field::Bytes(1, TYPE.into()), Field::Bytes(2, vec![8; 500])]);
    let resource = Field::Bytes(2, any);
    let table = [
        ("one field", vec![unknown(HELD)], false),
        ("several", vec![unknown(HELD / 2), unknown(HELD / 2)], false),
        ("behind a value", vec![resource.clone(), unknown(HELD)], false),
        ("a value between", vec![unknown(HELD / 2), resource, unknown(HELD / 2)], true),
    ];
    for (what, fields, taken) in table {
        assert_eq!(read(Flavour::Sotw, &written(&fields), 9999).is_ok(), taken, "{what}");
    }
    let numbers = [0x78, 1].repeat(HELD / 2 + 1);
    assert_eq!(read(Flavour::Sotw, &numbers, 9999), Err(Malformed), "many small ones");
}

#[test]
fn groups_are_passed_over_as_deep_as_full_decoders_go() {
    let nested = |depth| [[0x7b].repeat(depth), [0x7c].repeat(depth)].concat();
    assert!(outcome(Flavour::Sotw, &nested(GROUPS)).is_some());
    assert_eq!(outcome(Flavour::Sotw, &nested(GROUPS + 1)), None);
    let inside = written(&[Field::Group(99, TYPE.into()), Field::Bytes(5, b"n".to_vec())]);
    let tail = outcome(Flavour::Sotw, &inside).unwrap();
    assert_eq!((tail.nonce.as_str(), tail.resources), ("n", 0), "field 2 in a group is none");
}
