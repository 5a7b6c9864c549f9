//! The name and the version of a resource whose bytes pass: a delta `Resource`, or an `Any`, whose
//! value says its name itself.

use bytes::Bytes;
use hawser_wire::Flavour;

/// Follows one resource after the other. Whoever gave the bytes has checked them: what makes no
/// sense here is passed over.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    state: State,
    text: Vec<u8>,
    version: String,
    name: String,
    /// Where in an `Any`, if it is one.
    any: Option<Any>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Any {
    Outside,
    Value,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Of a tag, or a length after the tag of that field; bits so far.
    Varint { of: Option<u32>, value: u64, shift: u32 },
    /// The rest of a number.
    Number,
    /// What is left of a field that does not matter.
    Skip(u64),
    /// What is left of a text.
    Text(u32, u64),
}

impl Default for State {
    fn default() -> Self {
        Self::TAG
    }
}

impl State {
    const TAG: Self = Self::Varint { of: None, value: 0, shift: 0 };
}

impl Resource {
    /// A resource begins.
    pub(crate) fn begin(&mut self, flavour: Flavour) {
        let any = (flavour == Flavour::Sotw).then_some(Any::Outside);
        *self = Self { any, ..Self::default() };
    }

    /// Its next bytes.
    pub(crate) fn bytes(&mut self, data: &Bytes) {
        let mut rest = data.as_ref();
        while let Some((&byte, behind)) = rest.split_first() {
            match self.state {
                State::Varint { of, value, shift } => {
                    rest = behind;
                    let value = value | u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
                    self.state = match (byte & 0x80 != 0, of) {
                        (true, _) => State::Varint { of, value, shift: shift + 7 },
                        (false, None) => Self::field(value),
                        (false, Some(field)) => self.value(field, value),
                    };
                }
                State::Number => {
                    rest = behind;
                    if byte & 0x80 == 0 {
                        self.state = State::TAG;
                    }
                }
                State::Skip(left) => {
                    let (_, behind, left) = split(rest, left);
                    rest = behind;
                    self.state = if left == 0 { State::TAG } else { State::Skip(left) };
                }
                State::Text(field, left) => {
                    let (taken, behind, left) = split(rest, left);
                    rest = behind;
                    self.text.extend_from_slice(taken);
                    self.state = State::Text(field, left);
                    if left == 0 {
                        self.put(field);
                    }
                }
            }
        }
    }

    /// Its name and its version.
    pub(crate) fn known(&self) -> (&str, &str) {
        (&self.name, &self.version)
    }

    fn field(tag: u64) -> State {
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        match tag & 7 {
            0 => State::Number,
            1 => State::Skip(8),
            2 => State::Varint { of: Some(number), value: 0, shift: 0 },
            5 => State::Skip(4),
            _ => State::TAG,
        }
    }

    fn value(&mut self, field: u32, length: u64) -> State {
        self.text.clear();
        let field = match (self.any, field) {
            (None, field) => field,
            (Some(Any::Outside), VALUE) => {
                self.any = Some(Any::Value);
                return State::TAG;
            }
            (Some(Any::Value), VALUES_NAME) => NAME,
            (Some(_), _) => 0,
        };
        match field {
            VERSION | NAME if length > 0 => State::Text(field, length),
            VERSION | NAME => {
                self.put(field);
                State::TAG
            }
            _ if length > 0 => State::Skip(length),
            _ => State::TAG,
        }
    }

    fn put(&mut self, field: u32) {
        let text = String::from_utf8_lossy(&self.text).into_owned();
        match field {
            VERSION => self.version = text,
            _ => self.name = text,
        }
        self.state = State::TAG;
    }
}

fn split(rest: &[u8], left: u64) -> (&[u8], &[u8], u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    let (taken, behind) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
    let gone = u64::try_from(taken.len()).unwrap_or(u64::MAX);
    (taken, behind, left.saturating_sub(gone))
}

const VERSION: u32 = 1;
const NAME: u32 = 3;
/// Of an `Any`.
const VALUE: u32 = 2;
/// Of all types that are asked for by name.
const VALUES_NAME: u32 = 1;

#[cfg(test)]
mod tests {
    use hawser_wire::write;

    use super::*;

    #[test]
    fn the_name_is_found_in_either_form_however_the_bytes_come() {
        let mut value = Vec::new();
        write::bytes(&mut value, 4, b"a policy");
        write::bytes(&mut value, 1, b"outbound|80||a.b");
        write::number(&mut value, 6, 300);
        let mut any = Vec::new();
        write::bytes(&mut any, 1, b"a type");
        write::bytes(&mut any, 2, &value);
        let mut resource = Vec::new();
        write::bytes(&mut resource, 2, &any);
        write::bytes(&mut resource, 1, b"v1");
        write::bytes(&mut resource, 3, b"outbound|80||a.b");
        for (flavour, bytes, version) in
            [(Flavour::Sotw, &any, ""), (Flavour::Delta, &resource, "v1")]
        {
            for piece in 1..=bytes.len() {
                let mut found = Resource::default();
                found.begin(flavour);
                for data in bytes.chunks(piece) {
                    found.bytes(&Bytes::copy_from_slice(data));
                }
                assert_eq!(found.known(), ("outbound|80||a.b", version), "{piece}");
            }
        }
    }
}
