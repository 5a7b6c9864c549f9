//! Who answers, one after the other; and what is kept answers while nobody does.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hawser_lastgood::Answer;
use hawser_rt::{Chain, Throttle};
use hawser_wire::Broken;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, warn};

use super::{
    Away, Ended, Relay,
    hearing::Hearing,
    pace::{Pace, Went},
};
use crate::{
    Failure,
    downstream::Deaf,
    session::Wish,
    source::{Answers, Lost, until_again},
};

/// Why a stream to whoever answers is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Over {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("the stream was ended without an error")]
    Ended,
    #[error("the stream was ended without an error, in the middle of a response")]
    Torn,
    #[error("no answer for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("what was heard are no discovery responses")]
    Garbled { source: Garbage },
    /// The machine has moved, or Envoy has more than was told.
    #[error("the stream is begun anew")]
    Renewed,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Garbage {
    #[error(transparent)]
    Frames(#[from] Broken),
    #[error("a response cannot be read")]
    Response,
}

impl Relay {
    /// Answers Envoy for as long as it listens. Nobody is called before something was asked: whoever
    /// leaves streams lying about holds none of those to istiod.
    pub(super) async fn answer(&self) -> Ended {
        if timeout(UNASKED, self.met.notified()).await.is_err() {
            return Ended::Refused(Status::deadline_exceeded("nothing was asked on this stream"));
        }
        match self.epochs().await {
            Ok(never) => match never {},
            Err(Deaf) => Ended::Envoy,
        }
    }

    async fn epochs(&self) -> Result<Infallible, Deaf> {
        let mut pace = Pace::new();
        loop {
            let went = self.epoch(pace.patience()).await?;
            let wait = pace.after(went, fastrand::f64());
            debug!(flow = "xds", ?went, ?wait, "until the next stream is opened");
            if !wait.is_zero() {
                let pause = async {
                    // Another address may be what was missing.
                    tokio::select! {
                        () = until_again(&*self.shared.parts.source, wait) => {}
                        () = self.renewal() => {}
                    }
                };
                self.meanwhile(pause).await?;
            }
        }
    }

    /// One stream to whoever answers, from its opening to its end.
    async fn epoch(&self, patience: Duration) -> Result<Went, Deaf> {
        let mut heard = None;
        let over = self.converse(patience, &mut heard).await;
        self.session().end();
        *self.outgoing.lock() = None;
        if heard.is_some() {
            *self.away.lock() = Away { since: Some(Instant::now()), failed: false };
        } else if !matches!(over, Ok(Over::Renewed)) {
            self.away.lock().failed = true;
        }
        self.wished.notify_one();
        Ok(self.account(&over?, heard))
    }

    /// Takes note of how a stream went.
    fn account(&self, over: &Over, heard: Option<Instant>) -> Went {
        if let Over::Garbled { .. } | Over::Torn = over {
            static TOLD: Throttle = Throttle::new(Duration::from_secs(60));
            self.shared.metrics.unreadable.increment();
            self.shared.seen.change(|standing| standing.unreadable += 1);
            if let Some(suppressed) = TOLD.allow() {
                warn!(flow = "xds", error = %Chain(over), suppressed, "istiod sends garbage");
            }
        }
        if matches!(over, Over::Renewed) {
            return Went::Renewed(self.renewals.lock().renewed());
        }
        let (metrics, error) = (&self.shared.metrics, Chain(over).to_string());
        if let Some(heard) = heard {
            match over {
                Over::Ended => metrics.istiod_ended.expected.increment(),
                _ => metrics.istiod_ended.broken.increment(),
            }
            // istiod ends each stream now and then; the next attempt shows how it stands.
            debug!(flow = "xds", error, "istiod lost");
            let failure = Failure { at: SystemTime::now(), error };
            self.shared.seen.change(|standing| standing.failure = Some(failure));
            // It would do the same again, after a full push, for as long as it is asked the same.
            let again = match over {
                Over::Garbled { .. } => true,
                Over::Lost(lost) => lost.refused,
                _ => false,
            };
            return if again { Went::Unheard } else { Went::Heard(heard.elapsed()) };
        }
        metrics.failures.increment();
        let failure = self.shared.outage.failed(&error);
        self.shared.seen.change(|standing| {
            standing.failure = Some(failure);
            standing.attempts += 1;
        });
        match over {
            Over::Silent(_) => Went::Silent,
            Over::Lost(lost) if lost.at_once => Went::Otherwise,
            _ => Went::Unheard,
        }
    }

    async fn converse(
        &self,
        patience: Duration,
        heard: &mut Option<Instant>,
    ) -> Result<Over, Deaf> {
        self.renewals.lock().begin();
        let (outgoing, requests) = mpsc::channel(1);
        let opening = self.shared.parts.source.open(self.flavour, requests);
        let opened = self.meanwhile(async {
            tokio::select! {
                opened = opening => opened.map_err(Over::from),
                () = self.renewal() => Err(Over::Renewed),
            }
        });
        let mut opened = match opened.await? {
            Ok(opened) => opened,
            Err(over) => return Ok(over),
        };
        // Not earlier: meanwhile Envoy may have been given what was kept.
        self.session().begin();
        // What has changed since it was opened is said on it too.
        self.renewals.lock().begin();
        // It has its time to answer, whatever was before.
        *self.away.lock() = Away { since: Some(Instant::now()), failed: false };
        *self.outgoing.lock() = Some(outgoing);
        self.turned.notify_one();
        let first = self.meanwhile(self.next(&mut opened.answers, Some(patience))).await?;
        match first {
            Ok(_) if self.session().is_outdated() => Ok(Over::Renewed),
            Ok(first) => Hearing::new(self, opened, first, heard, patience).hear().await,
            Err(over) => {
                if let Over::Silent(_) = over {
                    opened.answers.failed();
                }
                Ok(over)
            }
        }
    }

    /// Whoever answers has had time to say what is different from what Envoy has.
    pub(super) fn confirmed(&self) {
        self.session().confirmed();
        self.look_at_age();
        self.is_fresh();
        let Some(book) = self.book() else { return };
        for (type_url, wanted) in self.session().all_wanted() {
            book.wanted(&type_url, wanted);
        }
    }

    /// Done when the stream to whoever answers is to be begun anew. Cancel-safe.
    pub(super) async fn renewal(&self) {
        loop {
            let due = self.renewals.lock().due();
            match due {
                Some(due) => return sleep_until(due).await,
                None => self.renew.notified().await,
            }
        }
    }

    /// Done when something is to be asked for anew.
    pub(super) async fn doubts(&self) {
        while !self.session().doubts() {
            self.doubted.notified().await;
        }
    }

    /// The next bytes. Cancel-safe.
    pub(super) async fn next(
        &self,
        answers: &mut Box<dyn Answers>,
        patience: Option<Duration>,
    ) -> Result<Bytes, Over> {
        tokio::select! {
            chunk = answers.chunk() => chunk?.ok_or(Over::Ended),
            () = self.renewal() => Err(Over::Renewed),
            patience = self.silence(patience) => Err(Over::Silent(patience)),
        }
    }

    /// Done when there is no patience left. It begins when something was asked.
    async fn silence(&self, patience: Option<Duration>) -> Duration {
        let Some(patience) = patience else { return std::future::pending().await };
        while !self.session().has_asked() {
            self.asked.notified().await;
        }
        sleep(patience).await;
        patience
    }

    /// Waits for something, and answers Envoy out of what is kept if it has to wait too long.
    pub(super) async fn meanwhile<T>(&self, awaited: impl Future<Output = T>) -> Result<T, Deaf> {
        let mut awaited = pin!(awaited);
        loop {
            // Cancelled while it looks, nothing was said.
            let kept = async {
                self.has_waited().await;
                self.kept().await
            };
            tokio::select! {
                biased;
                done = &mut awaited => return Ok(done),
                kept = kept => {
                    if let Some((wish, answer)) = kept
                        && let Some(done) = self.beside(&mut awaited, &wish, answer).await?
                    {
                        return Ok(done);
                    }
                }
            }
        }
    }

    /// Answers one thing that Envoy waits for, in a hurry once what is awaited is here.
    async fn beside<T>(
        &self,
        awaited: &mut Pin<&mut impl Future<Output = T>>,
        wish: &Wish,
        answer: Option<Answer>,
    ) -> Result<Option<T>, Deaf> {
        let (hurry, mut done) = (CancellationToken::new(), None);
        let mut replay = pin!(self.replay(wish, answer, &hurry));
        loop {
            tokio::select! {
                biased;
                passed = &mut replay => return passed.map(|()| done),
                it = &mut *awaited, if done.is_none() => {
                    done = Some(it);
                    hurry.cancel();
                }
            }
        }
    }

    /// Done when Envoy has waited long enough.
    async fn has_waited(&self) {
        loop {
            let (since, failed) = {
                let away = self.away.lock();
                (away.since, away.failed)
            };
            let waits = self.session().waits();
            match since.filter(|_| waits) {
                Some(_) if failed => return,
                Some(since) => {
                    let due = since + self.shared.options.stale_after;
                    tokio::select! {
                        () = sleep_until(due) => return,
                        () = self.wished.notified() => {}
                    }
                }
                None => self.wished.notified().await,
            }
        }
    }
}

/// Envoy asks as soon as it can use an answer; a stream that is ended before that costs it nothing.
const UNASKED: Duration = Duration::from_secs(30);
