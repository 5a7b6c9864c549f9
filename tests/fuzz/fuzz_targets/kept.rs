//! A kept pair of any content: as it is, and with its parts behind their right lengths; plain,
//! and sealed.

#![no_main]

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hawser_fuzz::{ID, assert_issued, piece, text};
use hawser_identity::{Error, Kept, SealKey, kept_in};
use hawser_pki::SpiffeId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = SealKey::from_bytes(&KEY).expect("a key");
    if bytes.first() == Some(&SEALED) {
        assert!(matches!(read(bytes, None), Err(Error::Sealed)));
        match read(bytes, Some(&key)) {
            Ok(kept) => assert!(kept.sealed && bytes == WHOLE, "a seal was forged"),
            Err(error) => assert!(bytes != WHOLE, "{error}"),
        }
    } else {
        both(bytes, &key);
    }
    both(&framed(bytes), &key);
});

/// Whether it is sealed makes no difference but that one.
fn both(body: &[u8], key: &SealKey) {
    let plain = read(body, None);
    let sealed = read(&sealed(body), Some(key));
    match (plain, sealed) {
        (Ok(plain), Ok(sealed)) => {
            assert!(!plain.sealed && sealed.sealed);
            assert_eq!(plain.identity.chain.ders(), sealed.identity.chain.ders());
            assert_eq!(plain.identity.roots, sealed.identity.roots);
        }
        (Err(plain), Err(sealed)) => assert_eq!(plain.to_string(), sealed.to_string()),
        (plain, sealed) => panic!("{plain:?} is {sealed:?} when it is sealed"),
    }
}

fn read(body: &[u8], key: Option<&SealKey>) -> Result<Kept, Error> {
    let id = SpiffeId::parse(ID).expect("an id");
    let kept = kept_in(body.to_vec().into(), key, &id)?;
    assert_eq!(kept.identity.spiffe_id(), Some(&id));
    assert_issued(&kept.identity);
    Ok(kept)
}

/// Key, chain and roots, then what was believed before and until when, from as many pieces.
fn framed(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for label in ["PRIVATE KEY", "CERTIFICATE", "CERTIFICATE"] {
        let Some(part) = piece(&mut rest) else { return body };
        append(&mut body, &text(label, part));
    }
    while let (Some(until), Some(roots)) = (piece(&mut rest), piece(&mut rest)) {
        body.extend_from_slice(until);
        append(&mut body, &text("CERTIFICATE", roots));
    }
    body
}

fn append(body: &mut Vec<u8>, part: &str) {
    body.extend_from_slice(&u32::try_from(part.len()).expect("a length").to_be_bytes());
    body.extend_from_slice(part.as_bytes());
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let nonce = [0; 12];
    let mut secret = body.to_vec();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).expect("a key"));
    let about = Aad::from(b"hawser identity 1");
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), about, &mut secret)
        .expect("a seal");
    [&[SEALED], nonce.as_slice(), &secret].concat()
}

const KEY: [u8; 32] = [7; 32];
const SEALED: u8 = 0xff;
/// The one body under that key that anybody has.
const WHOLE: &[u8] = include_bytes!("../seeds/kept/sealed");
