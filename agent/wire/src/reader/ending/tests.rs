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
fn a_client_that_is_told_the_type_is_told_what_to_refuse_as_well() {
    let type_url = "type.googleapis.com/a.Thing";
    for typed in [false, true] {
        for room in (0..200).filter(|&room| room != 1) {
            let anchor = Anchor { value: 10, any: 10, resource: 10, typed };
            let length = 10 + room;
            let ending = Ending::new(&anchor, 9, length, Some(type_url));
            let answered = ending.answered();
            let written = bytes(ending);
            assert_eq!(written.len(), length - 9);
            let response = &written[1..];
            let told = Fields::last(response, 4).unwrap().map(|value| value.text().unwrap());
            let refused =
                Fields::new(response).filter(|field| *field == Ok((2, Value::Bytes(&[])))).count();
            assert_eq!(told.is_some_and(|told| told == type_url), answered && !typed);
            assert!(!answered || refused == 2 || !anchor.is_sure(length), "{room}");
            let roomy = room >= 33 && room != 34;
            assert_eq!(answered, typed || roomy, "{room}");
        }
    }
}
