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

use nix::unistd::geteuid;
use tokio::{
    net::{UnixListener, UnixStream},
    time::{Sleep, sleep},
};
use tokio_stream::Stream;
use tracing::warn;

use crate::{Backoff, Throttle};

/// Who may connect, by user id. Root and the process' own user always may.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// The others who may.
    pub uids: Vec<u32>,
}

/// The connections to a listener that come from its [`Peers`].
#[derive(Debug)]
pub struct Incoming {
    listener: UnixListener,
    known: Vec<u32>,
    backoff: Backoff,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// Accepts from `listener` whoever is one of `peers`.
    pub fn new(listener: UnixListener, peers: Peers) -> Self {
        let mut known = peers.uids;
        known.extend([ROOT, geteuid().as_raw()]);
        Self { listener, known, backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX), pause: None }
    }

    fn admits(&self, stream: &UnixStream) -> bool {
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(error) => {
                if let Some(suppressed) = NAMELESS.allow() {
                    warn!(%error, suppressed, "peer without credentials refused");
                }
                return false;
            }
        };
        let known = self.known.contains(&uid);
        if !known && let Some(suppressed) = STRANGERS.allow() {
            warn!(peer = uid, suppressed, "stranger refused");
        }
        known
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
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) => {
                    self.backoff.reset();
                    if self.admits(&stream) {
                        return Poll::Ready(Some(Ok(stream)));
                    }
                }
                Err(error) => self.note(&error),
            }
        }
    }
}

static STRANGERS: Throttle = Throttle::new(PERIOD);
static NAMELESS: Throttle = Throttle::new(PERIOD);
static FAILURES: Throttle = Throttle::new(PERIOD);
const ROOT: u32 = 0;
const PERIOD: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use nix::libc;
    use tempfile::TempDir;
    use tokio::{io::AsyncReadExt, time::Instant};
    use tokio_stream::StreamExt;

    use super::*;
    use crate::uds::bind;

    fn listen() -> (TempDir, PathBuf, Incoming) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("xds.sock");
        let incoming = Incoming::new(bind(&path, 0o600).unwrap(), Peers { uids: vec![4711] });
        (directory, path, incoming)
    }

    #[test]
    fn root_the_own_user_and_the_listed_ones_may_connect() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _context = runtime.enter();
        let (_directory, _, incoming) = listen();

        assert_eq!(incoming.known, [4711, 0, geteuid().as_raw()]);
    }

    #[tokio::test]
    async fn a_known_peer_is_handed_on() {
        let (_directory, path, mut incoming) = listen();
        let _peer = UnixStream::connect(&path).await.unwrap();

        incoming.next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_stranger_is_closed_and_the_next_one_is_served() {
        let (_directory, path, mut incoming) = listen();
        let known = std::mem::take(&mut incoming.known);
        let mut stranger = UnixStream::connect(&path).await.unwrap();

        let mut byte = [0];
        let closed = tokio::select! {
            _ = incoming.next() => panic!("a stranger was handed on"),
            read = stranger.read(&mut byte) => read,
        };
        assert!(matches!(closed, Ok(0)), "{closed:?}");

        incoming.known = known;
        let _friend = UnixStream::connect(&path).await.unwrap();
        incoming.next().await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lack_of_descriptors_is_waited_out() {
        let (_directory, path, mut incoming) = listen();
        let _peer = UnixStream::connect(&path).await.unwrap();
        let start = Instant::now();

        incoming.note(&io::Error::from_raw_os_error(libc::EMFILE));
        incoming.next().await.unwrap().unwrap();

        assert!(start.elapsed() >= PAUSE_MIN / 2, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up_early_costs_no_pause() {
        let (_directory, _, mut incoming) = listen();

        incoming.note(&io::Error::from_raw_os_error(libc::ECONNABORTED));

        assert!(incoming.pause.is_none());
    }
}
