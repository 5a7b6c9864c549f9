//! Telling the others that there is a new set.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use hawser_rt::command::Limits;
use nix::libc;

use crate::{Error, Options};

/// Touches the stamp and runs the command; both, also if one of them fails.
pub(crate) async fn poke(options: &Options) -> Result<(), Error> {
    let touched = options.stamp.as_deref().map_or(Ok(()), touch);
    let Some(command) = &options.command else { return touched };
    let ran = command.run(&[], LIMITS).await;
    touched.and(ran.map(drop).map_err(|source| Error::Command { source }))
}

/// Opened for writing, closed, and of another time: whatever a watcher watches for, it sees.
fn touch(path: &Path) -> Result<(), Error> {
    let touch = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o644);
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        options.open(path)?.set_modified(SystemTime::now())
    };
    touch().map_err(|source| Error::Stamp { path: path.into(), source })
}

/// A reload takes seconds; what it prints is not looked at.
const LIMITS: Limits = Limits { time: Duration::from_secs(60), output: 64 << 10 };
