//! Ends the process at a step, as `kill -9` does. The steps are those of the thread of the shelf.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::{
    sys::signal::{Signal, kill},
    unistd::getpid,
};

static LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// From now on this process has as many `steps`; at the next it is killed.
pub(crate) fn kill_after(steps: usize) {
    LEFT.store(steps, Ordering::SeqCst);
}

pub(crate) fn step() {
    match LEFT.load(Ordering::SeqCst) {
        usize::MAX => {}
        0 => kill(getpid(), Signal::SIGKILL).unwrap(),
        left => LEFT.store(left - 1, Ordering::SeqCst),
    }
}
