//! A message handed on field by field while its bytes pass: what is here at any time is one of its
//! outermost fields.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::{Fields, Malformed};

/// Splits a message into its outermost fields, each whole, with its tag.
///
/// Groups, which protobuf has given up, are malformed here: no message of discovery has one.
#[derive(Debug)]
pub struct Fieldwise {
    partial: BytesMut,
    /// The largest field.
    largest: usize,
}

impl Fieldwise {
    /// Takes fields of up to `largest` bytes.
    pub fn new(largest: usize) -> Self {
        Self { partial: BytesMut::new(), largest }
    }

    /// The next bytes of the message.
    pub fn push(&mut self, data: &[u8]) {
        self.partial.extend_from_slice(data);
    }

    /// The next field that is complete; none until more bytes have come.
    pub fn next_field(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(length) = length(&self.partial)? else { return Ok(None) };
        if length > self.largest {
            return Err(Malformed);
        }
        if self.partial.remaining() < length {
            self.partial.reserve(length - self.partial.remaining());
            return Ok(None);
        }
        Ok(Some(self.partial.split_to(length).freeze()))
    }
}

/// How long the first field is, if so much of it is here that this can be told.
fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((tag, before)) = varint(bytes)? else { return Ok(None) };
    let rest = bytes.get(before..).unwrap_or_default();
    let value = match tag & 7 {
        0 => varint(rest)?.map(|(_, length)| length),
        1 => Some(8),
        2 => match varint(rest)? {
            Some((length, before)) => {
                let length = usize::try_from(length).ok().ok_or(Malformed)?;
                Some(before.checked_add(length).ok_or(Malformed)?)
            }
            None => None,
        },
        5 => Some(4),
        _ => return Err(Malformed),
    };
    value.map(|value| before.checked_add(value).ok_or(Malformed)).transpose()
}

/// A varint and its length; none if it is not complete.
fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, Malformed> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(LONGEST_VARINT) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((value, place + 1)));
        }
    }
    if bytes.len() < LONGEST_VARINT { Ok(None) } else { Err(Malformed) }
}

/// The number and the value of one field that [`Fieldwise`] has handed out, if the value is text,
/// bytes or a message.
pub fn opened(field: &[u8]) -> Option<(u32, &[u8])> {
    let (number, value) = Fields::new(field).next()?.ok()?;
    Some((number, value.bytes().ok()?))
}

const LONGEST_VARINT: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::write;

    fn split(message: &[u8], chunk: usize) -> Result<Vec<Bytes>, Malformed> {
        let mut fieldwise = Fieldwise::new(1 << 20);
        let mut fields = Vec::new();
        for data in message.chunks(chunk) {
            fieldwise.push(data);
            while let Some(field) = fieldwise.next_field()? {
                fields.push(field);
            }
        }
        if fieldwise.partial.is_empty() { Ok(fields) } else { Err(Malformed) }
    }

    #[test]
    fn fields_of_every_kind_come_whole_whatever_the_chunks() {
        let mut message = Vec::new();
        write::number(&mut message, 1, u64::MAX);
        write::bytes(&mut message, 2, &[7; 300]);
        write::tag(&mut message, 3, 1);
        message.extend([1; 8]);
        write::tag(&mut message, 2047, 5);
        message.extend([1; 4]);
        write::bytes(&mut message, 5, b"");
        for chunk in 1..message.len() + 1 {
            let fields = split(&message, chunk).unwrap();
            assert_eq!(fields.iter().map(Bytes::len).collect::<Vec<_>>(), [11, 303, 9, 6, 2]);
            assert_eq!(fields.concat(), message);
            assert_eq!(opened(&fields[1]), Some((2, &[7; 300][..])));
            assert_eq!(opened(&fields[0]), None);
        }
        split(&message[..message.len() - 1], 5).unwrap_err();
    }

    #[test]
    fn a_field_that_is_too_large_is_refused_before_it_has_come() {
        let mut fieldwise = Fieldwise::new(100);
        let mut header = Vec::new();
        write::header(&mut header, 2, 1 << 40);
        fieldwise.push(&header);
        assert_eq!(fieldwise.next_field(), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_into_what_they_are_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), chunk in 1_usize..50,
        ) {
            if let Ok(fields) = split(&bytes, chunk) {
                prop_assert_eq!(fields.concat(), bytes);
            }
        }
    }
}
