//! A state file: header, then body.
//!
//! ```text
//! magic 8 | version 2, big endian | length of the body 8, big endian | SHA-256 32 | body
//! ```
//!
//! The checksum is over magic, version, length and body: no bit of the file is without it. It
//! finds damage, not forgery; whoever could forge the file owns the directory.

use aws_lc_rs::digest::{Context, SHA256};

use crate::Damage;

/// Bytes that a body may have.
pub const BODY_LIMIT: usize = 64 << 20;

pub(crate) const HEADER: usize = MAGIC.len() + 2 + 8 + DIGEST;
const MAGIC: &[u8; 8] = b"hawser\x01\n";
const DIGEST: usize = 32;

/// What goes in front of `body`.
pub(crate) fn header(version: u16, body: &[u8]) -> Vec<u8> {
    let version = version.to_be_bytes();
    let length = (body.len() as u64).to_be_bytes();
    let digest = checksum(version, length, body);
    [MAGIC.as_slice(), &version, &length, digest.as_ref()].concat()
}

/// The body of a file, if it is whole and of this `version`.
pub fn decode(file: &[u8], version: u16) -> Result<&[u8], Damage> {
    let short = Damage::Short { length: file.len() };
    if !file.starts_with(MAGIC.get(..file.len()).unwrap_or(MAGIC)) {
        return Err(Damage::Foreign);
    }
    let Some((header, body)) = file.split_first_chunk::<HEADER>() else { return Err(short) };
    let (_, header) = header.split_first_chunk::<8>().ok_or(short.clone())?;
    let (found, header) = header.split_first_chunk::<2>().ok_or(short.clone())?;
    let (length, digest) = header.split_first_chunk::<8>().ok_or(short)?;

    let expected = u64::from_be_bytes(*length);
    if expected != body.len() as u64 {
        return Err(Damage::Length { found: body.len(), expected });
    }
    // Before the version: a damaged one must not pass for a file of another release.
    if checksum(*found, *length, body).as_ref() != digest {
        return Err(Damage::Checksum);
    }
    let found = u16::from_be_bytes(*found);
    if found != version {
        return Err(Damage::Version { found, expected: version });
    }
    if body.len() > BODY_LIMIT {
        return Err(Damage::TooLarge);
    }
    Ok(body)
}

fn checksum(version: [u8; 2], length: [u8; 8], body: &[u8]) -> aws_lc_rs::digest::Digest {
    let mut context = Context::new(&SHA256);
    for part in [MAGIC, version.as_slice(), &length, body] {
        context.update(part);
    }
    context.finish()
}

#[cfg(test)]
mod tests;
