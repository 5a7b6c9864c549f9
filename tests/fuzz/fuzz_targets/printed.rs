//! What a program prints that is to print a pair: what does not fit is refused, and the key is in no
//! message.
//!
//! ```text
//! 0 | text                          as it is printed
//! 1 | (length 2, element)*          certificates, printed as PEM with their key
//! 2 | (length 2, element)*          the same as JSON, the last of them as roots
//! ```

#![no_main]

use std::error::Error;

use hawser_fuzz::{assert_issued, key, pieces, text};
use hawser_identity::printed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((form, rest)) = bytes.split_first() else { return };
    let certificates = || pieces(rest).map(|piece| text("CERTIFICATE", piece)).collect::<Vec<_>>();
    let output = match form {
        0 => rest.to_vec(),
        1 => (key().pem().to_owned() + &certificates().concat()).into_bytes(),
        _ => {
            let mut chain = certificates();
            let roots = chain.pop();
            let document = serde_json::json!({"key": key().pem(), "chain": chain, "roots": roots});
            document.to_string().into_bytes()
        }
    };
    match printed(&output, None) {
        Ok(identity) => {
            assert!(identity.rooted().is_ok());
            if *form != 0 {
                assert_issued(&identity);
            }
        }
        Err(error) => {
            let mut told = error.to_string();
            let mut cause = error.source();
            while let Some(because) = cause {
                told += &because.to_string();
                cause = because.source();
            }
            let secret = key();
            let line = secret.pem().lines().nth(1).expect("a line of the key");
            assert!(!told.is_empty() && !told.contains(line));
        }
    }
});
