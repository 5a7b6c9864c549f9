//! The pair at rest under a key that is not beside it: AES-256-GCM.
//!
//! ```text
//! 0xff | nonce 12 | ciphertext | tag 16
//! ```
//!
//! The first byte tells it from a plain body, which begins with the high byte of a length.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use zeroize::Zeroizing;

/// What the state is sealed with: 32 random bytes that are kept elsewhere.
#[derive(Clone)]
pub struct SealKey(Arc<Zeroizing<[u8; LENGTH]>>);

/// Why a key, or what is under it, cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum SealError {
    #[error("a seal has {LENGTH} bytes, this one has {length}")]
    Length { length: usize },
    #[error("no random numbers to be had")]
    Random,
    #[error("sealing failed")]
    Seal,
    #[error("it was sealed with another key, or was changed since")]
    Open,
}

impl SealKey {
    /// The bytes that a key has.
    pub const LENGTH: usize = LENGTH;

    /// A key from its 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let wrong = || SealError::Length { length: bytes.len() };
        let mut key = Zeroizing::new([0; LENGTH]);
        if bytes.len() != LENGTH {
            return Err(wrong());
        }
        key.copy_from_slice(bytes);
        Ok(Self(Arc::new(key)))
    }

    /// A new key.
    pub fn random() -> Result<Self, SealError> {
        let mut key = Zeroizing::new([0; LENGTH]);
        rand::fill(key.as_mut_slice()).ok().ok_or(SealError::Random)?;
        Ok(Self(Arc::new(key)))
    }

    /// Its bytes, for whoever is to keep them.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    pub(crate) fn seal(&self, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok().ok_or(SealError::Random)?;
        // Reserved whole, so that no outgrown buffer keeps a copy of what is sealed.
        let length = 1 + NONCE_LEN + body.len() + AES_256_GCM.tag_len();
        let mut sealed = Zeroizing::new(Vec::with_capacity(length));
        sealed.push(SEALED);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(body);
        let secret = sealed.get_mut(1 + NONCE_LEN..).unwrap_or_default();
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), about(), secret)
            .ok()
            .ok_or(SealError::Seal)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let Some((&[SEALED], rest)) = sealed.split_first_chunk() else {
            return Err(SealError::Open);
        };
        let (nonce, secret) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Open)?;
        let mut body = Zeroizing::new(secret.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher()?.open_in_place(nonce, about(), body.as_mut_slice());
        let length = opened.ok().ok_or(SealError::Open)?.len();
        body.truncate(length);
        Ok(body)
    }

    fn cipher(&self) -> Result<LessSafeKey, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, self.0.as_slice());
        key.ok().map(LessSafeKey::new).ok_or(SealError::Seal)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// Whether this is a body that takes a key to be read.
pub(crate) fn is_sealed(body: &[u8]) -> bool {
    body.first() == Some(&SEALED)
}

/// What was sealed for one purpose cannot be passed off for another.
fn about() -> Aad<&'static [u8]> {
    Aad::from(b"hawser identity 1")
}

const LENGTH: usize = 32;
const SEALED: u8 = 0xff;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealKey {
        SealKey::from_bytes(&[byte; LENGTH]).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened_by_the_same_key_only() {
        for body in [b"".as_slice(), b"a key and its chain"] {
            let sealed = key(1).seal(body).unwrap();

            assert!(is_sealed(&sealed));
            assert_eq!(key(1).open(&sealed).unwrap().as_slice(), body);
            assert_eq!(key(2).open(&sealed).unwrap_err(), SealError::Open);
        }
    }

    #[test]
    fn every_bit_of_it_is_guarded() {
        let sealed = key(1).seal(b"a key").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key(1).open(&changed).unwrap_err(), SealError::Open, "byte {at}");
            assert_eq!(key(1).open(&sealed[..at]).unwrap_err(), SealError::Open, "cut at {at}");
        }
    }

    #[test]
    fn nothing_is_sealed_twice_alike_and_nothing_shows_through() {
        let (one, other) = (key(1).seal(b"secret").unwrap(), key(1).seal(b"secret").unwrap());
        assert_ne!(one, other);
        assert!(!one.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn a_key_has_32_bytes_and_is_not_printed() {
        for length in [0, 31, 33] {
            let wrong = SealKey::from_bytes(&vec![7; length]).unwrap_err();
            assert_eq!(wrong, SealError::Length { length });
        }
        assert_eq!(format!("{:?}", key(7)), "SealKey(..)");
        assert_ne!(SealKey::random().unwrap().bytes(), SealKey::random().unwrap().bytes());
    }
}
