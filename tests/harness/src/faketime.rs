//! The agent's program under another clock, by libfaketime.
//!
//! The clock can be ahead or behind from the start, and moved while the program runs: what it reads
//! then is the new time. The kernel's timers know nothing of it, so a program that waits for one is
//! not woken by the move; for that, simulate with a clock of its own. Time since the boot is real.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Below these, or below the architecture's directory in one, distributions put the library.
const PLACES: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];

/// The one for programs with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A clock for processes that are started with its [environment](Self::env).
#[derive(Debug)]
pub struct Faketime {
    library: PathBuf,
    dir: TempDir,
}

impl Faketime {
    /// A clock that is so many seconds ahead of the system's, or behind it.
    ///
    /// # Errors
    /// When the library is not there; the text says what to install.
    pub fn ahead(seconds: i64) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory for the time")?;
        let clock = Self { library: library()?, dir };
        clock.set(seconds)?;
        Ok(clock)
    }

    /// Moves it, for processes that run too.
    ///
    /// # Errors
    /// When the file that they read cannot be replaced.
    pub fn set(&self, seconds: i64) -> Result<()> {
        let fresh = self.dir.path().join("next");
        let mut file = File::create(&fresh).context("write the time")?;
        writeln!(file, "{seconds:+}").context("write the time")?;
        // Whoever reads it reads the old or the new one.
        std::fs::rename(&fresh, self.file()).context("put the time in its place")
    }

    /// What a process needs in its environment.
    #[must_use]
    pub fn env(&self) -> Vec<(OsString, OsString)> {
        let text = |text: &str| OsString::from(text);
        vec![
            (text("LD_PRELOAD"), self.library.clone().into()),
            (text("FAKETIME_TIMESTAMP_FILE"), self.file().into()),
            (text("FAKETIME_NO_CACHE"), text("1")),
            (text("FAKETIME_DONT_FAKE_MONOTONIC"), text("1")),
            // The name of the same in older releases.
            (text("DONT_FAKE_MONOTONIC"), text("1")),
        ]
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("time")
    }
}

/// The library.
///
/// # Errors
/// When it is not there; the text says what to install.
pub fn library() -> Result<PathBuf> {
    for place in PLACES.map(PathBuf::from) {
        let below = std::fs::read_dir(&place).into_iter().flatten().filter_map(Result::ok);
        let places = std::iter::once(place.clone()).chain(below.map(|entry| entry.path()));
        if let Some(found) = places.map(|dir| dir.join(LIBRARY)).find(|path| path.exists()) {
            return Ok(found);
        }
    }
    bail!(
        "no {LIBRARY} below {PLACES:?}: install the package libfaketime (`apt-get install libfaketime`)"
    )
}
