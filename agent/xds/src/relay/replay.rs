//! What was kept, given to Envoy while nobody answers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use bytes::BytesMut;
use hawser_lastgood::Answer;
use hawser_wire::Reader;
use tracing::{debug, warn};

use super::Relay;
use crate::{
    Stale,
    downstream::Deaf,
    passage::{Came, Fault, HOLD, Streamed, pass_whole},
    record::Record,
    session::Wish,
};

impl Relay {
    /// Answers one thing that Envoy waits for.
    pub(super) async fn replay(&self) -> Result<(), Deaf> {
        let Some(wish) = self.session().wish() else { return Ok(()) };
        let Wish { type_url, wanted, held } = &wish;
        let answer = match self.book() {
            Some(book) => {
                book.answer(type_url, self.flavour, wanted.as_deref(), held, &nonce()).await
            }
            None => None,
        };
        let Some(answer) = answer else {
            debug!(flow = "xds", type_url, "nothing is kept of what envoy waits for");
            self.session().replayed(type_url, None);
            self.look_at_age();
            return Ok(());
        };
        self.ages(answer.at);
        debug!(flow = "xds", type_url, resources = answer.names.len(), "answered as it was kept");
        let passed = if self.rewrites(type_url) && answer.length <= HOLD {
            self.replay_whole(type_url, answer).await
        } else {
            self.replay_streamed(type_url, answer).await
        };
        match passed {
            Ok(()) => Ok(()),
            Err(Fault::Deaf) => Err(Deaf),
            Err(Fault::Unreadable) => {
                warn!(flow = "xds", type_url, "what was kept could not be read to its end");
                self.session().replayed(type_url, None);
                Ok(())
            }
        }
    }

    async fn replay_whole(&self, type_url: &str, mut answer: Answer) -> Result<(), Fault> {
        let mut message = BytesMut::with_capacity(answer.length);
        while let Some(chunk) = answer.chunk().await {
            message.extend_from_slice(&chunk);
        }
        if message.len() != answer.length {
            return Err(Fault::Unreadable);
        }
        let message = message.freeze();
        if self.uses(type_url, &message).is_err() {
            return Err(Fault::Unreadable);
        }
        let message = match self.refitted(type_url, &message) {
            Ok(Some(fitted)) => fitted.into(),
            Ok(None) => message,
            Err(_malformed) => return Err(Fault::Unreadable),
        };
        pass_whole(self, Record::passing(self, type_url), message, Came::Kept).await
    }

    async fn replay_streamed(&self, type_url: &str, mut answer: Answer) -> Result<(), Fault> {
        let reader = Reader::new(self.flavour, answer.length);
        let record = Record::passing(self, type_url);
        let mut streamed =
            Streamed::new(self, reader, answer.length, record).kept().fitted(type_url);
        while let Some(chunk) = answer.chunk().await {
            if let Err(fault) = streamed.data(chunk).await {
                streamed.cut().await?;
                return Err(fault);
            }
        }
        streamed.end().await
    }

    /// What Envoy is given was taken at that time.
    fn ages(&self, at: SystemTime) {
        let mut age = self.age.lock();
        let since = age.stale.as_ref().map_or_else(SystemTime::now, |stale| stale.since);
        let of = age.stale.as_ref().map_or(at, |stale| stale.of.min(at));
        age.stale = Some(Stale { of, since });
    }
}

/// A name for an answer that nobody else gives.
fn nonce() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("kept/{}/{:016x}", LAST.fetch_add(1, Ordering::Relaxed), fastrand::u64(..))
}
