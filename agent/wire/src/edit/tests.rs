//! Messages before and after.

use proptest::prelude::*;

use super::*;

/// Field 1 "a", a group with a field 2 in it, field 2 "b", field 3 17, field 2 "c".
fn message() -> Vec<u8> {
    [
        &[0x0a, 1, b'a'][..],
        &[0x9b, 0x06, 0x12, 1, b'y', 0x9c, 0x06],
        &[0x12, 1, b'b'],
        &[0x18, 17],
        &[0x12, 1, b'c'],
        &[0x9b, 0x06, 0x9c, 0x06],
    ]
    .concat()
}

fn edited(f: impl Fn(u32, Value<'_>) -> Edit) -> Option<Vec<u8>> {
    rebuild(&message(), &mut |number, value| Ok(f(number, value))).unwrap()
}

#[test]
fn nothing_is_copied_if_nothing_changes() {
    assert_eq!(edited(|_, _| Edit::Keep), None);
}

#[test]
fn a_field_is_replaced_or_left_out_and_all_others_stay_as_they_were() {
    let seen = edited(|number, value| match (number, value) {
        (2, Value::Bytes(b"b")) => Edit::Replace(vec![b'x'; 200]),
        (3, Value::Number) => Edit::Drop,
        _ => Edit::Keep,
    });
    let expected = [
        &[0x0a, 1, b'a'][..],
        &[0x9b, 0x06, 0x12, 1, b'y', 0x9c, 0x06],
        &[0x12, 200, 1],
        &[b'x'; 200],
        &[0x12, 1, b'c'],
        &[0x9b, 0x06, 0x9c, 0x06],
    ]
    .concat();
    assert_eq!(seen, Some(expected));
}

#[test]
fn groups_alone_are_left_if_all_fields_go() {
    let groups = [0x9b, 0x06, 0x12, 1, b'y', 0x9c, 0x06, 0x9b, 0x06, 0x9c, 0x06];
    assert_eq!(edited(|_, _| Edit::Drop), Some(groups.to_vec()));
}

#[test]
fn what_is_malformed_or_refused_gives_nothing() {
    let drop = &mut |_, _: Value<'_>| Ok(Edit::Drop);
    assert_eq!(rebuild(&[0x0a, 1, b'a', 0x0a, 9], drop), Err(Malformed));
    let refuse = &mut |_, _: Value<'_>| Err(Malformed);
    assert_eq!(rebuild(&message(), refuse), Err(Malformed));
    assert_eq!(rebuild(&[], refuse), Ok(None));
}

proptest! {
    #[test]
    fn a_message_whose_fields_are_replaced_by_themselves_is_the_same(
        fields in prop::collection::vec(
            (1_u32..5000, prop::collection::vec(any::<u8>(), 0..300)), 0..8
        )
    ) {
        let mut message = Vec::new();
        for (number, value) in &fields {
            write::bytes(&mut message, *number, value);
        }
        let built = rebuild(&message, &mut |_, value| {
            Ok(Edit::Replace(value.bytes()?.to_vec()))
        });
        let expected = (!fields.is_empty()).then_some(message);
        prop_assert_eq!(built, Ok(expected));
    }

    #[test]
    fn any_bytes_are_edited_or_malformed(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let whole = Fields::new(&bytes).all(|field| field.is_ok());
        let built = rebuild(&bytes, &mut |number, _| {
            Ok(if number % 2 == 0 { Edit::Drop } else { Edit::Keep })
        });
        prop_assert_eq!(built.is_ok(), whole);
        if let Ok(Some(built)) = built {
            prop_assert!(Fields::new(&built).all(|field| field.is_ok_and(|(n, _)| n % 2 == 1)));
        }
    }
}
