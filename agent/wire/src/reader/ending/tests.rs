//! Every room, to the byte.

use super::*;
use crate::{Fields, Value};

fn bytes(ending: Ending) -> Vec<u8> {
    let remaining = ending.remaining();
    let bytes = ending.flatten().collect::<Vec<u8>>();
    assert_eq!(bytes.len(), remaining);
    bytes
}

#[test]
fn any_room_but_a_single_byte_is_filled_exactly_with_fields_that_nobody_knows() {
    let around = |length: usize| length - 3..length + 9;
    for room in (2..600).chain(around(16_384)).chain(around(2_097_152)).chain([0]) {
        let mut ending = Ending::empty(false);
        ending.fill(room);
        let filled = bytes(ending);
        assert_eq!(filled.len(), room);
        for field in Fields::new(&filled) {
            let (number, value) = field.unwrap();
            assert!(number == UNKNOWN || (number, value) == (15, Value::Bytes(&[])));
        }
    }
}

#[test]
fn there_is_something_to_refuse_wherever_there_is_room() {
    for typed in [false, true] {
        for room in (0..200).filter(|&room| room != 1) {
            let anchor = Anchor { value: 10, any: 10, resource: 10, typed };
            let length = 10 + room;
            let ending = Ending::new(&anchor, 9, length);
            assert_eq!(ending.answered(), typed);
            let written = bytes(ending);
            assert_eq!(written.len(), length - 9);
            let response = &written[1..];
            assert_eq!(Fields::last(response, 4).unwrap(), None, "the type is never told here");
            let refused =
                Fields::new(response).filter(|field| *field == Ok((2, Value::Bytes(&[])))).count();
            assert!(refused == 2 || !has_room(room, 4), "{room}");
            assert!(!typed || refused == 2 || !anchor.is_sure(length), "{room}");
        }
    }
}
