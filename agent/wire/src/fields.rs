//! The fields of a protobuf message, one after the other.

/// Bytes that are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub struct Malformed;

/// What a field holds, as far as anything here looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number of any kind.
    Number,
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The bytes; a number has none.
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number => Err(Malformed),
        }
    }

    /// The bytes as text.
    pub fn text(self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes()?).ok().ok_or(Malformed)
    }
}

/// Iterates over the outermost fields; ends at the first that is malformed.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    /// Groups, which protobuf has given up but still allows, are skipped whole.
    groups: usize,
    /// How much was left at the tag of the last field.
    before: usize,
    /// The number that the last field held, if it held one.
    number: u64,
}

impl<'a> Fields<'a> {
    /// Begins with the first field.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message, groups: 0, before: message.len(), number: 0 }
    }

    /// The last field of that number, which is the one that counts.
    pub fn last(message: &'a [u8], wanted: u32) -> Result<Option<Value<'a>>, Malformed> {
        let mut found = None;
        for field in Self::new(message) {
            let (number, value) = field?;
            if number == wanted {
                found = Some(value);
            }
        }
        Ok(found)
    }

    /// Where in `message` the tag of the field begins that was given last.
    pub(crate) fn begin(&self, message: &[u8]) -> usize {
        message.len().saturating_sub(self.before)
    }

    /// Where in `message` the field ends that was given last.
    pub(crate) fn end(&self, message: &[u8]) -> usize {
        message.len().saturating_sub(self.rest.len())
    }

    /// The number that the field held that was given last, if it was one.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The next field outside of any group.
    fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        while !self.rest.is_empty() {
            self.before = self.rest.len();
            let tag = u32::try_from(self.varint()?).ok().ok_or(Malformed)?;
            let (number, kind) = (tag >> 3, tag & 7);
            if number == 0 {
                return Err(Malformed);
            }
            let value = match kind {
                0 => {
                    self.number = self.varint()?;
                    Value::Number
                }
                1 => {
                    self.number = little_endian(self.take(8)?);
                    Value::Number
                }
                2 => {
                    let length = usize::try_from(self.varint()?).ok().ok_or(Malformed)?;
                    Value::Bytes(self.take(length)?)
                }
                3 => {
                    self.groups += 1;
                    continue;
                }
                4 => {
                    self.groups = self.groups.checked_sub(1).ok_or(Malformed)?;
                    continue;
                }
                5 => {
                    self.number = little_endian(self.take(4)?);
                    Value::Number
                }
                _ => return Err(Malformed),
            };
            if self.groups == 0 {
                return Ok(Some((number, value)));
            }
        }
        if self.groups == 0 { Ok(None) } else { Err(Malformed) }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| (value << 8) | u64::from(byte))
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
            self.groups = 0;
        }
        field.transpose()
    }
}
