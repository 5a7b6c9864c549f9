//! Rebuilds a message with some of its fields replaced or left out.

use crate::{Fields, Malformed, Value, write};

#[cfg(test)]
mod tests;

/// What becomes of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It stays, byte for byte.
    Keep,
    /// It is left out.
    Drop,
    /// These bytes (text, bytes or a message; without tag and length) take its place.
    Replace(Vec<u8>),
}

/// Asks `f` about each outermost field (its number and value) in turn. `None`: nothing changed.
/// What is not asked about (groups) stays, and all order with it.
pub fn rebuild(
    message: &[u8],
    f: &mut impl FnMut(u32, Value<'_>) -> Result<Edit, Malformed>,
) -> Result<Option<Vec<u8>>, Malformed> {
    let mut fields = Fields::new(message);
    let mut built: Option<Vec<u8>> = None;
    // Up to here it is copied, or goes without saying while nothing has changed.
    let mut copied = 0;
    while let Some(field) = fields.next() {
        let (number, value) = field?;
        let edit = f(number, value)?;
        if edit == Edit::Keep {
            continue;
        }
        let (begin, end) = (fields.begin(message), fields.end(message));
        let into = built.get_or_insert_with(|| Vec::with_capacity(message.len()));
        into.extend_from_slice(message.get(copied..begin).ok_or(Malformed)?);
        copied = end;
        if let Edit::Replace(bytes) = edit {
            write::bytes(into, number, &bytes);
        }
    }
    if let Some(into) = &mut built {
        into.extend_from_slice(message.get(copied..).ok_or(Malformed)?);
    }
    Ok(built)
}
