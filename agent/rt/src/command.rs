//! An external program that prints something: one run, one answer.
//!
//! Nothing of a run is left behind, however it ends: the program is the head of a process group
//! that is killed as a whole when the program has ended, when its time is up, when it prints too
//! much, and when nobody waits for it any more. What it prints may be a secret, so it is wiped
//! when dropped and never part of an error; what it complains of (stderr) is.

mod run;
mod text;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

pub use crate::Error;

/// A program and its arguments. Made from text: an absolute path and arguments, separated by
/// blanks; double quotes hold together, and inside of them a backslash takes the next character
/// as it is. No shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<String>,
}

/// What a run may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the program has ended.
    pub time: Duration,
    /// Bytes on its standard output.
    pub output: usize,
}

/// The end of what a program said on its standard error: `: last line`, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(Option<String>);

impl Command {
    /// A `program` by its absolute path, with `arguments`.
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Result<Self, Error> {
        let command = Self { program, arguments };
        let problem = if !command.program.is_absolute() {
            "expected the absolute path of a program"
        } else if command.to_string().contains('\0') {
            "a NUL character cannot be part of it"
        } else {
            return Ok(command);
        };
        Err(Error::CommandText { text: command.to_string(), problem })
    }

    /// The program's path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What the program is given.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Runs the program to its end and returns what it has printed. `variables` and a `PATH` of
    /// the system's directories are its whole environment; its standard input is empty. Dropping
    /// the future kills it. Needs a tokio runtime.
    pub async fn run(
        &self,
        variables: &[(&str, &str)],
        limits: Limits,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        run::run(self, variables, limits).await
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(line) => write!(f, ": {line}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
