//! Good blocks are found whatever surrounds them.

use proptest::prelude::*;

use super::*;

fn block(der: &[u8]) -> String {
    let mut text = String::new();
    encode(CERTIFICATE, der, &mut text);
    text
}

/// The blocks found; `None` for a broken one.
fn found(text: &str) -> Vec<Option<Vec<u8>>> {
    certificates(text).unwrap().map(|block| block.ok().map(|der| der.to_vec())).collect()
}

#[test]
fn blocks_are_found_whatever_surrounds_them() {
    let (one, two) = (block(b"one"), block(b"two"));
    let (good, bad) = (|text: &str| Some(text.as_bytes().to_vec()), None::<Vec<u8>>);
    let key = one.replace("CERTIFICATE", "PRIVATE KEY");
    let endless = "-----BEGIN CERTIFICATE-----\nb25l\n";
    let cases = [
        (String::new(), vec![]),
        ("no PEM here".to_owned(), vec![]),
        (format!("{one}{two}"), vec![good("one"), good("two")]),
        (
            format!("Bag Attributes\n  name: x\n{one}\n\n# and\n{two}"),
            vec![good("one"), good("two")],
        ),
        (one.replace('\n', "\r\n"), vec![good("one")]),
        (one.replace('\n', "\r"), vec![good("one")]),
        (one.replace('\n', "  \n\t  "), vec![good("one")]),
        (one.trim_end().to_owned(), vec![good("one")]),
        (format!("\u{feff}{one}"), vec![good("one")]),
        (format!("{key}{one}"), vec![good("one")]),
        (format!("{endless}{one}"), vec![bad.clone(), good("one")]),
        (format!("{one}{endless}"), vec![good("one"), bad.clone()]),
        (format!("{endless}{key}{one}"), vec![bad.clone(), good("one")]),
        (format!("{endless}-----END PRIVATE KEY-----\n{one}"), vec![bad.clone(), good("one")]),
        (one.replace("b25l", "b2%l") + &two, vec![bad.clone(), good("two")]),
        (one.replace("b25l", "b25lx"), vec![bad]),
        (one.replace("b25l", "b\n25\n\nl"), vec![good("one")]),
        (one.replace("-----END", "----END"), vec![None]),
        (one.replace("-----BEGIN", "----BEGIN"), vec![]),
    ];
    for (text, expected) in cases {
        assert_eq!(found(&text), expected, "{text:?}");
    }
}

#[test]
fn lines_are_as_long_as_openssl_makes_them() {
    let expected = format!(
        "-----BEGIN X-----\n{}\n{}\n{}\n-----END X-----\n",
        "A".repeat(64),
        "A".repeat(64),
        "AAA=",
    );
    let mut text = String::new();

    encode("X", &[0; 98], &mut text);

    assert_eq!(text, expected);
}

#[test]
fn a_buffer_that_holds_a_key_does_not_grow() {
    for length in 0..300 {
        let mut text = String::new();
        encode("PRIVATE KEY", &vec![7; length], &mut text);

        assert!(text.len() <= text.capacity());
        let needed = text.len();
        let mut exact = String::with_capacity(needed);
        exact.push_str(&text);
        assert!(text.capacity() - needed <= 8, "{length}: {needed} of {}", text.capacity());
    }
}

#[test]
fn text_beyond_the_limit_is_refused_unread() {
    let text = "x".repeat(TEXT_LIMIT + 1);

    let error = certificates(&text).err().unwrap();

    assert!(matches!(error, Error::TextTooLong { .. }), "{error}");
}

proptest! {
    #[test]
    fn what_was_encoded_is_what_is_found(ders in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
        let text: String = ders.iter().map(|der| block(der)).collect();

        let expected: Vec<_> = ders.into_iter().map(Some).collect();
        prop_assert_eq!(found(&text), expected);
    }

    #[test]
    fn no_text_is_too_strange(text in "((-----(BEGIN|END) CERTIFICATE-----)|[\r\n]|AAAA|.){0,40}") {
        let _found = found(&text);
    }
}
