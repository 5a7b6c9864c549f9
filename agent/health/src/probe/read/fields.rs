//! The fields of one message in proto3's JSON.

use serde_json::{Map, Value};

use super::Problem;

/// An object, and where it stands. What cannot be used is a problem and then nothing.
pub(super) struct Fields<'a> {
    place: String,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(place: String, value: &'a Value, problems: &mut Vec<Problem>) -> Option<Self> {
        if let Value::Object(fields) = value {
            return Some(Self { place, fields });
        }
        problems.push(Problem { place, wrong: "expected a mapping".to_owned() });
        None
    }

    /// Nothing, and a problem with that field.
    pub(super) fn wrong<T>(
        &self,
        name: &str,
        wrong: impl Into<String>,
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        problems.push(Problem { place: format!("{}.{name}", self.place), wrong: wrong.into() });
        None
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        let value = self.fields.get(name).or_else(|| self.fields.get(&snake_case(name)));
        value.filter(|value| !value.is_null())
    }

    pub(super) fn number(&self, name: &str, most: u32, problems: &mut Vec<Problem>) -> Option<u32> {
        let Some(value) = self.value(name) else { return Some(0) };
        let number = whole(value).filter(|number| *number <= most);
        number.or_else(|| {
            self.wrong(name, format!("{value}; expected a number from 0 to {most}"), problems)
        })
    }

    pub(super) fn text(&self, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
        match self.value(name) {
            None => Some(String::new()),
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => self.wrong(name, "expected a text", problems),
        }
    }

    /// The entries of a list, each with its place.
    pub(super) fn list(
        &self,
        name: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<impl Iterator<Item = (String, &'a Value)> + use<'a>> {
        let list: &'a [Value] = match self.value(name) {
            None => &[],
            Some(Value::Array(list)) => list,
            Some(_) => return self.wrong(name, "expected a list", problems),
        };
        let place = format!("{}.{name}", self.place);
        Some(list.iter().enumerate().map(move |(at, value)| (format!("{place}[{at}]"), value)))
    }

    pub(super) fn port(&self, problems: &mut Vec<Problem>) -> Option<u16> {
        let number = self.value("port").map_or(Some(0), whole);
        match number.map(u16::try_from) {
            Some(Ok(port)) if port > 0 => Some(port),
            _ => self.wrong("port", "expected a port from 1 to 65535", problems),
        }
    }

    /// The outer option is whether it can be used, the inner one whether it says anything.
    pub(super) fn host(&self, problems: &mut Vec<Problem>) -> Option<Option<String>> {
        let text = self.text("host", problems)?;
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let host = bare.unwrap_or(&text);
        let foreign = |c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c);
        if host.contains(foreign) {
            return self.wrong("host", format!("{host:?} is no host"), problems);
        }
        Some((!host.is_empty()).then(|| host.to_owned()))
    }
}

/// A whole number, however it is written.
fn whole(value: &Value) -> Option<u32> {
    let number = match value {
        Value::String(text) => text.parse::<f64>().ok()?,
        value => value.as_f64()?,
    };
    let fits = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between the limits"
    )]
    fits.then_some(number as u32)
}

fn snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}
