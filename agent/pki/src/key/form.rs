//! The forms of a key in files: PKCS#8, and the older ones of each kind of key.
//!
//! The older ones are what Go's `x509.MarshalPKCS1PrivateKey` and `x509.MarshalECPrivateKey`
//! write, byte for byte: programs that read Istio's key files have seen nothing else.

use aws_lc_rs::{
    encoding::{AsBigEndian, EcPrivateKeyBin},
    signature::{EcdsaKeyPair, KeyPair},
};
use x509_parser::{asn1_rs::Any, prelude::FromDer};
use zeroize::Zeroizing;

use super::Signer;
use crate::pem;

/// How a private key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyForm {
    /// `RSA PRIVATE KEY` (PKCS#1) or `EC PRIVATE KEY` (SEC1, with curve and public key), as Istio
    /// writes it.
    #[default]
    Traditional,
    /// `PRIVATE KEY`, whatever the kind.
    Pkcs8,
}

/// The traditional form of a key whose PKCS#8 form is `pkcs8`.
pub(super) fn traditional(signer: &Signer, pkcs8: &[u8]) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    match signer {
        Signer::EcdsaP256(pair) => {
            pem::encode("EC PRIVATE KEY", &sec1(pair, &P256)?, &mut text);
        }
        Signer::EcdsaP384(pair) => {
            pem::encode("EC PRIVATE KEY", &sec1(pair, &P384)?, &mut text);
        }
        Signer::Rsa(_) => pem::encode("RSA PRIVATE KEY", pkcs1(pkcs8)?, &mut text),
    }
    Some(text)
}

/// PKCS#1 is the last of the three parts of PKCS#8.
fn pkcs1(pkcs8: &[u8]) -> Option<&[u8]> {
    let (_, whole) = Any::from_der(pkcs8).ok()?;
    let (rest, _version) = Any::from_der(whole.data).ok()?;
    let (rest, _algorithm) = Any::from_der(rest).ok()?;
    let (_, key) = Any::from_der(rest).ok()?;
    Some(key.data)
}

/// What stands between the numbers of a SEC1 key of one curve.
struct Curve {
    /// Up to the private number, which is as long as the curve's order.
    head: &'static [u8],
    private: usize,
    /// The curve's object identifier, up to the public point, which is uncompressed.
    middle: &'static [u8],
    public: usize,
}

const P256: Curve = Curve {
    head: &[0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20],
    private: 32,
    middle: &[
        0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03,
        0x42, 0x00,
    ],
    public: 65,
};

const P384: Curve = Curve {
    head: &[0x30, 0x81, 0xa4, 0x02, 0x01, 0x01, 0x04, 0x30],
    private: 48,
    middle: &[0xa0, 0x07, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0xa1, 0x64, 0x03, 0x62, 0x00],
    public: 97,
};

/// Put together here because the provider leaves the public key out of what it read without one.
fn sec1(pair: &EcdsaKeyPair, curve: &Curve) -> Option<Zeroizing<Vec<u8>>> {
    let private: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
    let (private, public) = (private.as_ref(), pair.public_key().as_ref());
    if (private.len(), public.len()) != (curve.private, curve.public) {
        return None;
    }
    Some(Zeroizing::new([curve.head, private, curve.middle, public].concat()))
}

#[cfg(test)]
mod tests;
