//! Events as words for people: the message, and behind it what it is about.

use std::fmt::{self, Debug};

use tracing::field::Field;
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FormatFields,
        format::{Writer, debug_fn},
    },
};

use super::fields::ID;

/// Writes the fields of an event, but for what only journals read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words;

impl<'a> FormatFields<'a> for Words {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'a>, fields: R) -> fmt::Result {
        debug_fn(word).format_fields(writer, fields)
    }
}

/// The message comes first.
fn word(to: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match field.name() {
        ID => return Ok(()),
        "message" => {}
        name => write!(to, " {name}=")?,
    }
    // What somebody else said must not move a cursor, or begin a line.
    for letter in format!("{value:?}").chars() {
        if letter.is_control() {
            write!(to, "{}", letter.escape_default())?;
        } else {
            to.write_char(letter)?;
        }
    }
    Ok(())
}
