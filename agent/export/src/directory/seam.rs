//! Where a process can end: steps are counted, and fail from the one on that a test names.

use std::{cell::Cell, fs::File, io};

use super::Directory;

thread_local! {
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    static KILLED: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn step() -> io::Result<()> {
    match LEFT.get() {
        0 => {
            KILLED.set(true);
            Err(io::Error::other("killed"))
        }
        left => {
            LEFT.set(left - 1);
            Ok(())
        }
    }
}

/// Runs `work` as a process that is killed before its step number `steps`, counted from 0: that
/// one and all after it do not happen, and nothing is tidied up. False if it came to its end.
pub(crate) fn killed_at(steps: usize, work: impl FnOnce()) -> bool {
    LEFT.set(steps);
    KILLED.set(false);
    work();
    LEFT.set(usize::MAX);
    KILLED.get()
}

impl Directory {
    /// The directory as a process has it that was forked and has not begun its program yet.
    pub(crate) fn inherited(&self) -> File {
        self.file.try_clone().unwrap()
    }
}
