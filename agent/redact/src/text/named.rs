//! Values that stand behind a telling name, and credentials behind the word for their kind.

use crate::{
    MASK,
    names::{is_header, is_secret, is_variable, is_word},
};

/// A line without the values of `name=value`, `name: value`, `"name":"value"` and `--name value`,
/// where the name tells, and without what follows `Bearer` and its like.
pub(super) fn taken_out(line: &str) -> String {
    let mut left = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let other = rest.find(part_of_name).unwrap_or(rest.len());
        let (between, from_name) = rest.split_at(other);
        left.push_str(between);
        let end = from_name.find(|c| !part_of_name(c)).unwrap_or(from_name.len());
        let (name, after) = from_name.split_at(end);
        left.push_str(name);
        rest = after;
        if let Some(value) = value(name, after) {
            let (before, value_and_rest) = after.split_at(value.begins);
            left.push_str(before);
            left.push_str(MASK);
            rest = value_and_rest.get(value.length..).unwrap_or_default();
        }
    }
    left
}

/// Where a value is, behind its name.
struct Place {
    begins: usize,
    length: usize,
}

/// The value that belongs to a telling name, if one follows.
fn value(name: &str, after: &str) -> Option<Place> {
    if KINDS.iter().any(|kind| name.eq_ignore_ascii_case(kind)) {
        return word(after, after.len() - after.trim_start_matches(' ').len())
            .filter(|place| place.begins > 0 && place.length >= SHORTEST);
    }
    if !is_secret(name) {
        return None;
    }
    // `"name" : "value"`: what closes the name is no part of it.
    let closed = after.trim_start_matches(['\\', '"', '\'']);
    let spaced = closed.trim_start_matches([' ', '\t']);
    let said = match (spaced.strip_prefix('='), spaced.strip_prefix(':')) {
        (Some(said), _) => said.strip_prefix('>').unwrap_or(said),
        // A path of a program's parts.
        (_, Some(said)) if said.starts_with(':') => return None,
        (_, Some(said)) => said,
        // A flag and its argument; or a list of names.
        _ if name.starts_with('-') && closed.len() == after.len() => {
            return word(after, after.len() - spaced.len()).filter(|place| place.begins > 0);
        }
        _ => return None,
    };
    let spoken = spaced.starts_with(':') && said.starts_with(' ');
    let trimmed = said.trim_start_matches([' ', '\t']);
    let begins = after.len() - trimmed.len();
    if let Some(place) = quoted(trimmed, begins) {
        return Some(place);
    }
    let to_the_end = is_header(name) || is_variable(name);
    if to_the_end {
        let length = trimmed.trim_end().len();
        return (length > 0).then_some(Place { begins, length });
    }
    let place = word(after, begins)?;
    let value = trimmed.get(..place.length).unwrap_or_default();
    (!(spoken && is_word(name)) || looks_made(value)).then_some(place)
}

/// A value in quotes, escaped or not; one that nothing closes goes to the end of the line.
fn quoted(text: &str, begins: usize) -> Option<Place> {
    let opening = ["\\\"", "\"", "'"].into_iter().find(|quote| text.starts_with(quote))?;
    let inside = text.get(opening.len()..)?;
    let mut length = inside.len();
    let mut escaped = false;
    for (at, _) in inside.char_indices() {
        let here = inside.get(at..).unwrap_or_default();
        if !escaped && here.starts_with(opening) {
            length = at;
            break;
        }
        escaped = !escaped && opening.len() == 1 && here.starts_with('\\');
    }
    (length > 0).then_some(Place { begins: begins.saturating_add(opening.len()), length })
}

/// A value up to the next blank.
fn word(after: &str, begins: usize) -> Option<Place> {
    let value = after.get(begins..)?;
    let length = value.find(char::is_whitespace).unwrap_or(value.len());
    (length > 0).then_some(Place { begins, length })
}

/// Whether a word was made by a machine, as far as that can be seen.
fn looks_made(value: &str) -> bool {
    value.len() >= SHORTEST && value.bytes().any(|byte| byte.is_ascii_digit())
}

fn part_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// What stands before credentials in a header, wherever it is quoted.
const KINDS: [&str; 3] = ["bearer", "basic", "negotiate"];
const SHORTEST: usize = 8;
