//! Every bit of a file counts.

use proptest::prelude::*;

use super::*;

fn file(version: u16, body: &[u8]) -> Vec<u8> {
    [&header(version, body), body].concat()
}

#[test]
fn a_file_stays_readable_by_those_who_come_after() {
    let expected = [
        b"hawser\x01\n".as_slice(),
        &[0, 3],
        &[0, 0, 0, 0, 0, 0, 0, 5],
        &[
            0xb3, 0x3c, 0x50, 0x96, 0x0f, 0x7a, 0x73, 0xd3, 0x36, 0x0b, 0xb6, 0xf2, 0x63, 0x80,
            0xa9, 0x35, 0xbb, 0x7c, 0xcd, 0x07, 0xba, 0x93, 0xf3, 0xa3, 0xaf, 0xf0, 0xbe, 0x39,
            0x0b, 0x55, 0xe3, 0x27,
        ],
        b"names",
    ]
    .concat();

    assert_eq!(file(3, b"names"), expected);
    assert_eq!(decode(&expected, 3), Ok(b"names".as_slice()));
}

#[test]
fn each_kind_of_damage_is_told_apart() {
    let good = file(1, b"body");
    let with = |at: usize, byte: u8| {
        let mut file = good.clone();
        file[at] = byte;
        file
    };
    let cases: [(Vec<u8>, Damage); 9] = [
        (Vec::new(), Damage::Short { length: 0 }),
        (b"hawser".to_vec(), Damage::Short { length: 6 }),
        (good[..HEADER - 1].to_vec(), Damage::Short { length: 49 }),
        (b"-----BEGIN CERTIFICATE-----".to_vec(), Damage::Foreign),
        (vec![0; 4096], Damage::Foreign),
        (good[..good.len() - 1].to_vec(), Damage::Length { found: 3, expected: 4 }),
        ([&good[..], b"\n"].concat(), Damage::Length { found: 5, expected: 4 }),
        (with(HEADER, b'B'), Damage::Checksum),
        (file(2, b"body"), Damage::Version { found: 2, expected: 1 }),
    ];
    for (file, damage) in cases {
        assert_eq!(decode(&file, 1), Err(damage), "{file:?}");
    }
}

proptest! {
    #[test]
    fn what_was_written_is_what_is_read(body: Vec<u8>, version: u16) {
        let file = file(version, &body);

        prop_assert_eq!(decode(&file, version), Ok(body.as_slice()));
    }

    #[test]
    fn any_byte_changed_is_found(
        body in prop::collection::vec(any::<u8>(), 0..200),
        at: prop::sample::Index,
        change in 1..=u8::MAX,
    ) {
        let mut file = file(1, &body);
        let at = at.index(file.len());
        file[at] ^= change;

        prop_assert!(decode(&file, 1).is_err());
    }

    #[test]
    fn any_other_length_is_found(
        body in prop::collection::vec(any::<u8>(), 0..200),
        cut: prop::sample::Index,
        tail in prop::collection::vec(any::<u8>(), 1..50),
    ) {
        let file = file(1, &body);

        prop_assert!(decode(&file[..cut.index(file.len())], 1).is_err());
        prop_assert!(decode(&[file, tail].concat(), 1).is_err());
    }

    #[test]
    fn foreign_bytes_are_never_a_file(bytes: Vec<u8>, version: u16) {
        prop_assert!(decode(&bytes, version).is_err());
    }
}
