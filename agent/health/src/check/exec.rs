//! A program that has to succeed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hawser_rt::{
    Chain, Command,
    command::{Error, Limits},
};

use crate::Exec;

pub(super) async fn check(exec: &Exec, time: Duration) -> Result<(), String> {
    let found = find(&exec.program).await;
    let program =
        found.ok_or_else(|| format!("{}: not in the system's directories", exec.program))?;
    let failed = |error: Error| match error {
        Error::ProgramFailed { status, said, .. } => {
            format!("{} ended with {status}{said}", exec.program)
        }
        Error::ProgramTimeout { limit, said, .. } => {
            format!("{} has not ended within {limit:?}{said}", exec.program)
        }
        error => Chain(&error).to_string(),
    };
    let command = Command::new(program, exec.arguments.clone()).map_err(failed)?;
    command.run(&[], Limits { time, output: MOST_OUTPUT }).await.map(drop).map_err(failed)
}

/// The path of a program. It is looked for each time, because it may be installed meanwhile.
pub(super) async fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(program.into());
    }
    for directory in DIRECTORIES {
        let path = Path::new(directory).join(program);
        if tokio::fs::metadata(&path).await.is_ok_and(|found| found.is_file()) {
            return Some(path);
        }
    }
    None
}

/// The system's own directories, in the order of a program's `PATH` there.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// What a program prints is of no interest, so nobody should print more.
const MOST_OUTPUT: usize = 256 << 10;
