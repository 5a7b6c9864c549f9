//! The message and the fields of one event, as text of a length that is bounded.

use std::fmt;

use tracing::field::{Field, Visit};

/// The field by which journals know what kind of event it is: see `hawser_audit`.
pub(super) const ID: &str = "message_id";

/// What an event says.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) others: Vec<(&'static str, String)>,
    longest: usize,
}

impl Fields {
    /// None yet; of a value no more than `longest` bytes are kept.
    pub(super) fn within(longest: usize) -> Self {
        Self { message: String::new(), others: Vec::new(), longest }
    }

    fn record(&mut self, field: &Field, mut value: String) {
        if value.len() > self.longest {
            let end = (0..=self.longest).rev().find(|at| value.is_char_boundary(*at));
            value.truncate(end.unwrap_or_default());
        }
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.to_owned());
    }
}
