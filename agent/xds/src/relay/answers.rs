//! Who answers, one after the other; and what is kept answers while nobody does.

use std::{
    convert::Infallible,
    pin::pin,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hawser_rt::{Chain, Throttle};
use hawser_wire::{Broken, Frames, Part};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, warn};

use super::{
    Away, Relay,
    pace::{Pace, Went},
};
use crate::{
    Failure, Seen,
    downstream::Deaf,
    passage::{Fault, Passage},
    source::{Answers, Lost, Opened},
};

/// Why a stream to whoever answers is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("the stream was ended without an error")]
    Ended,
    #[error("nothing was heard for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("what was heard are no discovery responses")]
    Garbled { source: Garbage },
    /// The machine has moved, or Envoy has more than was told.
    #[error("the stream is begun anew")]
    Renewed,
}

#[derive(Debug, thiserror::Error)]
enum Garbage {
    #[error(transparent)]
    Frames(#[from] Broken),
    #[error("a response cannot be read")]
    Response,
}

impl Relay {
    /// Answers Envoy for as long as it listens.
    pub(super) async fn answer(&self) -> Result<Infallible, Deaf> {
        let mut pace = Pace::new();
        loop {
            let went = self.epoch(pace.patience()).await?;
            let wait = pace.after(went, fastrand::f64());
            debug!(flow = "xds", ?went, ?wait, "until the next stream is opened");
            if !wait.is_zero() {
                let pause = async {
                    // Another address may be what was missing.
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = self.renew.notified() => {}
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
        } else {
            self.away.lock().failed = true;
        }
        self.wished.notify_one();
        Ok(self.account(&over?, heard))
    }

    /// Takes note of how a stream went.
    fn account(&self, over: &Over, heard: Option<Instant>) -> Went {
        if let Over::Garbled { .. } = over {
            static TOLD: Throttle = Throttle::new(Duration::from_secs(60));
            self.shared.metrics.unreadable.increment();
            self.shared.seen.change(|standing| standing.unreadable += 1);
            if let Some(suppressed) = TOLD.allow() {
                warn!(flow = "xds", error = %Chain(over), suppressed, "istiod sends garbage");
            }
        }
        if matches!(over, Over::Renewed) {
            return Went::Renewed;
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
            return Went::Heard(heard.elapsed());
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
        let (outgoing, requests) = mpsc::channel(1);
        let opening = self.shared.parts.source.open(self.flavour, requests);
        let opened = self.meanwhile(async {
            tokio::select! {
                opened = opening => opened.map_err(Over::from),
                () = self.renew.notified() => Err(Over::Renewed),
            }
        });
        let Opened { who, mut answers } = match opened.await? {
            Ok(opened) => opened,
            Err(over) => return Ok(over),
        };
        // Not earlier: meanwhile Envoy may have been given what was kept.
        self.session().begin();
        *self.outgoing.lock() = Some(outgoing);
        self.turned.notify_one();
        let first = self.meanwhile(self.next(&mut answers, Some(patience))).await?;
        let mut hearing = Hearing {
            relay: self,
            who,
            answers,
            frames: Frames::new(LARGEST_RESPONSE),
            passage: None,
            joined: None,
            heard,
        };
        let over = match first {
            Ok(_) if self.session().is_outdated() => Over::Renewed,
            Ok(first) => {
                hearing.frames.push(first);
                hearing.hear(patience).await?
            }
            Err(over) => over,
        };
        if matches!(over, Over::Silent(_) | Over::Garbled { .. }) {
            hearing.answers.failed();
        }
        if let Some(passage) = hearing.passage.take() {
            passage.cut().await?;
        }
        Ok(over)
    }

    /// Whoever answers has had time to say what is different from what Envoy has.
    fn confirmed(&self) {
        self.session().confirmed();
        self.look_at_age();
        let Some(book) = self.book() else { return };
        for (type_url, wanted) in self.session().all_wanted() {
            book.wanted(&type_url, wanted);
        }
    }

    /// The next bytes. Cancel-safe.
    async fn next(
        &self,
        answers: &mut Box<dyn Answers>,
        patience: Option<Duration>,
    ) -> Result<Bytes, Over> {
        tokio::select! {
            chunk = answers.chunk() => chunk?.ok_or(Over::Ended),
            () = self.renew.notified() => Err(Over::Renewed),
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
    async fn meanwhile<T>(&self, awaited: impl Future<Output = T>) -> Result<T, Deaf> {
        let mut awaited = pin!(awaited);
        loop {
            tokio::select! {
                biased;
                done = &mut awaited => return Ok(done),
                () = self.has_waited() => self.replay().await?,
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

/// A stream to whoever answers, while it is heard.
struct Hearing<'a> {
    relay: &'a Relay,
    who: String,
    answers: Box<dyn Answers>,
    frames: Frames,
    passage: Option<Passage<'a>>,
    joined: Option<Joined>,
    /// Since the first good message.
    heard: &'a mut Option<Instant>,
}

impl Hearing<'_> {
    /// Passes on what is answered, until the end.
    async fn hear(&mut self, patience: Duration) -> Result<Over, Deaf> {
        let mut confirmed = false;
        loop {
            match self.frames.next() {
                Err(broken) => return Ok(Over::Garbled { source: broken.into() }),
                Ok(Some(part)) => match self.part(part).await {
                    Ok(()) => continue,
                    Err(Fault::Deaf) => return Err(Deaf),
                    Err(Fault::Unreadable) => {
                        return Ok(Over::Garbled { source: Garbage::Response });
                    }
                },
                Ok(None) => {}
            }
            let patience = Some(patience).filter(|_| self.heard.is_none());
            let next = self.relay.next(&mut self.answers, patience);
            let next = match self.heard.filter(|_| !confirmed) {
                Some(heard) => match timeout(CONFIRMED.saturating_sub(heard.elapsed()), next).await
                {
                    Ok(next) => next,
                    Err(_elapsed) => {
                        confirmed = true;
                        self.relay.confirmed();
                        continue;
                    }
                },
                None => next.await,
            };
            match next {
                Ok(chunk) => self.frames.push(chunk),
                Err(over) => return Ok(over),
            }
        }
    }

    async fn part(&mut self, part: Part) -> Result<(), Fault> {
        match part {
            Part::Begin { length } => self.passage = Some(Passage::begin(self.relay, length)),
            Part::Data(data) => {
                if let Some(passage) = &mut self.passage {
                    passage.data(data).await?;
                }
            }
            Part::End => {
                if let Some(passage) = self.passage.take() {
                    passage.end().await?;
                }
                self.good();
            }
        }
        Ok(())
    }

    /// A good message has come.
    fn good(&mut self) {
        if !self.relay.session().heard() {
            return;
        }
        *self.heard = Some(Instant::now());
        self.answers.heard();
        let shared = &self.relay.shared;
        shared.outage.over();
        shared.seen.change(|standing| {
            standing.joined += 1;
            standing.source = Some(self.who.clone());
            standing.attempts = 0;
        });
        self.joined = Some(Joined(shared.seen.clone()));
    }
}

/// A stream of Envoy's that is answered, counted for as long as this lives.
struct Joined(Seen);

impl Drop for Joined {
    fn drop(&mut self) {
        self.0.change(|standing| standing.joined -= 1);
    }
}

/// What gRPC implementations agree on as the largest message.
const LARGEST_RESPONSE: usize = i32::MAX as usize;
/// What was not spoken of by then has not changed.
const CONFIRMED: Duration = Duration::from_secs(5);
