//! The smallest pieces of a message, each of which a chunk may cut.

use crate::{Flavour, Malformed};

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The tag of a field.
    Tag(Varint),
    /// A number that nobody looks at.
    Number(Varint),
    /// The length of a field.
    Length(Role, Varint),
    /// What nobody looks at, up to this position.
    Skip(usize),
    /// Text, up to this position.
    Text(Role, usize),
}

impl Token {
    /// Before a field, or behind the last.
    pub(super) const NEW: Self = Self::Tag(Varint::NEW);
    /// Before a number.
    pub(super) const NUMBER: Self = Self::Number(Varint::NEW);

    /// Before a length.
    pub(super) fn length(role: Role) -> Self {
        Self::Length(role, Varint::NEW)
    }

    /// Whether a message may end here.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Self::Tag(Varint { shift: 0, .. }))
    }
}

/// A number of which a part has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    const NEW: Self = Self { value: 0, shift: 0 };

    /// Reads on, at most `limit` bytes; gives the number when it is complete.
    pub(super) fn read(
        &mut self,
        rest: &mut &[u8],
        limit: usize,
    ) -> Result<Option<u64>, Malformed> {
        for _ in 0..limit {
            let Some((&byte, behind)) = rest.split_first() else { return Ok(None) };
            // Ten bytes hold 64 bits and not one more.
            if self.shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            *rest = behind;
            self.value |= u64::from(byte & 0x7f) << self.shift;
            self.shift += 7;
            if byte & 0x80 == 0 {
                return Ok(Some(self.value));
            }
        }
        Ok(None)
    }
}

/// Takes at most `length` bytes.
pub(super) fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    *rest = behind;
    taken
}

/// What a field is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The version of the response.
    Version,
    /// The nonce of the response.
    Nonce,
    /// The type of the response.
    Type,
    /// A name that is no more.
    Removed,
    /// A message that is looked into: a resource, or the `Any` in it.
    Message,
    /// The type of an `Any`.
    InnerType,
    /// The value of an `Any`.
    Value,
    /// A text that has to be one, and that nobody asks for.
    Text,
    /// Anything else.
    Other,
}

impl Role {
    pub(super) fn in_response(flavour: Flavour, number: u32) -> Self {
        match (flavour, number) {
            (_, 1) => Self::Version,
            (_, 2) => Self::Message,
            (_, 4) => Self::Type,
            (_, 5) => Self::Nonce,
            (Flavour::Delta, 6) => Self::Removed,
            _ => Self::Other,
        }
    }

    /// In delta's `Resource`: version, resource, name, aliases.
    pub(super) fn in_resource(number: u32) -> Self {
        match number {
            1 | 3 | 4 => Self::Text,
            2 => Self::Message,
            _ => Self::Other,
        }
    }

    pub(super) fn in_any(number: u32) -> Self {
        match number {
            1 => Self::InnerType,
            2 => Self::Value,
            _ => Self::Other,
        }
    }
}
