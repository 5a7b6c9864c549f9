//! A message as text, without knowing what it is: to be compared line by line.

use std::fmt::Write as _;

use crate::{Fields, Value};

#[cfg(test)]
mod tests;

/// How deep messages are looked for in bytes.
const DEPTH: usize = 32;
/// Then it is said that there are more.
const LINES: usize = 50_000;
/// How many characters of a text are shown.
const TEXT: usize = 400;
/// How many bytes are shown.
const BYTES: usize = 16;

/// One line for each leaf, in the order of the message: `1: "text"`, `3.2.1: 17`,
/// `5: <12 bytes, begins 0a0b>`, and `4: [type.googleapis.com/a.Thing]` before what an `Any`
/// holds.
///
/// Bytes are text if they can be printed, else a message if they are one as a whole. Not more than
/// 50 000 lines, and long leaves are cut, so that a message of any size can be shown.
pub fn outline(message: &[u8]) -> Vec<String> {
    let mut outline = Outline { lines: Vec::new(), path: String::new(), more: false };
    if is_message(message) {
        outline.message(message, DEPTH);
    } else {
        outline.lines.push(shown(message));
    }
    if outline.more {
        outline.lines.push("… and more".to_owned());
    }
    outline.lines
}

struct Outline {
    lines: Vec<String>,
    /// The numbers of the fields around, with a point behind each.
    path: String,
    more: bool,
}

impl Outline {
    /// The fields of a message.
    fn message(&mut self, message: &[u8], depth: usize) {
        let packed = type_of(message).is_some();
        let mut fields = Fields::new(message);
        while let Some(Ok((number, value))) = fields.next() {
            if self.more {
                return;
            }
            match value {
                Value::Number => self.line(number, &fields.number().to_string()),
                Value::Bytes(bytes) => self.bytes(number, bytes, packed && number == 2, depth),
            }
        }
    }

    /// A field that holds text, bytes or a message, which it surely does in an `Any`.
    fn bytes(&mut self, number: u32, bytes: &[u8], is_value: bool, depth: usize) {
        let nested = depth > 0
            && !bytes.is_empty()
            && (is_value || !is_text(bytes) || begins_as_message(bytes))
            && is_message(bytes);
        if !nested {
            return self.line(number, &shown(bytes));
        }
        if let Some(type_url) = type_of(bytes) {
            self.line(number, &format!("[{type_url}]"));
        }
        let length = self.path.len();
        // Writing into a text does not fail.
        write!(self.path, "{number}.").ok();
        self.message(bytes, depth - 1);
        self.path.truncate(length);
    }

    fn line(&mut self, number: u32, leaf: &str) {
        if self.lines.len() < LINES {
            self.lines.push(format!("{}{number}: {leaf}", self.path));
        } else {
            self.more = true;
        }
    }
}

fn is_message(bytes: &[u8]) -> bool {
    Fields::new(bytes).all(|field| field.is_ok())
}

/// The type of an `Any`: a message that has nothing but a type and a value.
fn type_of(message: &[u8]) -> Option<&str> {
    let mut type_url = None;
    for field in Fields::new(message) {
        match field {
            Ok((1, Value::Bytes(bytes))) => type_url = str::from_utf8(bytes).ok(),
            Ok((2, Value::Bytes(_))) => {}
            _ => return None,
        }
    }
    // Not every pair of texts: `type.googleapis.com/…` and the like.
    let (host, name) = type_url?.split_once('/')?;
    let dotted = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    (host.contains('.') && name.contains('.') && dotted(host) && dotted(name)).then_some(type_url?)
}

fn is_text(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| {
        text.chars().all(|letter| !letter.is_control() || ['\n', '\r', '\t'].contains(&letter))
    })
}

/// The tag of field 1 is the end of a line, with which texts do not begin.
fn begins_as_message(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x0a)
}

/// A leaf.
fn shown(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) if is_text(bytes) => match text.char_indices().nth(TEXT) {
            None => format!("{text:?}"),
            Some((end, _)) => {
                let begin = text.get(..end).unwrap_or_default();
                format!("{begin:?}… ({} bytes)", text.len())
            }
        },
        _ => {
            let mut begin = String::new();
            for byte in bytes.iter().take(BYTES) {
                write!(begin, "{byte:02x}").ok();
            }
            let more = if bytes.len() > BYTES { "…" } else { "" };
            format!("<{} bytes, begins {begin}{more}>", bytes.len())
        }
    }
}
