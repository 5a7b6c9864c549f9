//! Connections of a Unix listener, strangers left out.
//!
//! The stream never ends and never yields an error, because a server takes either for its end:
//! a stranger is closed and forgotten, a lack of descriptors is waited out.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    net::UnixStream,
    time::{Sleep, sleep},
};
use tokio_stream::Stream;
use tracing::warn;

use super::{Door, Peers};
use crate::{Backoff, Throttle};

/// The connections to a [`Door`] that come from its [`Peers`], or all of them.
#[derive(Debug)]
pub struct Incoming {
    door: Door,
    /// None where whoever gets through the door may stay.
    peers: Option<Peers>,
    backoff: Backoff,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// Accepts at `door`, or from a listener, whoever is one of `peers`.
    pub fn new(door: impl Into<Door>, peers: Peers) -> Self {
        Self { peers: Some(peers), ..Self::of_all(door) }
    }

    /// Accepts at `door` whoever the permissions of its file let in.
    pub fn of_all(door: impl Into<Door>) -> Self {
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        Self { door: door.into(), peers: None, backoff, pause: None }
    }

    /// Notes a failed accept and, if it is not the peer's doing, plans a pause.
    fn note(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        let retry_in = self.backoff.next(fastrand::f64());
        if let Some(suppressed) = FAILURES.allow() {
            warn!(%error, ?retry_in, suppressed, "connection not accepted");
        }
        self.pause = Some(Box::pin(sleep(retry_in)));
    }
}

impl Stream for Incoming {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.door.poll_accept(cx)) {
                Ok(stream) => {
                    self.backoff.reset();
                    if self.peers.as_ref().is_none_or(|peers| peers.admit(&stream)) {
                        return Poll::Ready(Some(Ok(stream)));
                    }
                }
                Err(error) => self.note(&error),
            }
        }
    }
}

static FAILURES: Throttle = Throttle::new(PERIOD);
const PERIOD: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
