//! The authority's loop: what was kept, then one certificate after the other.

mod keeping;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_audit::{
    CERTIFICATE_EXPIRED, CERTIFICATE_OBTAINED, CERTIFICATE_REJECTED, CERTIFICATE_REPLACED,
};
use hawser_istiod::Credentials;
use hawser_pki::Identity;
use hawser_rt::{Backoff, Chain, Woke};
use tokio::sync::Notify;
use tracing::{info, warn};

use self::keeping::Keeping;
use crate::{
    AtRest, Error, Options,
    authority::Authority,
    error::Verdict,
    keep::Kept,
    metrics::{Metrics, is_own},
    progress::Obtained,
    publish::{Publisher, left},
    request::{self, Answer, Prepared, Refusal},
    schedule::{self, Life, Skew},
    span::Span,
    trust::Trust,
};

/// What the loop works with. It can be dropped at any moment and started again.
pub(crate) struct Rotation<'a> {
    around: Surroundings<'a>,
    keeping: Keeping,
    /// The authority's latest pair, and when the next one is due.
    own: Option<(Arc<Identity>, SystemTime)>,
    held: Option<Held>,
    trust: Option<Trust>,
    /// The key and the request of a series of attempts.
    prepared: Option<Prepared>,
    skewed: bool,
    /// Whether the clock is known to be before the beginning of the pair that is served.
    behind: bool,
    /// When another pair was last asked for because the one there is was rejected.
    disowned: Option<SystemTime>,
}

/// What every source has to do with.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) options: &'a Options,
    pub(crate) authority: &'a Authority<'a>,
    pub(crate) credentials: &'a Credentials,
    pub(crate) renew: &'a Notify,
    pub(crate) publisher: &'a Publisher,
    pub(crate) metrics: &'a Metrics,
}

/// A pair that fits but is not valid by this clock: the clock may be wrong.
#[derive(Debug)]
enum Held {
    /// From an earlier run.
    Kept(Arc<Identity>),
    /// From the authority, not valid yet.
    Early(Answer),
}

impl Held {
    fn identity(&self) -> &Arc<Identity> {
        match self {
            Self::Kept(identity) | Self::Early(Answer { identity, .. }) => identity,
        }
    }
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Called {
    Due,
    /// The clock was set.
    Stepped,
    /// Somebody wants a certificate now.
    Asked,
    /// There is something else to show.
    Credentials,
    /// What we show is not taken any more.
    Disowned,
}

impl<'a> Rotation<'a> {
    pub(crate) fn new(around: Surroundings<'a>) -> Self {
        Self {
            around,
            keeping: Keeping::new(around.options),
            own: None,
            held: None,
            trust: None,
            prepared: None,
            skewed: false,
            behind: false,
            disowned: None,
        }
    }

    /// Serves what the last run has left, if it is valid now.
    pub(crate) async fn resume(&mut self) {
        let Some(Kept { identity, sealed, trust }) = self.keeping.load().await else { return };
        // Whatever has become of the pair: these are the mesh's roots.
        self.around.publisher.learn(trust.learned());
        self.trust = Some(trust);
        let at_rest = if sealed { AtRest::Sealed } else { AtRest::Plain };
        self.around.publisher.progress(|progress| progress.at_rest = at_rest);
        let end = identity.not_after();
        let expired = self.now().duration_since(end).ok();
        self.held = Some(Held::Kept(identity));
        if !self.take_up().await {
            warn!(
                message_id = CERTIFICATE_EXPIRED.id,
                ?expired,
                "certificate from before is not valid now, and not served"
            );
            let end = expired.map(|_| end);
            self.around.publisher.progress(|progress| progress.expired = end);
        }
    }

    /// Renews for ever.
    pub(crate) async fn turn(&mut self) {
        let source = self.around.authority.name();
        self.around.publisher.progress(|progress| source.clone_into(&mut progress.source));
        self.step_in();
        loop {
            self.idle().await;
            self.series().await;
        }
    }

    /// If another source has served meanwhile, what there is of our own is only for the case that
    /// nothing newer can be had.
    fn step_in(&mut self) {
        let served = self.around.publisher.served();
        let other = |(own, _): &mut (Arc<Identity>, _)| {
            served.is_some_and(|served| served.chain.ders() != own.chain.ders())
        };
        if let Some((own, _)) = self.own.take_if(other) {
            self.held = Some(Held::Kept(own));
        }
    }

    /// Serves the pair that is held, if the clock has come to where it is valid.
    async fn take_up(&mut self) -> bool {
        let now = self.now();
        match self.held.take_if(|held| held.identity().valid_at(now)) {
            Some(Held::Kept(identity)) => {
                let expires_in = Span(left(&identity, now));
                let (id, message_id) = (identity.name(), CERTIFICATE_REPLACED.id);
                info!(message_id, %id, %expires_in, "certificate from before is served");
                let renewal = self.around.options.renewal;
                let due = schedule::resume_at(Life::of(&identity), renewal, fastrand::f64());
                self.own = Some((Arc::clone(&identity), due));
                self.serve(identity);
                true
            }
            Some(Held::Early(answer)) => {
                self.obtained(answer).await;
                true
            }
            None => false,
        }
    }

