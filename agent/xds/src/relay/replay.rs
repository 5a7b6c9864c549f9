//! What was kept, given to Envoy while nobody answers.

use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use hawser_lastgood::{Answer, Book};
use hawser_rt::Throttle;
use hawser_wire::Reader;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Relay;
use crate::{
    Stale,
    downstream::Deaf,
    passage::{Came, Fault, HOLD, MOST_GATHERED, Streamed, pass_whole},
    record::Record,
    session::Wish,
};

impl Relay {
    /// One thing that Envoy waits for, and what is kept of it. A disk that hangs has nothing.
    pub(super) async fn kept(&self) -> Option<(Wish, Option<Answer>)> {
        let wish = self.session().wish()?;
        let Wish { type_url, wanted, held } = &wish;
        let nonce = nonce();
        let looked = async {
            let book = self.book_at_last().await.filter(|_| !self.has_missed())?;
            let held = [&held[..], &self.kept_of_ours(book, type_url).await].concat();
            book.answer(type_url, self.flavour, wanted.as_deref(), &held, &nonce).await
        };
        let answer = timeout(LOOK, looked).await.ok().flatten();
        Some((wish, answer))
    }

    /// Answers one thing that Envoy waits for.
    pub(super) async fn replay(
        &self,
        wish: &Wish,
        answer: Option<Answer>,
        hurry: &CancellationToken,
    ) -> Result<(), Deaf> {
        let Wish { type_url, .. } = wish;
        let Some(answer) = answer else {
            debug!(flow = "xds", type_url, "nothing is kept of what envoy waits for");
            self.session().replayed(type_url, None);
            self.look_at_age();
            self.others_told();
            return Ok(());
        };
        self.ages(answer.at);
        debug!(flow = "xds", type_url, resources = answer.names.len(), "answered as it was kept");
        // What names modules was here as a whole when it was kept.
        let largest = if self.localizes(type_url) { MOST_GATHERED } else { HOLD };
        let passed = if self.rewrites(type_url) && answer.length <= largest {
            self.replay_whole(type_url, answer, hurry).await
        } else {
            self.replay_streamed(type_url, answer, hurry).await
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

    /// What was kept while there was nothing but what is made here: that tells itself how it is now.
    async fn kept_of_ours(&self, book: &Book, type_url: &str) -> Vec<String> {
        if self.ours.is_none() {
            return Vec::new();
        }
        let known = book.known(type_url).await.into_iter().map(|known| known.name);
        known.filter(|name| self.is_ours(name)).collect()
    }

    /// Done when Envoy has refused what it was told, and has nothing else.
    pub(super) async fn falls(&self) {
        while !self.session().falls() {
            self.fallen.notified().await;
        }
    }

    /// Gives Envoy what is kept of that.
    pub(super) async fn fall_back(&self) -> Result<(), Deaf> {
        loop {
            let Some(wish) = self.session().fallback() else { return Ok(()) };
            let Wish { type_url, wanted, held } = &wish;
            let nonce = nonce();
            let looked = async {
                let book = self.book().filter(|_| !self.has_missed())?;
                book.answer(type_url, self.flavour, wanted.as_deref(), held, &nonce).await
            };
            // Whoever answers must not have to wait for the disk.
            let answer = timeout(PIECE, looked).await.ok().flatten();
            let Some(answer) = answer.filter(|answer| !answer.names.is_empty()) else { continue };
            let hurry = CancellationToken::new();
            hurry.cancel();
            let resources = answer.names.len();
            if let Some(suppressed) = FALLEN.allow() {
                warn!(
                    flow = "xds",
                    type_url,
                    resources,
                    suppressed,
                    "envoy refuses the newest, and is given what it took last"
                );
            }
            self.replay(&wish, Some(answer), &hurry).await?;
        }
    }

    async fn replay_whole(
        &self,
        type_url: &str,
        mut answer: Answer,
        hurry: &CancellationToken,
    ) -> Result<(), Fault> {
        let mut message = BytesMut::with_capacity(answer.length);
        while let Some(chunk) = piece(answer.chunk(), hurry).await {
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

    async fn replay_streamed(
        &self,
        type_url: &str,
        mut answer: Answer,
        hurry: &CancellationToken,
    ) -> Result<(), Fault> {
        let reader = Reader::new(self.flavour, answer.length);
        let record = Record::passing(self, type_url);
        let mut streamed =
            Streamed::new(self, reader, answer.length, record).kept().fitted(type_url);
        while let Some(chunk) = piece(answer.chunk(), hurry).await {
            let passed = match streamed.data(chunk).await {
                Ok(()) => streamed.release().await.map_err(Fault::from),
                fault => fault,
            };
            if let Err(fault) = passed {
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

/// The next piece, unless the disk hangs: then whoever answers must not have to wait for it.
async fn piece(
    chunk: impl Future<Output = Option<Bytes>>,
    hurry: &CancellationToken,
) -> Option<Bytes> {
    let mut chunk = pin!(chunk);
    tokio::select! {
        biased;
        chunk = &mut chunk => return chunk,
        () = hurry.cancelled() => {}
        () = sleep(LOOK) => return None,
    }
    timeout(PIECE, chunk).await.ok().flatten()
}

/// A name for an answer that nobody else gives.
pub(super) fn nonce() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("kept/{}/{:016x}", LAST.fetch_add(1, Ordering::Relaxed), fastrand::u64(..))
}

static FALLEN: Throttle = Throttle::new(super::PERIOD);
/// How long a disk may take, while there is nobody else to wait for: it may just have been switched
/// on.
const LOOK: Duration = Duration::from_secs(60);
/// And to read the next piece, when whoever answers is there.
const PIECE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_holds_up_whoever_answers_no_longer_than_a_second() {
        let (start, hurry) = (Instant::now(), CancellationToken::new());
        let here = || ready(Some(Bytes::from_static(b"x")));
        let later = async {
            sleep(Duration::from_secs(9)).await;
            hurry.cancel();
        };
        let (none, ()) = tokio::join!(piece(pending(), &hurry), later);
        assert_eq!((none, start.elapsed()), (None, Duration::from_secs(10)));

        // What makes progress goes on.
        assert_eq!(piece(here(), &hurry).await, here().await);
        let start = Instant::now();
        assert_eq!(piece(pending(), &CancellationToken::new()).await, None);
        assert_eq!(start.elapsed(), LOOK);
    }
}
