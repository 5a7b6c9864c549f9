//! A descriptor in the form that tokio waits for.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Lends the number of a descriptor that only lends itself safely.
#[derive(Debug)]
pub(crate) struct Descriptor<T>(pub(crate) T);

/// A descriptor that can be waited for until it is readable. Needs a tokio runtime.
#[expect(
    deprecated,
    reason = "the other constructor is unsafe, and what it asks for holds for the two types that \
              come here: a TimerFd and a shared Inotify own one descriptor all their life"
)]
pub(crate) fn readable<T: AsFd>(inner: T) -> io::Result<AsyncFd<Descriptor<T>>> {
    AsyncFd::with_interest(Descriptor(inner), Interest::READABLE)
}

impl<T: AsFd> AsRawFd for Descriptor<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