    /// Waits until another certificate is wanted.
    async fn idle(&mut self) {
        while let Some((own, due)) = self.own.clone() {
            let now = self.now();
            self.mind_the_beginning(&own, now, due);
            if due <= now {
                return;
            }
            self.around.publisher.progress(|progress| progress.next = Some(due));
            match self.called(due).await {
                Called::Due | Called::Asked => return,
                Called::Stepped => {
                    info!("clock was set");
                    // One that was obtained by a clock that was ahead is due by its own dates.
                    let renewal = self.around.options.renewal;
                    let dates = schedule::resume_at(Life::of(&own), renewal, fastrand::f64());
                    self.own = Some((own, due.min(dates.max(self.now()))));
                }
                Called::Disowned if self.is_disowned(&own) => return,
                Called::Credentials | Called::Disowned => {}
            }
        }
    }

    /// Whether this pair is rejected where it is shown, and another can be asked for: not for each
    /// one in turn, should all of them be.
    fn is_disowned(&mut self, own: &Identity) -> bool {
        let now = self.now();
        let lately =
            |at: SystemTime| now.duration_since(at).is_ok_and(|ago| ago < BETWEEN_DISOWNED);
        if !self.around.credentials.disowns(own) || self.disowned.is_some_and(lately) {
            return false;
        }
        self.disowned = Some(now);
        info!(
            message_id = CERTIFICATE_REJECTED.id,
            "certificate is rejected, another is asked for"
        );
        true
    }

    /// Whoever sets the clock back that far takes the certificate out of use, here and nowhere
    /// else: asking for another does not help.
    fn mind_the_beginning(&mut self, own: &Identity, now: SystemTime, due: SystemTime) {
        match own.not_before().duration_since(now) {
            Ok(by) if !by.is_zero() => {
                self.behind = true;
                self.around.publisher.trouble(&Error::ClockBehind { by }, "", due);
            }
            _ if self.behind => {
                self.behind = false;
                self.around.publisher.well();
            }
            _ => {}
        }
    }

    /// Asks until there is a certificate. All attempts are made with one key.
    async fn series(&mut self) {
        let mut backoff = Backoff::new(FIRST, LAST);
        loop {
            let error = match self.attempt().await {
                Ok(answer) => {
                    self.prepared = None;
                    return self.obtained(answer).await;
                }
                Err(error) => error,
            };
            let next = self.next_attempt(&error, &mut backoff);
            self.failed(&error, next).await;
            let mut called = self.called(next).await;
            // No news: this is what the attempts are for.
            while called == Called::Disowned {
                called = self.called(next).await;
            }
            if called != Called::Due {
                backoff.reset();
            }
            let settled = self.take_up().await || called == Called::Stepped && !self.is_due();
            if settled {
                self.around.publisher.well();
                return;
            }
        }
    }

    /// Whether another certificate is wanted, as far as the clock can tell.
    fn is_due(&self) -> bool {
        let now = self.now();
        self.own.as_ref().is_none_or(|(own, due)| *due <= now || !own.valid_at(now))
    }

    async fn attempt(&mut self) -> Result<Answer, Error> {
        let began = tokio::time::Instant::now();
        let outcome = self.answer().await;
        self.around.metrics.asked(outcome.is_ok(), began.elapsed());
        self.around.publisher.progress(|progress| {
            progress.asked += 1;
            progress.failed += u64::from(outcome.is_err());
        });
        outcome.map_err(|Refusal { error, early }| {
            // The first is the first to become valid.
            if !matches!(self.held, Some(Held::Early(_))) {
                self.held = early.map(|early| Held::Early(*early)).or(self.held.take());
            }
            error
        })
    }

    async fn answer(&mut self) -> Result<Answer, Refusal> {
        let Surroundings { options, authority, .. } = self.around;
        let prepared = match self.prepared.take() {
            Some(prepared) => prepared,
            None => request::prepare(options).await?,
        };
        authority.certificate(self.prepared.insert(prepared)).await
    }

    fn next_attempt(&self, error: &Error, backoff: &mut Backoff) -> SystemTime {
        let wait = match error.verdict() {
            Verdict::Retry => backoff.next(fastrand::f64()),
            Verdict::Wait => Backoff::new(SELDOM, SELDOM).next(fastrand::f64()),
        };
        let life = self.own.as_ref().map(|(own, _)| Life::of(own).total());
        let wait = life.map_or(wait, |life| wait.min(schedule::longest_wait(life)));
        let now = self.now();
        // What is held becomes valid by itself; and what is served is good to its last second.
        let ripe = self.held.as_ref().map(|held| held.identity().not_before());
        let last = self.own.as_ref().map(|(own, _)| own.not_after());
        let marks = [ripe, last].into_iter().flatten().filter(|mark| now < *mark);
        marks.fold(now + wait, SystemTime::min)
    }

