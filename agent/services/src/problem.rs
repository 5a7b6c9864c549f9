//! What is wrong with a file, and where.

use std::{fmt, path::PathBuf};

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, from 1; 0 if it is about the whole file.
    pub line: u32,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What it is about: `services[3].port`.
    pub what: String,
    /// What was found, as short as it may be; empty if there is nothing.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

/// All that is wrong with what was read; there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, found, expected } = self;
        write!(f, "{place}: {what}")?;
        if !found.is_empty() {
            write!(f, ": found {found}")?;
        }
        write!(f, ": expected {expected}")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line = if index == 0 { "" } else { "\n" };
            write!(f, "{line}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
