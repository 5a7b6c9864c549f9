//! What is wrong with the configuration: all of it at once.
//!
//! A problem names the key, the value that was found, who said it and what was expected, so that
//! it can be mended without looking anything up.

use std::fmt;

use super::values::Source;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, variable or file.
    pub key: String,
    /// What was said, if anything; cut to a length that fits a line.
    pub value: Option<String>,
    /// Who said it.
    pub source: Option<Source>,
    /// What would have been right, or what to do.
    pub expected: String,
}

impl Problem {
    /// A value that is not what it should be.
    pub fn wrong(key: &str, value: &str, source: &Source, expected: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: Some(shortened(value)),
            source: Some(source.clone()),
            expected: expected.into(),
        }
    }

    /// Something that is not there, or cannot be used at all.
    pub fn with(key: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, source: None, expected: expected.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        if let Some(source) = &self.source {
            write!(f, " (from {source})")?;
        }
        write!(f, ": {}", self.expected)
    }
}

/// Every problem of one reading, in the order in which they were met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// An error if there are any.
    pub fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value as it is shown in a message: on one line, and not longer than one.
fn shortened(value: &str) -> String {
    let mut short: String = value.chars().take(MAX_SHOWN).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

const MAX_SHOWN: usize = 120;