    async fn failed(&self, error: &Error, next: SystemTime) {
        if error.is_bad_answer() {
            let rejected = Chain(error).to_string();
            self.around.publisher.progress(|progress| progress.rejected = Some(rejected));
        }
        let advice = self.advice().await;
        self.around.publisher.trouble(error, &advice, next);
    }

    /// Told while there is time to act on it: what this machine lives on when nothing that it
    /// could show is good any more.
    async fn advice(&self) -> String {
        let Some(served) = self.around.publisher.served() else { return String::new() };
        let now = self.now();
        if !served.valid_at(now) {
            return String::new();
        }
        let Some(outlook) = self.around.authority.outlook().await else { return String::new() };
        let others = outlook.iter().filter(|prospect| !is_own(prospect, Some(&served)));
        if others.into_iter().any(|prospect| prospect.usable) {
            return String::new();
        }
        format!(
            "; the certificate is valid for {} more, and there is nothing else to show: \
             should it expire, write a fresh bundle with istioctl and `hawser join` it",
            Span(left(&served, now))
        )
    }

    /// The new pair is kept before it is served. One that cannot be kept is served all the same:
    /// it is the next start that will miss it.
    async fn obtained(&mut self, answer: Answer) {
        let Answer { identity, credential, took } = answer;
        let (life, now) = (Life::of(&identity), self.now());
        // Peers may have certificates that live longer than ours: istiod's default is a day.
        let lifetime = life.total().max(self.around.options.ttl).max(DAY);
        let trust = match self.trust.take() {
            Some(trust) => trust.after(&identity.roots, life.begin, lifetime),
            None => Trust::new(identity.roots.clone(), Vec::new()),
        };
        self.trust = Some(trust);
        let renewal = self.around.options.renewal;
        let due = schedule::renew_at(life, now, self.around.options.ttl, renewal, fastrand::f64());
        self.own = Some((Arc::clone(&identity), due));
        (self.held, self.behind) = (None, false);
        self.keep().await;
        let (id, expires_in) = (identity.name(), Span(left(&identity, now)));
        let message_id = CERTIFICATE_OBTAINED.id;
        info!(message_id, %id, %expires_in, ?took, credential, "certificate obtained");
        self.mind_the_clock(life, now);
        self.serve(identity);
        self.around.publisher.progress(|progress| {
            progress.obtained = Some(Obtained { at: now, took, credential });
            progress.rejected = None;
        });
        self.around.publisher.well();
    }

    /// A clock that is off is told of as long as that is harmless.
    fn mind_the_clock(&mut self, life: Life, now: SystemTime) {
        let skew = schedule::skew(life, now, self.around.options.ttl);
        match skew {
            Some(Skew::Ahead(by)) if !self.skewed => {
                warn!(by = %Span(by), "this machine's clock is ahead of the authority's");
            }
            Some(Skew::Behind(by)) if !self.skewed => {
                warn!(by = %Span(by), "this machine's clock is behind the authority's");
            }
            _ => {}
        }
        self.skewed = skew.is_some();
    }

    async fn keep(&mut self) {
        if let (Some((identity, _)), Some(trust)) = (self.own.clone(), self.trust.clone()) {
            let at_rest = self.keeping.keep(identity, trust, self.now()).await;
            self.around.publisher.progress(|progress| progress.at_rest = at_rest);
        }
    }

    fn serve(&self, identity: Arc<Identity>) {
        let learned = match &self.trust {
            Some(trust) => trust.learned(),
            None => identity.roots.clone(),
        };
        self.around.publisher.serve(identity, learned);
    }

    /// Waits; meanwhile what could not be kept is tried again.
    async fn called(&mut self, due: SystemTime) -> Called {
        loop {
            let wake = self.keeping.again.map_or(due, |again| again.min(due));
            // Cancel safe: all of them only wait.
            let called = tokio::select! {
                woke = self.around.options.clock.wait(wake) => match woke {
                    Woke::Due => Called::Due,
                    Woke::Stepped => Called::Stepped,
                },
                () = self.around.renew.notified() => Called::Asked,
                () = self.around.authority.changed() => Called::Credentials,
                () = self.around.credentials.disowned() => Called::Disowned,
            };
            if self.keeping.again.is_some_and(|again| again <= self.now()) {
                self.keep().await;
            }
            if called != Called::Due || due <= self.now() {
                return called;
            }
        }
    }

    fn now(&self) -> SystemTime {
        self.around.options.clock.now()
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const BETWEEN_DISOWNED: Duration = Duration::from_secs(600);
const FIRST: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(60);
const SELDOM: Duration = Duration::from_secs(300);
