//! Where configuration comes from. istiod is one source; nothing but `istiod.rs` knows it.

use std::{fmt, pin::Pin, time::Duration};

use bytes::Bytes;
use hawser_rt::BoxError;
use hawser_wire::Flavour;
use tokio::{sync::mpsc, time::sleep};

use crate::local::Local;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Somebody who answers discovery requests.
pub trait Source: fmt::Debug + Send + Sync {
    /// Opens a stream: `requests` are whole messages, as they come. Done when the first bytes of an
    /// answer may be waited for; nothing is answered unasked, so requests have to flow meanwhile.
    fn open(
        &self,
        flavour: Flavour,
        requests: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'_, Result<Opened, Lost>>;

    /// Returns when it has answered somebody else: who waits to try again need not wait for long.
    /// Cancel-safe.
    fn answers(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Whether it may say for a while that there is nothing though there is, as one does that has just
    /// started.
    fn forgets(&self) -> bool {
        true
    }

    /// What is made on this machine, and told beside what comes from here.
    fn beside(&self) -> Option<&Local> {
        None
    }
}

impl<S: Source + ?Sized> Source for std::sync::Arc<S> {
    fn open(
        &self,
        flavour: Flavour,
        requests: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'_, Result<Opened, Lost>> {
        (**self).open(flavour, requests)
    }

    fn answers(&self) -> BoxFuture<'_, ()> {
        (**self).answers()
    }

    fn forgets(&self) -> bool {
        (**self).forgets()
    }

    fn beside(&self) -> Option<&Local> {
        (**self).beside()
    }
}

/// Done when it is time to try again: after `wait`, or a while after the source has answered
/// somebody else. Not at once, or two who are answered badly would drive each other. Cancel-safe.
pub(crate) async fn until_again(source: &dyn Source, wait: Duration) {
    let elsewhere = async {
        source.answers().await;
        sleep(A_WHILE).await;
    };
    tokio::select! {
        () = sleep(wait) => {}
        () = elsewhere => {}
    }
}

const A_WHILE: Duration = Duration::from_secs(2);

/// A stream to a source. Dropped, it is given up.
#[derive(Debug)]
pub struct Opened {
    /// Whom it leads to, for logs and status.
    pub who: String,
    /// What is answered.
    pub answers: Box<dyn Answers>,
}

/// The answering side of a stream.
pub trait Answers: fmt::Debug + Send {
    /// The next bytes: gRPC frames, cut anywhere. None when the source has ended the stream as it
    /// should. What is not taken holds the source up. Cancel-safe.
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Lost>>;

    /// More bytes, if they are here already: to be taken in one go with those before. How the
    /// stream has ended is left for [`Self::chunk`] to tell.
    fn more(&mut self) -> Option<Bytes> {
        None
    }

    /// A first good message has come.
    fn heard(&mut self);

    /// The stream was given up for what the source did, or did not do.
    fn failed(&mut self);
}

/// A stream that has ended, or did not begin.
#[derive(Debug)]
pub struct Lost {
    /// Why, with its causes.
    pub reason: BoxError,
    /// The next attempt is made in another way, so that waiting is of no use.
    pub at_once: bool,
    /// What was asked is what it does not like: the next stream would end so too.
    pub refused: bool,
}

impl Lost {
    /// For that reason; the next attempt is better made later.
    pub fn new(reason: impl Into<BoxError>) -> Self {
        Self { reason: reason.into(), at_once: false, refused: false }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Lost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}
