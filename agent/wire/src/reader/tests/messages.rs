//! Messages of any make, in the bounds of what is well-formed.

use super::*;

/// One field of a response, a resource or an `Any`.
#[derive(Clone, Debug)]
pub(super) enum Field {
    Bytes(u32, Vec<u8>),
    Number(u32, u64),
    Fixed(u32, u64),
    Group(u32, Vec<u8>),
}

pub(super) fn written(fields: &[Field]) -> Vec<u8> {
    let mut into = Vec::new();
    for field in fields {
        match field {
            Field::Bytes(number, bytes) => write::bytes(&mut into, *number, bytes),
            Field::Number(number, value) => write::number(&mut into, *number, *value),
            Field::Fixed(number, value) => {
                write::tag(&mut into, *number, 1);
                into.extend_from_slice(&value.to_le_bytes());
            }
            Field::Group(number, bytes) => {
                write::tag(&mut into, *number, 3);
                write::bytes(&mut into, 2, bytes);
                write::tag(&mut into, *number, 4);
            }
        }
    }
    into
}

fn unknown() -> impl Strategy<Value = Field> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (20_u32..3000, bytes()).prop_map(|(number, bytes)| Field::Bytes(number, bytes)),
        (20_u32..3000, any::<u64>()).prop_map(|(number, value)| Field::Number(number, value)),
        (20_u32..3000, any::<u64>()).prop_map(|(number, value)| Field::Fixed(number, value)),
        (20_u32..3000, bytes()).prop_map(|(number, bytes)| Field::Group(number, bytes)),
    ]
}

fn text(number: u32) -> impl Strategy<Value = Field> {
    "[a-zä/]{0,12}".prop_map(move |text| Field::Bytes(number, text.into_bytes()))
}

fn type_url(number: u32) -> impl Strategy<Value = Field> {
    Just(Field::Bytes(number, TYPE.as_bytes().to_vec()))
}

/// Lengths around those at which a varint grows are the interesting ones.
fn value() -> impl Strategy<Value = Vec<u8>> {
    (prop_oneof![0_usize..8, 100_usize..300, 16_250_usize..16_500], any::<u8>())
        .prop_map(|(length, byte)| vec![byte; length])
}

fn an_any() -> impl Strategy<Value = Vec<u8>> {
    let value = value().prop_map(|value| Field::Bytes(2, value));
    let fields = prop_oneof![
        2 => type_url(1).boxed(),
        4 => value.boxed(),
        1 => unknown().boxed(),
    ];
    let usual = (value_field(), prop::option::of(unknown())).prop_map(|(value, more)| {
        let mut fields = vec![Field::Bytes(1, TYPE.as_bytes().to_vec()), value];
        fields.extend(more);
        written(&fields)
    });
    let odd = prop::collection::vec(fields, 0..5).prop_map(|fields| written(&fields));
    prop_oneof![3 => usual, 1 => odd]
}

fn value_field() -> impl Strategy<Value = Field> {
    value().prop_map(|value| Field::Bytes(2, value))
}

fn a_resource() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        4 => an_any().prop_map(|any| Field::Bytes(2, any)).boxed(),
        1 => text(1).boxed(),
        2 => text(3).boxed(),
        1 => text(4).boxed(),
        1 => unknown().boxed(),
    ];
    prop::collection::vec(field, 0..5).prop_map(|fields| written(&fields))
}

fn a_message(flavour: Flavour) -> impl Strategy<Value = Vec<u8>> {
    let resource = match flavour {
        Flavour::Sotw => an_any().boxed(),
        Flavour::Delta => a_resource().boxed(),
    };
    let removed = match flavour {
        Flavour::Sotw => unknown().boxed(),
        Flavour::Delta => text(6).boxed(),
    };
    let field = prop_oneof![
        6 => resource.prop_map(|bytes| Field::Bytes(2, bytes)).boxed(),
        1 => text(1).boxed(),
        1 => type_url(4).boxed(),
        1 => text(5).boxed(),
        1 => removed,
        1 => unknown().boxed(),
    ];
    prop::collection::vec(field, 0..8).prop_map(|fields| written(&fields))
}

pub(super) fn a_flavoured_message() -> impl Strategy<Value = (Flavour, Vec<u8>)> {
    prop_oneof![
        a_message(Flavour::Sotw).prop_map(|message| (Flavour::Sotw, message)),
        a_message(Flavour::Delta).prop_map(|message| (Flavour::Delta, message)),
    ]
}
