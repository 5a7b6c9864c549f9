//! Keys as Go writes them, byte for byte.
//!
//! The golden pairs are keys that open nothing. OpenSSL made the PKCS#8 files; the traditional
//! ones are the work of Go's `x509` and `pem` packages, and OpenSSL writes the same.

use proptest::prelude::*;

use crate::{KeyForm, KeyKind, PrivateKey, pem};

macro_rules! golden {
    ($name:literal) => {
        (
            include_str!(concat!("../golden/", $name, ".pkcs8.pem")),
            include_str!(concat!("../golden/", $name, ".traditional.pem")),
        )
    };
}

#[test]
fn both_forms_are_those_of_go() {
    let cases = [
        (golden!("p256"), Some(KeyKind::EcdsaP256)),
        (golden!("p384"), Some(KeyKind::EcdsaP384)),
        (golden!("rsa2048"), Some(KeyKind::Rsa2048)),
        (golden!("rsa2560"), None),
    ];
    for ((pkcs8, traditional), kind) in cases {
        for text in [pkcs8, traditional] {
            let key = PrivateKey::from_pem(text).unwrap();

            assert_eq!(key.kind(), kind);
            assert_eq!(key.encoded(KeyForm::Pkcs8).as_str(), pkcs8, "{kind:?}");
            assert_eq!(key.encoded(KeyForm::Traditional).as_str(), traditional, "{kind:?}");
        }
    }
}

/// A P-256 key as lean as SEC1 allows: no public key.
fn lean(private: &[u8; 32]) -> String {
    let der = [
        &[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20][..],
        private,
        &[0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07][..],
    ]
    .concat();
    let mut text = String::new();
    pem::encode("EC PRIVATE KEY", &der, &mut text);
    text
}

proptest! {
    #[test]
    fn the_public_half_is_there_and_numbers_are_padded_whatever_was_read(
        mut private in any::<[u8; 32]>(),
        zeros in 0_usize..32,
    ) {
        private[..zeros].fill(0);
        // Neither nought nor beyond the order of the curve.
        private[31] |= 1;
        private[0] &= 0x7f;

        let key = PrivateKey::from_pem(&lean(&private)).unwrap();

        let text = key.encoded(KeyForm::Traditional);
        let block = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap().1;
        prop_assert_eq!(block.label.as_str(), "EC PRIVATE KEY");
        prop_assert_eq!(&block.contents[7..39], &private);
        prop_assert!(key.public().ends_with(&block.contents[56..]));
        prop_assert_eq!(block.contents.len(), 121);
        let again = PrivateKey::from_pem(&text).unwrap();
        prop_assert_eq!(again.encoded(KeyForm::Traditional), text);
    }
}
