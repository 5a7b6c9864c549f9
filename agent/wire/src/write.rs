//! Writes fields and frames.

use bytes::Bytes;

/// A varint, as short as it can be.
pub fn varint(into: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0];
        value >>= 7;
        if value == 0 {
            into.push(low & 0x7f);
            return;
        }
        into.push(low | 0x80);
    }
}

/// How many bytes [`varint`] takes.
pub fn varint_length(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    // At most ten.
    usize::try_from(bits.div_ceil(7)).unwrap_or(10)
}

/// A tag: the number of a field and its wire type.
pub fn tag(into: &mut Vec<u8>, number: u32, kind: u8) {
    varint(into, (u64::from(number) << 3) | u64::from(kind & 7));
}

/// A field that holds a varint.
pub fn number(into: &mut Vec<u8>, number: u32, value: u64) {
    tag(into, number, 0);
    varint(into, value);
}

/// A field that holds text, bytes or a message.
pub fn bytes(into: &mut Vec<u8>, number: u32, value: &[u8]) {
    header(into, number, value.len());
    into.extend_from_slice(value);
}

/// What precedes the `length` bytes of a field that holds text, bytes or a message.
pub fn header(into: &mut Vec<u8>, number: u32, length: usize) {
    tag(into, number, 2);
    varint(into, wide(length));
}

/// How many bytes [`header`] takes.
pub fn header_length(number: u32, length: usize) -> usize {
    varint_length(u64::from(number) << 3) + varint_length(wide(length))
}

/// Fields that nobody knows, of exactly `length` bytes in all; false for a single byte, which no
/// field has.
pub fn filler(into: &mut Vec<u8>, length: usize) -> bool {
    let mut left = length;
    if left == SHORTEST.len() {
        into.extend_from_slice(&SHORTEST);
        left = 0;
    }
    while left > 1 {
        // Where a length takes one byte more there is a gap: a short field before it closes it.
        let value = unknown(left).unwrap_or(0);
        header(into, UNKNOWN, value);
        into.resize(into.len() + value, 0);
        left = left.saturating_sub(header_length(UNKNOWN, value) + value);
    }
    left == 0
}

/// How long the value of a field [`UNKNOWN`] of exactly `length` bytes is.
pub(crate) fn unknown(length: usize) -> Option<usize> {
    (1..=10).find_map(|varint| {
        let value = length.checked_sub(header_length(UNKNOWN, 0) - 1 + varint)?;
        (header_length(UNKNOWN, value) + value == length).then_some(value)
    })
}

/// A number that no field of a response, a resource or an `Any` has, or is going to have.
pub(crate) const UNKNOWN: u32 = 2047;
/// The only field that has two bytes: number 15, empty, so valid whatever it might come to mean.
pub(crate) const SHORTEST: [u8; 2] = [0x7a, 0];

/// The gRPC prefix of an uncompressed message of that length.
pub fn prefix(length: usize) -> [u8; 5] {
    // No message comes near: `Frames` and the readers of files have their limits far below.
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

/// A message as gRPC sends it.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.extend_from_slice(&prefix(message.len()));
    framed.extend_from_slice(message);
    framed.into()
}

/// A length as varints hold it.
fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use prost::encoding;

    use super::*;

    #[test]
    fn fields_are_written_as_a_full_encoder_writes_them() {
        let around = |bits: u32| [(1_u64 << bits) - 1, 1 << bits];
        for value in (0..64).flat_map(around).chain([u64::MAX]) {
            let (mut ours, mut full) = (Vec::new(), Vec::new());
            varint(&mut ours, value);
            encoding::encode_varint(value, &mut full);
            assert_eq!(ours, full);
            assert_eq!(varint_length(value), full.len());
        }
        for field in [1, 15, 16, 2047, 2048, (1 << 29) - 1] {
            let (mut ours, mut full) = (Vec::new(), Vec::new());
            let text = "t".repeat(300);
            number(&mut ours, field, 300);
            encoding::uint64::encode(field, &300, &mut full);
            bytes(&mut ours, field, text.as_bytes());
            encoding::string::encode(field, &text, &mut full);
            assert_eq!(ours, full);
            let mut before = Vec::new();
            header(&mut before, field, 300);
            assert_eq!(before.len(), header_length(field, 300));
        }
    }

    #[test]
    fn filler_has_any_length_but_one() {
        for length in (0..600).chain(16_380..16_400) {
            let mut filled = Vec::new();
            assert_eq!(filler(&mut filled, length), length != 1);
            assert_eq!(filled.len(), if length == 1 { 0 } else { length });
            assert!(crate::Fields::new(&filled).all(|field| field.is_ok()));
        }
    }

    #[test]
    fn a_frame_has_a_prefix() {
        assert_eq!(frame(&[7; 300])[..6], [0, 0, 0, 1, 44, 7]);
        assert_eq!(frame(&[])[..], [0; 5]);
    }
}
