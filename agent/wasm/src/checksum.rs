//! Checksums: sha256, in hexadecimal.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};

use crate::Error;

/// A sha256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Checksum([u8; 32]);

impl Checksum {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::from_digest(&digest(&SHA256, bytes))
    }

    fn from_digest(digest: &Digest) -> Self {
        let mut sum = [0; 32];
        sum.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(sum)
    }
}

/// A checksum in the making.
pub(crate) struct Summing(Context);

impl Summing {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn sum(self) -> Checksum {
        Checksum::from_digest(&self.0.finish())
    }
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::NotAChecksum { text: text.chars().take(LONGEST_SHOWN).collect() };
        if text.len() != 64 {
            return Err(wrong());
        }
        let mut digits = text.chars().map(|digit| digit.to_digit(16));
        let mut sum = [0; 32];
        for byte in &mut sum {
            let (high, low) = (digits.next().flatten(), digits.next().flatten());
            let value = high.zip(low).map(|(high, low)| high << 4 | low);
            *byte = value.and_then(|value| u8::try_from(value).ok()).ok_or_else(wrong)?;
        }
        Ok(Self(sum))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

const LONGEST_SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_read_as_it_is_written_in_either_case() {
        let sum = Checksum::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

        assert_eq!(sum.to_string(), text);
        assert_eq!(text.parse::<Checksum>().unwrap(), sum);
        assert_eq!(text.to_uppercase().parse::<Checksum>().unwrap(), sum);
        let mut summing = Summing::new();
        summing.add(b"a");
        summing.add(b"b");
        assert_eq!(summing.sum(), Checksum::of(b"ab"));
    }

    #[test]
    fn anything_else_is_no_checksum() {
        let long = "a".repeat(65);
        let (signed, wide) = (format!("+{}", "a".repeat(63)), format!("{}é", "a".repeat(62)));
        for text in ["", "nil", "abc", &long, &signed, &wide] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
    }
}
