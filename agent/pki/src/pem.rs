//! PEM text: found in whatever surrounds it, written in one form.
//!
//! The splitter is ours so that a broken block costs that block only: a reader that runs over a
//! missing END line takes the next, good certificate down with it. Base64 is left to
//! `rustls-pki-types`.

use std::marker::PhantomData;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};

use crate::Error;

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Broken {
    #[error("its END line is missing")]
    NoEnd,
    #[error("its base64 is damaged")]
    Base64 { source: rustls_pki_types::pem::Error },
}

/// The certificates of `text`, in order; blocks of other kinds and text around are passed over.
pub(crate) fn certificates(
    text: &str,
) -> Result<impl Iterator<Item = Result<CertificateDer<'static>, Broken>> + '_, Error> {
    within_limit(text.len(), TEXT_LIMIT)?;
    Ok(Blocks { lines: Lines { rest: text }, label: CERTIFICATE, kind: PhantomData })
}

/// The revocation lists of `text`, as [`certificates`] finds certificates.
pub(crate) fn revocation_lists(
    text: &str,
) -> Result<impl Iterator<Item = Result<CertificateRevocationListDer<'static>, Broken>> + '_, Error>
{
    within_limit(text.len(), CRL_LIMIT)?;
    Ok(Blocks { lines: Lines { rest: text }, label: CRL, kind: PhantomData })
}

/// Refuses what is longer than anybody has a reason to send.
pub(crate) fn within_limit(length: usize, limit: usize) -> Result<(), Error> {
    if length > limit { Err(Error::TextTooLong { length, limit }) } else { Ok(()) }
}

/// Appends `der` as a PEM block, 64 characters a line.
///
/// Reserves what it needs first, so that a key leaves no copy behind in a buffer outgrown.
pub(crate) fn encode(label: &str, der: &[u8], out: &mut String) {
    let base64 = der.len().div_ceil(3) * 4;
    out.reserve(base64 + base64.div_ceil(LINE) + 2 * (label.len() + "-----BEGIN -----\n".len()));
    out.extend(["-----BEGIN ", label, "-----\n"]);
    let mut column = 0;
    for group in der.chunks(3) {
        if column == LINE {
            out.push('\n');
            column = 0;
        }
        let bytes = [0, 1, 2].map(|at| u32::from(group.get(at).copied().unwrap_or(0)));
        let [first, second, third] = bytes;
        let bits = (first << 16) | (second << 8) | third;
        for (digit, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            out.push(if digit <= group.len() { symbol(bits >> shift) } else { '=' });
        }
        column += 4;
    }
    out.extend(["\n-----END ", label, "-----\n"]);
}

fn symbol(bits: u32) -> char {
    let digit = (bits & 0x3f) as u8;
    char::from(match digit {
        0..=25 => b'A' + digit,
        26..=51 => b'a' + (digit - 26),
        52..=61 => b'0' + (digit - 52),
        62 => b'+',
        _ => b'/',
    })
}

/// The blocks of one label; `T` has to be what stands under it.
struct Blocks<'a, T> {
    lines: Lines<'a>,
    label: &'static str,
    kind: PhantomData<T>,
}

impl<T: PemObject> Iterator for Blocks<'_, T> {
    type Item = Result<T, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = self.label;
        let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
        while self.lines.next()? != begin {}
        let mut block = begin + "\n";
        loop {
            let ahead = self.lines.rest;
            match self.lines.next() {
                Some(line) if line == end => break,
                Some(line) if !line.starts_with("-----") => {
                    block.push_str(line);
                    block.push('\n');
                }
                other => {
                    if other.is_some() {
                        // It may begin the next block.
                        self.lines.rest = ahead;
                    }
                    return Some(Err(Broken::NoEnd));
                }
            }
        }
        block.push_str(&end);
        let der = T::from_pem_slice(block.as_bytes());
        Some(der.map_err(|source| Broken::Base64 { source }))
    }
}

/// Lines ended by LF, CRLF or CR, without blanks around them.
struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once(['\n', '\r']).unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(line.trim_matches(|symbol: char| symbol.is_whitespace() || symbol == BYTE_ORDER_MARK))
    }
}

/// More than any bundle of [`crate::bundle::ROOT_LIMIT`] roots needs.
pub(crate) const TEXT_LIMIT: usize = 1 << 20;
/// Lists grow by some 40 bytes with every certificate that is taken back.
pub(crate) const CRL_LIMIT: usize = 4 << 20;
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
pub(crate) const CRL: &str = "X509 CRL";
const LINE: usize = 64;
const BYTE_ORDER_MARK: char = '\u{feff}';

#[cfg(test)]
mod tests;
