//! What several targets need: bytes brought into the form in which they get further, and an
//! authority that has signed what is known.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hawser_pki::{Identity, PrivateKey};

/// Bytes in PEM: mutations of base64 hardly ever reach the decoder behind it.
pub fn pem(label: &str, der: &[u8]) -> String {
    let base64 = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}

/// What is text as it is, and what is not as what PEM wraps.
pub fn text(label: &str, piece: &[u8]) -> String {
    std::str::from_utf8(piece).map_or_else(|_| pem(label, piece), str::to_owned)
}

/// The next piece: two bytes of length, and as much of it as there is. Every input has pieces,
/// so that a mutation of one leaves the others what they are.
pub fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length)).min(tail.len());
    let (piece, tail) = tail.split_at(length);
    *rest = tail;
    Some(piece)
}

/// All of the pieces.
pub fn pieces(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || piece(&mut rest))
}

/// The key of the leaves; it opens nothing.
pub fn key() -> PrivateKey {
    PrivateKey::from_pem(&pem("PRIVATE KEY", KEY)).expect("a key")
}

/// An identity is one that the authority has issued for [`key`]: nobody else can sign, and
/// nothing of what is signed can be changed.
pub fn assert_issued(identity: &Identity) {
    let leaf = identity.chain.ders().first().expect("a leaf");
    let issued = ISSUED.iter().any(|known| {
        let signed = signed(known);
        leaf.windows(signed.len()).any(|window| window == signed)
    });
    assert!(issued, "a certificate that was never issued");
    assert!(identity.key.pem() == key().pem(), "a key that does not fit");
}

/// The part of a certificate that the signature is of: its first, and long enough to need bytes
/// for its length.
fn signed(certificate: &[u8]) -> &[u8] {
    let part = &certificate[4..];
    let length = match *part {
        [_, 0x81, length, ..] => 3 + usize::from(length),
        [_, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => panic!("a certificate of another shape"),
    };
    &part[..length]
}

/// Whom the authority has issued certificates for, one for another aside.
pub const ID: &str = "spiffe://cluster.local/ns/vms/sa/billing";
/// Its root.
pub const ROOT: &[u8] = include_bytes!("../seeds/authority/root.der");
const KEY: &[u8] = include_bytes!("../seeds/certificates/key.der");
const ISSUED: [&[u8]; 3] = [
    include_bytes!("../seeds/authority/leaf.der"),
    include_bytes!("../seeds/authority/below.der"),
    include_bytes!("../seeds/authority/other_id.der"),
];
