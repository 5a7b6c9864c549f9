//! Ends the process at a step of this thread, as `kill -9` does.

use std::cell::Cell;

use nix::{
    sys::signal::{Signal, kill},
    unistd::getpid,
};

thread_local! {
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// From now on this thread has as many `steps`; at the next the process is killed.
pub(crate) fn kill_after(steps: usize) {
    LEFT.set(Some(steps));
}

pub(crate) fn step() {
    match LEFT.get() {
        None => {}
        Some(0) => kill(getpid(), Signal::SIGKILL).unwrap(),
        Some(left) => LEFT.set(Some(left - 1)),
    }
}
