//! What programs print and metadata servers answer where a token is expected: what is taken is
//! fit for a header, and nothing is taken from a server of another kind.
//!
//! ```text
//! status 2 | length 2, flavour | body
//! ```

#![no_main]

use hawser_fuzz::piece;
use hawser_istiod::credential::{Answer, answered, printed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match printed(bytes) {
        Ok(token) => {
            let line = bytes.split(|byte| *byte == b'\n').next().expect("a line");
            assert_fit(&token, line);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }

    let Some((status, mut rest)) = bytes.split_first_chunk::<2>() else { return };
    let status = u16::from_be_bytes(*status);
    let flavour = piece(&mut rest).filter(|flavour| !flavour.is_empty()).map(<[u8]>::to_vec);
    let answer = Answer { status, flavour, body: rest.to_vec().into() };
    match answered("metadata:80", &answer) {
        Ok(token) => {
            assert_eq!((status, answer.flavour.as_deref()), (200, Some(b"Google".as_slice())));
            assert_fit(&token, rest);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

/// All of what was given but the white space around it, and no control character.
fn assert_fit(token: &str, given: &[u8]) {
    assert!(!token.is_empty() && token.len() <= LONGEST);
    assert!(token.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(std::str::from_utf8(given).map(str::trim), Ok(token));
}

const LONGEST: usize = 64 << 10;
